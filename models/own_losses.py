"""Losses of your own: a registration in a file that `loss_file` names, or in your program.

    from models.own_losses import loss

    @loss("area", weight=0.1)
    def area(outputs, targets):
        return (outputs["logits1"].sigmoid().mean((1, 2, 3)) - targets["mask"].mean((1, 2, 3))).abs().mean()

`models.losses.loss_terms` says what `outputs` and `targets` hold. The function returns a scalar. Its mean over each
epoch is a column of log.csv and a panel of curves.png.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils.text import one_line
from utils.user_file import run_user_file

if TYPE_CHECKING:
    from torch import Tensor

Term = Callable[[Mapping[str, "Tensor"], Mapping[str, "Tensor"]], "Tensor"]
_TAKEN = ("sr", "spatial", "affinity", "teacher", "total", "epoch", "lr", "seconds", "images_per_second")


@dataclass(frozen=True)
class OwnLoss:
    """A registered loss: the function and its weight in the joint loss."""

    term: Term
    weight: float


OWN_LOSSES: dict[str, OwnLoss] = {}


def loss(name: str, weight: float = 1.0) -> Callable[[Term], Term]:
    """Register a function as a term of the joint loss; decorates it.

    Args:
        name: its column in log.csv: letters, digits and _, not yet taken.
        weight: its factor in the joint loss, at least 0.

    Raises:
        ValueError: the name cannot be a column or is taken, or the weight is negative.
    """
    if not name.isidentifier() or name in (*_TAKEN, *OWN_LOSSES) or name.startswith("saliency_map"):
        raise ValueError(f"loss {name!r}: choose another name, of letters, digits and _; taken are {', '.join(_TAKEN)}")
    if not weight >= 0:
        raise ValueError(f"loss {name}: its weight is {weight}, expected at least 0")

    def register(term: Term) -> Term:
        OWN_LOSSES[name] = OwnLoss(term, weight)
        return term

    return register


def run_loss_file(path: Path | str) -> None:
    """Run a Python file that registers losses. Losses that an earlier file registered are forgotten.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file fails, or registers nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"loss_file {path}: no such file")
    OWN_LOSSES.clear()
    run_user_file(path, f"loss_file {path}")
    if not OWN_LOSSES:
        raise ValueError(f"loss_file {path} registers no loss: put @models.own_losses.loss(NAME) on a function")


def own_terms(outputs: Mapping[str, "Tensor"], targets: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return the registered terms by name, unweighted.

    Raises:
        ValueError: a function fails, or returns no scalar tensor.
    """
    found = {}
    for name, own in OWN_LOSSES.items():
        try:
            value = own.term(outputs, targets)
            shape = tuple(value.shape)
        except Exception as error:  # whatever a user's function raises
            raise ValueError(f"loss {name}: {type(error).__name__}: {one_line(error)}") from error
        if shape != ():
            raise ValueError(f"loss {name}: it returned a tensor of shape {shape}, expected a scalar")
        found[name] = value.float()
    return found
