"""Convert a trained network, check the result against the network, and write it."""

import errno
import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from datasets.catalog import images_at
from datasets.io import read_pixels
from inference.backends import onnx_runtime, open_vino
from inference.export.check import check_export, synthetic_images
from inference.export.deepness import check_square, wrap_for_deepness
from inference.export.graph import onnx_graph
from inference.export.half import store_half
from inference.export.header import Header
from inference.export.int8 import quantize
from models.encoders import expects_one_size
from models.weights import load_detector
from utils.devices import optional
from utils.files import atomic_path, temporary_folder
from utils.outputs import check_file, refuse_inputs
from utils.text import one_line

CHECKED = 8
"""Number of images that an export is checked on."""
REQUIREMENTS = {
    "onnx": onnx_runtime.REQUIREMENTS,
    "openvino": open_vino.REQUIREMENTS,
    "deepness": onnx_runtime.REQUIREMENTS,
}


def export(
    weights: Path,
    file_format: str,
    output: Path,
    size: str | None = None,
    images: Path | None = None,
    num_images: int = 128,
    int8: bool = False,
    half: bool = False,
) -> str:
    """Write a network's file. Nothing is written if the file does not compute what the network computes.

    Args:
        weights: a .safetensors file.
        file_format: a key of `inference.export.FORMATS`.
        output: the file to write, with the suffix of the format; it, and OpenVINO's .bin, are replaced.
        size: 'any' multiple of 32, 'one', or None: any if the encoder allows it.
        images: a folder of training images; None: the file is checked on synthetic images.
        num_images: number of images to calibrate int8 on, evenly spaced in the sorted folder.
        int8: quantize the parts that lose little by it.
        half: store the weights in fp16, half the file; they are computed in fp32.

    Returns:
        The differences that the check found, as text.

    Raises:
        FileNotFoundError, OSError: a file is missing or cannot be written.
        ValueError: anything else, in one line.
    """
    runtime = "openvino" if file_format == "openvino" else "onnxruntime"
    packages = ("onnx", "onnxscript", runtime, *(["nncf"] * int8))
    for package in packages:
        optional(package, REQUIREMENTS[file_format])
    _check_output(weights, output, file_format)
    detector = load_detector(weights)
    size = "one" if file_format == "deepness" else size
    header = Header.of(detector.config, _takes_any_size(detector.config.encoder, size))
    header = replace(header, weights_sha256=_sha256(weights), precision="int8" if int8 else "fp32")
    if file_format == "deepness":
        check_square(header)
    calibration, unseen = _load_images(images, num_images if int8 else 0, header.input_size)
    graph = onnx_graph(detector, header.sizes == "any", REQUIREMENTS[file_format])
    module = optional("openvino" if file_format == "openvino" else "onnx", REQUIREMENTS[file_format])
    model = module.convert_model(io.BytesIO(graph.SerializeToString())) if file_format == "openvino" else graph
    if int8:
        model = quantize(model, graph, calibration, REQUIREMENTS[file_format])
    with temporary_folder(output.parent) as folder:
        unchecked = folder / output.name
        WRITERS[file_format](module, model, header, unchecked, half)
        report = check_export(unchecked, header, detector, unseen, half)
        if file_format == "deepness":
            report += "\n" + wrap_for_deepness(unchecked, header, unseen)
        for file in sorted(unchecked.parent.iterdir()):  # the .bin before the .xml, which holds its hash
            with atomic_path(output.with_name(file.name)) as temporary:
                os.replace(file, temporary)
    return report


def write_onnx(onnx: ModuleType, model: Any, header: Header, path: Path, half: bool = False) -> None:
    """Write an `onnx.ModelProto` with its header; `half` stores fp16."""
    model = store_half(onnx, model) if half else model
    onnx.helper.set_model_props(model, header.as_text())
    path.write_bytes(model.SerializeToString())


def write_openvino(openvino: ModuleType, model: Any, header: Header, path: Path, half: bool = False) -> None:
    """Write an OpenVINO model with its header, which holds the hash of the .bin file; `half` stores fp16."""

    def save(header: Header) -> None:
        for name, value in header.as_text().items():
            model.set_rt_info(value, ["sral", name])
        try:
            openvino.save_model(model, path, compress_to_fp16=half)
        except RuntimeError as error:  # such as a full disk
            raise OSError(errno.EIO, one_line(error)) from error

    save(header)
    save(replace(header, tensors_sha256=_sha256(path.with_suffix(".bin"))))


WRITERS: dict[str, Callable[[ModuleType, Any, Header, Path, bool], None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "deepness": write_onnx,
}


def _check_output(weights: Path, output: Path, file_format: str) -> None:
    """Raise OSError or ValueError where the file cannot be written, or would replace what no export wrote."""
    check_file(output)
    refuse_inputs(output, [weights])
    tensors = output.with_suffix(".bin")
    if file_format == "openvino" and tensors.exists() and not output.exists():
        raise ValueError(f"{tensors} is there without {output.name}, so no export wrote it: give another --output")


def _takes_any_size(encoder: str, size: str | None) -> bool:
    """Return whether the graph takes any size. Raise a ValueError if 'any' was asked for and the encoder takes one."""
    one = expects_one_size(encoder)
    if size == "any" and one:
        raise ValueError(f"--size any: encoder {encoder} is made for one input size; leave it out, or 'one'")
    return size != "one" and not one


def _load_images(folder: Path | None, count: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return images to calibrate on and images to check on, N×H×W×3 uint8 RGB, disjoint if the folder has enough."""
    if folder is None:
        return np.empty((0, *size, 3), np.uint8), synthetic_images(CHECKED, size)
    files = [Path(image) for _, image in images_at(folder)]
    calibration = _evenly_spaced(files, count)
    unseen = [file for file in files if file not in set(calibration)] or files
    return _read(calibration, size), _read(_evenly_spaced(unseen, CHECKED), size)


def _read(files: list[Path], size: tuple[int, int]) -> np.ndarray:
    images = [read_pixels(file, size)[0] for file in files]
    return np.stack(images) if images else np.empty((0, *size, 3), np.uint8)


def _evenly_spaced(files: list[Path], count: int) -> list[Path]:
    count = min(count, len(files))
    return [files[i * len(files) // count] for i in range(count)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
