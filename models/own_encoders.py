"""Encoders of your own: a registration in a file that `--host-file` names, or in your program."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import utils.torchvision_operators  # noqa: F401 (before timm)

# isort: split
import timm
from timm.models import FeatureInfo, register_model
from torch import nn

STRIDES = (2, 4, 8, 16, 32)
OWN_ENCODERS: dict[str, Callable[..., nn.Module]] = {}
"""The builders by name."""

Builder = Callable[..., nn.Module]


def register_encoder(name: str, channels: Sequence[int]) -> Callable[[Builder], Builder]:
    """Register a function that builds an encoder; decorates it.

    The encoder maps B×3×H×W normalized RGB to a list of features, finest first: at strides 2, 4, 8, 16 and 32, or
    without the first. Afterwards timm knows it by its name, and so does `detector.encoder`.

    Args:
        name: for `detector.encoder`: letters, digits and _.
        channels: of the five or four features.

    Raises:
        ValueError: the name is taken or is none, or there are not four or five numbers of channels.
    """
    if not name.isidentifier():
        raise ValueError(f"encoder {name!r}: make its name of letters, digits and _")
    if timm.is_model(name) and name not in OWN_ENCODERS:
        raise ValueError(f"encoder {name}: timm has a network of this name; choose another")
    if len(channels) not in (4, 5):
        raise ValueError(f"encoder {name}: {len(channels)} numbers of channels, expected those of 4 or 5 features")
    features = [
        {"num_chs": count, "reduction": stride, "module": f"{number}"}
        for number, (count, stride) in enumerate(zip(channels, STRIDES[-len(channels) :], strict=True))
    ]

    def registered(build: Builder) -> Builder:
        def create(pretrained: bool = False, features_only: bool = True, **options: Any) -> nn.Module:
            if pretrained:
                raise RuntimeError("an encoder of your own has none")
            body: Any = build(**{key: value for key, value in options.items() if value is not None})
            body.feature_info = FeatureInfo(features, tuple(range(len(features))))
            return body

        create.__name__ = name
        OWN_ENCODERS[name] = build
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a name that is registered again, as in a notebook
            register_model(create)
        return build

    return registered
