"""Choose what runs a network fastest here: `--backend auto` and `--fast`.

In fp32 every choice gives torch's maps within one gray level. A weights file has to be converted before OpenVINO runs
it. The conversion is kept in the user's cache (`inference.backends.conversion`).
"""

import importlib.util
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inference.backends import CONVERTED, EXPORTED
from inference.backends.conversion import file_sha256, find_converted
from inference.export import FORMATS
from utils.devices import find_device, has_bf16, has_vnni

FASTEST = "openvino"
"""On a CPU. ONNX Runtime takes as long as torch in fp32, so it is chosen for .onnx files alone."""
INSTALL = "faster: pip install -r requirements-openvino.txt"
CONVERT = f"faster for more images: --backend {FASTEST}, which converts the network once"
PAYS = 30.0
"""Seconds of torch's work from which a conversion is made. It takes 5 to 20 s of a core."""


@dataclass(frozen=True)
class Choice:
    """What to open.

    Attributes:
        name: of the backend.
        weights: the file: the one asked for, or its int8 form.
        precision: None is that of the file.
        remark: what would be faster; empty where nothing is.
        convertible: OpenVINO is there, but has to convert the network first, which pays for many images.
    """

    name: str
    weights: Path
    precision: str | None
    remark: str = ""
    convertible: bool = False


def choose(
    weights: Path,
    device: str = "auto",
    precision: str | None = None,
    fast: bool = False,
    local_index: int | None = None,
) -> Choice:
    """Return the fastest way to run a file here, without running it.

    Args:
        weights: a .safetensors, .onnx or .xml file.
        device: 'auto', 'cpu' or 'cuda'.
        precision: what is asked for, or None.
        fast: allow bf16 and int8.
        local_index: rank of this process on its machine, if several share the GPUs.

    Raises:
        FileNotFoundError, ValueError: no such file or device.
    """
    place = find_device(device, local_index)
    on_cpu, suffix = place.type == "cpu", weights.suffix
    if suffix in EXPORTED:
        usable = [name for name in EXPORTED[suffix] if name != FASTEST or (on_cpu and _is_installed(FASTEST))]
        name = FASTEST if FASTEST in usable or suffix == FORMATS[FASTEST] else usable[0]
        return Choice(name, weights, precision, INSTALL if on_cpu and name != FASTEST else "")
    if not on_cpu:
        return Choice("torch", weights, precision or (_fast_precision(False) if fast else None))
    if fast and precision is None:
        if (found := int8_form(weights)) and _is_installed(FASTEST) and has_vnni():
            return Choice(FASTEST, found, None)
        precision = _fast_precision(True)
    if (precision or "fp32") not in CONVERTED[FASTEST][1]:
        return Choice("torch", weights, precision)
    if not _is_installed(FASTEST):
        return Choice("torch", weights, precision, INSTALL)
    if find_converted(weights):
        return Choice(FASTEST, weights, precision)
    convertible = all(map(_is_installed, ("onnx", "onnxscript")))
    return Choice("torch", weights, precision, CONVERT if convertible else INSTALL, convertible)


def int8_form(weights: Path) -> Path | None:
    """Return the int8 file beside a weights file, STEM_int8.xml or .onnx, if it was exported from these weights."""
    for suffix in (FORMATS["openvino"], FORMATS["onnx"]):
        path = weights.with_name(f"{weights.stem}_int8{suffix}")
        if not path.is_file() or not _is_installed(FASTEST):
            continue
        from inference.backends.open_vino import REQUIREMENTS, read_openvino
        from utils.devices import optional

        with suppress(ValueError, OSError):  # a file of another kind is left alone
            _, header = read_openvino(optional(FASTEST, REQUIREMENTS).Core(), path)
            if header.precision == "int8" and header.weights_sha256 == file_sha256(weights):
                return path
    return None


def _fast_precision(on_cpu: bool) -> str | None:
    if has_bf16(on_cpu):
        return "bf16"
    return None if on_cpu else "fp16"


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
