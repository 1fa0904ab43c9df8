"""A trained network as one file for ONNX Runtime or OpenVINO: 8-bit RGB in, 8-bit map and saliency out.

    python -m inference.export --weights weights/NAME.safetensors --format onnx
    python -m inference.export --weights weights/NAME.safetensors --format openvino --int8 --calibrate TRAINING_IMAGES

What is written was read back, run and found equal to the network (int8: near to it), or nothing is written.
"""

import argparse
import hashlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from datasets.catalog import images_at
from datasets.io import read_pixels
from inference.backends import onnx_runtime, open_vino
from inference.export.check import check_export, scenes
from inference.export.graph import onnx_graph
from inference.export.header import FORMATS, Header
from inference.export.int8 import quantized
from models.encoders import expects_one_size
from models.hosts import run_host_file
from models.weights import load_detector
from utils.devices import optional

CHECKED = 8
"""Images that an export is checked on."""
REQUIREMENTS = {"onnx": onnx_runtime.REQUIREMENTS, "openvino": open_vino.REQUIREMENTS}
EPILOG = """OpenVINO's .xml has its tensors beside it, in a .bin of the same name: keep them together. getsmaps.py takes
the file in the place of --weights."""


def parse_arguments() -> argparse.Namespace:
    """The command line; what contradicts itself stops here."""
    description = "Write a trained network as a file for ONNX Runtime or OpenVINO that makes the same maps."
    parser = argparse.ArgumentParser("python -m inference.export", description=description, epilog=EPILOG)
    add = parser.add_argument
    add("--weights", type=Path, metavar="FILE", required=True, help=".safetensors of a training run or pruned network")
    add("--host-file", type=Path, metavar="FILE.py", help="runs it: it registers the network, where it is your own")
    add("--format", choices=tuple(FORMATS), required=True, help="for ONNX Runtime, or for OpenVINO")
    add("--output", type=Path, metavar="FILE", help="default: beside --weights, with the format's suffix")
    add("--int8", action="store_true", help="convolutions in int8; needs --calibrate")
    add("--calibrate", type=Path, metavar="DIR", help="training images, which int8 is fitted to; also to check on")
    add("--images", type=int, default=128, metavar="N", help="of --calibrate, evenly chosen, for int8 (default: 128)")
    sizes = "any multiple of 32, or the one that it was trained for (default: any, where the encoder takes it)"
    add("--size", choices=("any", "one"), help=sizes)
    options = parser.parse_args()
    if options.int8 and options.calibrate is None:
        parser.error("--int8 needs --calibrate DIR, a folder of training images")
    if options.images < 1:
        parser.error(f"--images must be at least 1, not {options.images}")
    suffix = FORMATS[options.format]
    if options.output is None:
        options.output = options.weights.with_name(f"{options.weights.stem}{'_int8' * options.int8}{suffix}")
    if options.output.suffix != suffix:
        parser.error(f"--output must end in {suffix} for --format {options.format}, not {options.output.name}")
    return options


def export(
    weights: Path,
    form: str,
    output: Path,
    size: str | None = None,
    images: Path | None = None,
    count: int = 128,
    int8: bool = False,
) -> str:
    """Write a network's file, or nothing where it does not do what the network does.

    Args:
        weights: a .safetensors file.
        form: a key of FORMATS.
        output: the file to write, with the format's suffix; it, and OpenVINO's .bin, are replaced.
        size: 'any' multiple of 32, 'one', or None for any that the encoder takes.
        images: a folder of training images; drawn scenes are what it is checked on otherwise.
        count: images that int8 is calibrated on, evenly chosen.
        int8: whether it is in int8 where that loses little.

    Returns:
        What was found when it was checked, for people to read.

    Raises:
        FileNotFoundError, OSError: a file is missing or cannot be written.
        ValueError: anything else that is wrong, in one line.
    """
    packages = ("onnx", "onnxscript", "onnxruntime" if form == "onnx" else "openvino", *(["nncf"] if int8 else []))
    for package in packages:
        optional(package, REQUIREMENTS[form])
    detector = load_detector(weights)
    header = Header.of(detector.config, _takes_any_size(detector.config.encoder, size))
    header = replace(header, weights_sha256=_sha256(weights), precision="int8" if int8 else "fp32")
    calibration, unseen = _pictures(images, count if int8 else 0, header.input_size)
    graph = onnx_graph(detector, header.sizes == "any", REQUIREMENTS[form])
    module = optional("onnx" if form == "onnx" else "openvino", REQUIREMENTS[form])
    model = graph if form == "onnx" else module.convert_model(io.BytesIO(graph.SerializeToString()))
    if int8:
        model = quantized(model, graph, calibration, REQUIREMENTS[form])
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        part = Path(folder, output.name)
        WRITERS[form](module, model, header, part)
        found = check_export(part, header, detector, unseen)
        for file in sorted(part.parent.iterdir()):  # OpenVINO's tensors first: the .xml, which names them, comes last
            os.replace(file, output.with_name(file.name))
    return found


def write_onnx(onnx: ModuleType, model: Any, header: Header, path: Path) -> None:
    """Write an `onnx.ModelProto` with its header."""
    onnx.helper.set_model_props(model, header.as_text())
    path.write_bytes(model.SerializeToString())


def write_openvino(openvino: ModuleType, model: Any, header: Header, path: Path) -> None:
    """Write an OpenVINO model with its header, which has the hash of the tensors that are written beside it."""

    def save(header: Header) -> None:
        for name, value in header.as_text().items():
            model.set_rt_info(value, ["sral", name])
        openvino.save_model(model, path, compress_to_fp16=False)

    save(header)
    save(replace(header, tensors_sha256=_sha256(path.with_suffix(".bin"))))


WRITERS: dict[str, Callable[[ModuleType, Any, Header, Path], None]] = {"onnx": write_onnx, "openvino": write_openvino}


def _takes_any_size(encoder: str, asked: str | None) -> bool:
    """Whether the graph is for any size. Raises ValueError where that was asked for and the encoder does not."""
    one = expects_one_size(encoder)
    if asked == "any" and one:
        raise ValueError(f"--size any: encoder {encoder} is made for one input size; leave it out, or 'one'")
    return asked != "one" and not one


def _pictures(folder: Path | None, count: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Images to calibrate with and images to check on, N×H×W×3 uint8 RGB: the latter others, where there are enough."""
    if folder is None:
        return np.empty((0, *size, 3), np.uint8), scenes(CHECKED, size)
    files = [image for _, image in images_at(folder)]
    calibration = _evenly(files, count)
    unseen = [file for file in files if file not in set(calibration)] or files
    return tuple(
        np.stack([read_pixels(file, size)[0] for file in some]) if some else np.empty((0, *size, 3), np.uint8)
        for some in (calibration, _evenly(unseen, CHECKED))
    )


def _evenly(files: list[Path], count: int) -> list[Path]:
    count = min(count, len(files))
    return [files[i * len(files) // count] for i in range(count)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Export; bad input ends in one line on standard error and exit status 1."""
    options = parse_arguments()
    start = time.perf_counter()
    try:
        if options.host_file:
            run_host_file(options.host_file)
        found = export(
            options.weights,
            options.format,
            options.output,
            options.size,
            options.calibrate,
            options.images,
            options.int8,
        )
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    size = sum(file.stat().st_size for file in {options.output, options.output.with_suffix(".bin")} if file.is_file())
    print(found)
    print(f"Written to {options.output}: {size / 1e6:.1f} MB, {time.perf_counter() - start:.0f} s")
