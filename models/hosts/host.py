"""Hosts: wrap any network that computes a saliency map, so that SRAL can be attached to it.

The network is never changed. In training, features are read by hooks on named modules; `models.hosts.registry` has the
names for each kind of network.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.attachable import Channels, Features
from models.config import DetectorConfig
from models.encoders import load_encoder_weights
from models.hosts.registry import HostKind, find_kind
from models.resize import OUTPUT_SCALE, bilinear, check_size
from utils.text import one_line

SHALLOW_STRIDE = 4
PREFIX_LIMIT = 8
"""Tokens, such as the class token, that may precede those of the image."""


class Host(nn.Module):
    """A network in the detector's place: normalized RGB to logits at twice its size. The network inside is unchanged.

    Args:
        network: maps B×3×H×W to logits B×1 at any size.
        kind: names of the modules to read.
        config: what it was built from; saved with its weights.

    Raises:
        ValueError: the kind names a module that the network does not have.
    """

    def __init__(self, network: nn.Module, kind: HostKind, config: DetectorConfig):
        super().__init__()
        self.network, self.config = network, config
        self._logits, self._encoder = _items(kind.logits), kind.encoder
        places = config.given_host()
        named = {"shallow": places.shallow or kind.shallow, "context": places.context or kind.context}
        coarse = places.coarse or kind.coarse
        self._places = named | {f"coarse {level}": place for level, place in enumerate(coarse, start=2)}
        for name in [*map(_module, self._places.values()), *([] if kind.encoder is None else [kind.encoder])]:
            self._submodule(name)

    @property
    def encoder(self) -> nn.Module:
        """The pre-trained part; an empty module if the network names none."""
        return nn.Module() if self._encoder is None else self._submodule(self._encoder)

    def forward(self, rgb: Tensor) -> dict[str, Tensor]:
        """Find the salient objects.

        Args:
            rgb: B×3×H×W, [0, 1] RGB normalized with the configuration's mean and std; H and W multiples of 32.

        Returns:
            `logits` B×1×2H×2W, whose sigmoid is the saliency map.

        Raises:
            ValueError: H or W is no multiple of 32, or the network gives something other than logits of one class.
        """
        height, width = rgb.shape[-2:]
        check_size(height, width)
        return {"logits": bilinear(self.own_logits(rgb), (OUTPUT_SCALE * height, OUTPUT_SCALE * width))}

    def own_logits(self, rgb: Tensor) -> Tensor:
        """Map B×3×H×W to the network's own logits, B×1 at its own size."""
        logits = _item(self.network(rgb), self._logits, self.config.name)
        if not isinstance(logits, Tensor) or logits.ndim != 4 or logits.shape[1] != 1:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"host {self.config.name} gives {found}, expected logits of one class, B×1×h×w")
        return logits

    def forward_features(self, rgb: Tensor) -> Features:
        """Return the logits with what the training branches read, through hooks that are removed afterwards."""
        height, width = rgb.shape[-2:]
        with self._hooked() as found:
            logits = self(rgb)["logits"]
        features = {name: self._feature(name, found, height, width) for name in self._places}
        coarse = [features.pop(name) for name in self._places if name.startswith("coarse")]
        shallow = bilinear(features["shallow"], (height // SHALLOW_STRIDE, width // SHALLOW_STRIDE))
        return {"logits": logits, "shallow": shallow, "context": features["context"], "coarse": coarse}

    def channels(self) -> Channels:
        """Return the channels of what `forward_features` returns, found by running the network once in eval mode.

        Raises:
            ValueError: a place gives nothing, or no feature; or the network does not take images of its input size.
        """
        image = torch.zeros(1, 3, *self.config.input_size, device=next(self.parameters()).device)
        modes = {module: module.training for module in self.modules()}
        try:
            with torch.no_grad():
                found = self.eval().forward_features(image)
        except RuntimeError as error:
            height, width = self.config.input_size
            raise ValueError(
                f"host {self.config.name} cannot run on images of {height}×{width} ({one_line(error)}): set input_size "
                "to larger multiples of 32"
            ) from error
        for module, training in modes.items():
            module.training = training
        return {
            "shallow": found["shallow"].shape[1],
            "context": found["context"].shape[1],
            "coarse": [feature.shape[1] for feature in found["coarse"]],
        }

    @contextmanager
    def _hooked(self) -> Iterator[dict[str, Any]]:
        """Yield a dict that a forward pass fills with the outputs of the modules to read, by name."""
        found: dict[str, Any] = {}
        with ExitStack() as hooks:
            for name in set(map(_module, self._places.values())):

                def keep(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
                    found[name] = output

                hooks.callback(self._submodule(name).register_forward_hook(keep).remove)
            yield found

    def _feature(self, name: str, found: dict[str, Any], height: int, width: int) -> Tensor:
        """Return the feature at a place as B×C×h×w, for an image of height×width."""
        place = self._places[name]
        where = f"host {self.config.name}, {name} at {place}"
        if _module(place) not in found:
            raise ValueError(f"{where}: the network runs without that module")
        return as_map(_item(found[_module(place)], _items(place), where), height, width, where)

    def _submodule(self, name: str) -> nn.Module:
        try:
            return self.network.get_submodule(name)
        except AttributeError as error:
            near = ", ".join(child for child, _ in self.network.named_children())
            raise ValueError(f"host {self.config.name} has no module {name!r}; at its top it has {near}") from error


def build_host(config: DetectorConfig, encoder_weights: str = "none") -> Host:
    """Build the host that a configuration names.

    Args:
        config: `host` says which.
        encoder_weights: 'none'; 'imagenet', which the host's builder downloads; or a file for the encoder, with timm's
            or torchvision's names.

    Raises:
        ValueError: no such host, what it needs is not installed, or the weights do not fit.
        FileNotFoundError: the weights file is missing.
    """
    kind = find_kind(config.given_host().network)
    host = Host(kind.build(config, encoder_weights == "imagenet"), kind, config)
    if encoder_weights not in ("none", "imagenet"):
        if kind.encoder is None:
            raise ValueError(f"host {config.name} names no encoder that {encoder_weights} could fill: give 'none'")
        load_encoder_weights(host.encoder, Path(encoder_weights), config.encoder)
    return host


def release(network: nn.Module) -> nn.Module:
    """Return the network inside a Host, or inside a training network around a Host.

    Raises:
        ValueError: it is our own detector.
    """
    host = getattr(network, "detector", network)
    if not isinstance(host, Host):
        raise ValueError("this is our own detector: only a host can be released")
    return host.network


def as_map(feature: Any, height: int, width: int, where: str) -> Tensor:
    """Return a feature as B×C×h×w; it may come so, channels last (B×h×w×C) or as tokens (B×n×C).

    Args:
        feature: of an image of height×width; up to eight prefix tokens may precede the image's.
        height, width: they distinguish the layouts, since a map has the image's aspect ratio.
        where: what to call it in an error.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(feature, Tensor) and feature.ndim == 4:
        first, second, third = feature.shape[1:]
        channels_last = second * width != third * height and first * width == second * height
        return feature.permute(0, 3, 1, 2).contiguous() if channels_last else feature
    if isinstance(feature, Tensor) and feature.ndim == 3:
        tokens = feature.shape[1]
        for stride in range(1, min(height, width) + 1):
            rows, columns = height // stride, width // stride
            if 0 <= tokens - rows * columns <= PREFIX_LIMIT:
                return feature[:, tokens - rows * columns :].transpose(1, 2).unflatten(2, (rows, columns)).contiguous()
    found = tuple(feature.shape) if isinstance(feature, Tensor) else type(feature).__name__
    raise ValueError(f"{where}: found {found}, expected a feature map or tokens")


def _module(place: str) -> str:
    return place.partition("[")[0]


def _items(place: str) -> tuple[int | str, ...]:
    """Parse the indices and keys after a module's name, such as [2] or [out]."""
    items = place.removeprefix(_module(place))
    if not re.fullmatch(r"(\[[^\[\]]+\])*", items):
        raise ValueError(f"place {one_line(place, 100)!r}: write it as decoder.psp, encoder[2] or body[out]")
    keys = re.findall(r"\[([^\[\]]+)\]", items)
    return tuple(int(key) if re.fullmatch(r"-?\d+", key) else key for key in keys)


def _item(output: Any, items: Sequence[int | str], where: str) -> Any:
    for item in items:
        held = isinstance(output, Mapping) and item in output
        held = held or (isinstance(output, list | tuple) and type(item) is int and -len(output) <= item < len(output))
        if not held:
            raise ValueError(f"{where}: there is no [{item}] in a {type(output).__name__}")
        output = output[item]
    return output
