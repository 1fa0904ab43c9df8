"""Fill a network with a state dict that must be all of it, and resample position embeddings for another grid."""

from collections.abc import Mapping
from typing import TypeVar

import utils.torchvision_operators  # noqa: F401 (before timm)

# isort: split
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from models.config import TokensConfig
from utils.text import one_line

POSITION = "encoder.tokens.body.model.pos_embed"
"""A detector's name for its transformer's position embedding."""

Network = TypeVar("Network", bound=nn.Module)


def fill(network: Network, state: Mapping[str, Tensor], where: str, names: Mapping[str, str] | None = None) -> Network:
    """Load a state dict that must hold all of the network's parameters and buffers, and nothing else.

    Args:
        network: filled and returned.
        state: the tensors.
        where: what to call `state` in an error.
        names: the name in `state` of each of the network's tensors, where they differ.

    Raises:
        ValueError: as `check_fit`.
    """
    check_fit(network, shapes(state), where, names)
    network.load_state_dict({key: state[(names or {}).get(key, key)] for key in network.state_dict()})
    return network


def check_fit(
    network: nn.Module, found: Mapping[str, tuple[int, ...]], where: str, names: Mapping[str, str] | None = None
) -> None:
    """Check that tensors of these names and shapes are all of a network's, and nothing else.

    Args:
        network: may be on the `meta` device.
        found: the tensors' shapes by name.
        where: what to call them in an error.
        names: their name for each of the network's tensors, where they differ.

    Raises:
        ValueError: tensors are missing, extra or misshapen; they are named.
    """
    wanted = {(names or {}).get(key, key): shape for key, shape in shapes(network.state_dict()).items()}
    problems = [f"missing {name}" for name in wanted if name not in found]
    problems += [f"extra {one_line(name, 100)}" for name in found if name not in wanted]
    problems += [
        f"misshapen {name}: {found[name]}, expected {shape}"
        for name, shape in wanted.items()
        if found.get(name, shape) != shape
    ]
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"{where}: does not fit the network: {'; '.join(problems[:8])}{more}")


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the tensors' shapes by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def resample_positions(
    state: Mapping[str, Tensor], old: TokensConfig | None, new: TokensConfig | None
) -> dict[str, Tensor]:
    """Return a detector's state dict with its transformer's position embedding, if any, resampled for another grid.

    Args:
        state: of a detector; left as it is.
        old, new: the transformer's present and wanted configuration; None without one.
    """
    if old is None or new is None or old.grid == new.grid or POSITION not in state:
        return dict(state)
    position = state[POSITION]  # 1×n×C: prefix tokens such as the class token, if any, then the grid's
    prefix = position.shape[1] - old.grid[0] * old.grid[1] if position.ndim == 3 else -1
    if prefix < 0:  # not of that grid: `fill` names it
        return dict(state)
    resampled = resample_abs_pos_embed(position, list(new.grid), list(old.grid), num_prefix_tokens=prefix)
    return {**state, POSITION: resampled}
