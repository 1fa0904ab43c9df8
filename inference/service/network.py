"""An exported .onnx file run by ONNX Runtime without torch: an image file becomes saliency."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.decode import FORMATS
from datasets.io import jpeg_pixels, open_image, resized
from datasets.raster import Bands, Bounds
from inference.service.errors import Refusal
from utils.text import one_line

SIZE_LIMIT = 4096
"""Pixels along each side of a network's input."""


class ServiceNetwork:
    """An exported network.

    Args:
        path: an .onnx file that `python -m inference.export` wrote.
        threads: CPU threads of one image.

    Attributes:
        input_size: (height, width) that images are resized to.
        precision, sha256: the file's own words: 'fp32' or 'int8', and the hash of the weights it was exported from.

    Raises:
        FileNotFoundError: no such file.
        ValueError: onnxruntime is missing, or the file is none that inference.export wrote.
    """

    def __init__(self, path: Path, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(
                f"onnxruntime cannot be imported ({one_line(error)}): pip install -r requirements-service.txt"
            ) from error
        if not path.is_file():
            raise FileNotFoundError(f"--weights {path}: no such file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self.session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            metadata = self.session.get_modelmeta().custom_metadata_map
            height, width = json.loads(metadata["input_size"])
            self.precision: str = json.loads(metadata["precision"])
            self.sha256: str = json.loads(metadata["weights_sha256"])
            if metadata["format"] != "sral" or not all(0 < side <= SIZE_LIMIT for side in (height, width)):
                raise ValueError("its metadata are not ours")
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise ValueError(
                f"--weights {path}: no network that inference.export wrote as .onnx ({one_line(error)})"
            ) from error
        self.input_size: tuple[int, int] = (height, width)

    def saliency(self, pixels: np.ndarray) -> np.ndarray:
        """Return the saliency, 2H×2W float32 in [0, 1], of H×W×3 uint8 RGB of any size; (H, W) is `input_size`."""
        small = np.asarray(resized(Image.fromarray(pixels), self.input_size))
        found: np.ndarray = self.session.run(["saliency"], {"image": small[None]})[0][0]
        return found


def read_upload(
    path: Path, megapixels: float, bands: Bands | None, bounds: Bounds | None
) -> tuple[np.ndarray, np.ndarray | None, Bounds | None]:
    """Return the pixels of an uploaded file, H×W×3 uint8 RGB, their validity, and the value range where one is used.

    JPEG, PNG, BMP, WebP and GIF are read as `getsmaps.py` reads them, without bands or range. TIFF is read by
    rasterio where it is installed.

    Args:
        path: the file.
        megapixels: the largest image.
        bands, bounds: of a raster, as `datasets.raster_reader.read_rgb`.

    Raises:
        Refusal: 415, it is no image; 413, it is too large; 422, it is broken, or bands or range do not fit.
    """
    width, height, kind = _header(path)
    if width * height > megapixels * 1e6:
        raise Refusal(
            413,
            f"the image has {width}×{height} pixels, at most {megapixels:g} megapixels are taken: send a part of it",
        )
    try:
        if kind == "TIFF" and raster_support():
            from datasets.raster_reader import read_rgb

            return read_rgb(path, bands, bounds)
        if bands or bounds:
            raise Refusal(422, "bands and range go with a TIFF, and need rasterio on the server: leave them out")
        pixels = jpeg_pixels(path)
        return np.asarray(open_image(path)) if pixels is None else pixels, None, None
    except ValueError as error:
        raise Refusal(422, one_line(error).replace(str(path), "the image")) from error


def raster_support() -> bool:
    """Return whether rasterio is installed (requirements-scenes.txt)."""
    from importlib.util import find_spec

    return find_spec("rasterio") is not None


def _header(path: Path) -> tuple[int, int, str]:
    """Return width, height and format of an image file without decoding it; raise a Refusal for anything else."""
    if not path.stat().st_size:
        raise Refusal(422, "the body is empty: send an image file as the body")
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.width, image.height, image.format or ""
    except Image.DecompressionBombError as error:
        raise Refusal(413, f"the image is too large ({one_line(error)}): send a part of it") from error
    except Exception:  # Pillow raises almost anything on broken files
        return _raster_header(path)


def _raster_header(path: Path) -> tuple[int, int, str]:
    """Return width, height and 'TIFF' of a TIFF that Pillow does not know, such as one of float bands."""
    with path.open("rb") as file:
        is_tiff = file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    if is_tiff and raster_support():
        from datasets.raster import describe, open_raster

        try:
            with open_raster(path, driver="GTiff") as dataset:
                raster = describe(dataset)
            return raster.width, raster.height, "TIFF"
        except ValueError as error:
            raise Refusal(422, one_line(error).replace(str(path), "the image")) from error
    raise Refusal(415, f"the body is no image that can be read: send {', '.join(FORMATS)}")
