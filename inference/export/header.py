"""The metadata of an exported file, and the names of its input and outputs."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from models.config import SIDE_LIMIT, DetectorConfig
from models.resize import check_size
from utils.text import one_line

INPUT = "image"
"""Input: B×H×W×3 uint8 RGB."""
MAP, SALIENCY = "map", "saliency"
"""Outputs: the map, B×2H×2W uint8, truncated saliency × 255; and the saliency, B×2H×2W float32 in [0, 1]."""


@dataclass(frozen=True)
class Header:
    """The metadata of an exported file.

    Attributes:
        encoder: timm name of the encoder.
        input_size: (height, width) of the training.
        sizes: image sizes that the graph takes: 'any' multiple of 32, or 'one', which is `input_size`.
        mean, std: normalization statistics in [0, 1]; the graph applies them itself.
        precision: 'fp32' or 'int8'.
        weights_sha256: hash of the weights file that was exported.
        tensors_sha256: hash of OpenVINO's .bin file; empty for ONNX.
    """

    encoder: str
    input_size: tuple[int, int]
    sizes: Literal["any", "one"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    precision: Literal["fp32", "int8"] = "fp32"
    weights_sha256: str = ""
    tensors_sha256: str = ""

    @classmethod
    def of(cls, config: DetectorConfig, any_size: bool) -> "Header":
        """Return the header of a detector's graph in fp32."""
        return cls(config.encoder, config.input_size, "any" if any_size else "one", config.mean, config.std)

    def as_text(self) -> dict[str, str]:
        """Return the metadata as the formats store it: text by name, JSON except for `format`."""
        return {"format": "sral"} | {name: json.dumps(value) for name, value in asdict(self).items()}

    def check(self, height: int, width: int) -> None:
        """Raise a ValueError if the graph does not take images of that size."""
        check_size(height, width)
        if self.sizes == "one" and (height, width) != self.input_size:
            raise ValueError(
                f"input size {height}×{width}: this graph of {self.encoder} is for "
                f"{self.input_size[0]}×{self.input_size[1]} alone"
            )


def read_header(path: Path, metadata: Mapping[str, str] | Any) -> Header:
    """Return the header in a file's metadata, which is not trusted.

    Raises:
        ValueError: inference.export did not write the file, or a value is invalid.
    """
    try:
        if not isinstance(metadata, Mapping) or metadata.get("format") != "sral":
            raise ValueError("its metadata name no network of ours")
        values = {name: json.loads(metadata[name]) for name in Header.__dataclass_fields__}
        values |= {name: tuple(values[name]) for name in ("input_size", "mean", "std")}
        header = Header(**values)
        _check(header)
    except (ArithmeticError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no network that inference.export wrote ({one_line(error)})") from error
    return header


def _check(header: Header) -> None:
    sides = header.input_size
    if len(sides) != 2 or any(type(side) is not int or not 32 <= side <= SIDE_LIMIT for side in sides):
        raise ValueError(f"its input_size is {sides}")
    if header.precision not in ("fp32", "int8") or header.sizes not in ("any", "one"):
        raise ValueError(f"its precision is {header.precision}, for sizes {header.sizes}")
    if len(header.mean) != 3 or len(header.std) != 3 or not all(map(math.isfinite, (*header.mean, *header.std))):
        raise ValueError(f"its statistics are {header.mean} and {header.std}")
    if not all(isinstance(text, str) for text in (header.encoder, header.weights_sha256, header.tensors_sha256)):
        raise ValueError("its encoder and hashes are no text")
