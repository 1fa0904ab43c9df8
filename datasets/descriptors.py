"""Describe images by low frequencies, so that an index finds turned, mirrored and cropped copies."""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

SIDE = 32
"""Side of a described window, in pixels."""

FREQUENCIES = 8
"""Cosine frequencies along each axis."""

WINDOWS = ((0.0, 0.0, 1.0), *((x, y, 0.8) for y in (0.0, 0.1, 0.2) for x in (0.0, 0.1, 0.2)))
"""The described windows, the whole image first: (left, top, side) as fractions of the image."""

CENTER = 5
"""Index of the central crop in `WINDOWS`."""

THUMBNAIL = 80
"""Side of a thumbnail, in pixels."""

_FLAT = 1.0
"""Standard deviation in gray levels below which an image counts as one color."""

_BLACK = 12
"""Gray levels up to which a frame is black, or as far from 255 white."""

_SIGNS = (-1.0) ** np.arange(FREQUENCIES, dtype=np.float32)
_RADIUS = np.hypot(*np.mgrid[:FREQUENCIES, :FREQUENCIES]).astype(np.float32)


@dataclass(frozen=True)
class Descriptor:
    """What an index needs to know of an image.

    Attributes:
        coefficients: windows × frequencies × frequencies, float16: cosine coefficients of the gray
            values, bright and dark objects compressed.
        thumbnail: 80×80 uint8 gray of the whole image, to verify what the index finds.
        gray: 8 × 8 float16 coefficients of the whole image's gray values.
        is_blank: the image has one color, and nothing to compare.
    """

    coefficients: np.ndarray
    thumbnail: np.ndarray
    gray: np.ndarray
    is_blank: bool


def describe(image: Image.Image) -> Descriptor:
    """Describe an 8-bit image of any size. A black or white frame around it is cut off first."""
    size = (THUMBNAIL, THUMBNAIL)
    gray = np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
    left, top, right, bottom = content_box(gray)
    if (left, top, right, bottom) != (0, 0, *size):
        gray = cv2.resize(gray[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    level = np.median(gray)
    spread = 1.5 * np.median(np.abs(gray - level)) + 3
    compressed = np.tanh((gray - level) / spread).astype(np.float32)  # small bright objects count little
    coefficients = np.stack([_coefficients(compressed, window) for window in WINDOWS])
    small = _shrunk(gray)
    whole = cv2.dct(small)[:FREQUENCIES, :FREQUENCIES]
    is_blank = bool(small.std() < _FLAT)
    return Descriptor(coefficients.astype(np.float16), gray, whole.astype(np.float16), is_blank)


def content_box(gray: np.ndarray) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of what lies inside a black or white frame; everything without a frame."""
    height, width = gray.shape
    columns, rows = (np.flatnonzero((gray.max(axis) > _BLACK) & (gray.min(axis) < 255 - _BLACK)) for axis in (0, 1))
    if len(columns) < width // 4 or len(rows) < height // 4:
        return 0, 0, width, height
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def vectors(coefficients: np.ndarray, symmetry: int = 0, balanced: bool = True) -> np.ndarray:
    """Return unit vectors (n × 64, float32) of n × 8 × 8 coefficients, as if the images had been turned or mirrored.

    Args:
        symmetry: 0 to 7, as in `transformed`.
        balanced: weight the frequencies alike, although natural images have more of the low ones. Without it, an
            inner product is the correlation of the blurred images.
    """
    turned = coefficients.astype(np.float32)
    if symmetry & 4:
        turned = turned.transpose(0, 2, 1)
    if symmetry & 1:
        turned = turned * _SIGNS[:, None]
    if symmetry & 2:
        turned = turned * _SIGNS[None, :]
    flat = (turned * (_RADIUS if balanced else _RADIUS > 0)).reshape(len(turned), -1)
    return np.ascontiguousarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6))


def transformed(pixels: np.ndarray, symmetry: int) -> np.ndarray:
    """Return H×W pixels under one of the eight symmetries: transposed (4), then rows (1) and columns (2) reversed."""
    pixels = pixels.T if symmetry & 4 else pixels
    pixels = pixels[::-1] if symmetry & 1 else pixels
    return pixels[:, ::-1] if symmetry & 2 else pixels


def is_mirroring(symmetry: int) -> bool:
    """Return whether a symmetry reverses the orientation; the others are turns."""
    return symmetry.bit_count() % 2 == 1


def _coefficients(gray: np.ndarray, window: tuple[float, float, float]) -> np.ndarray:
    left, top, side = (round(of * THUMBNAIL) for of in window)
    return cv2.dct(_shrunk(gray[top : top + side, left : left + side]))[:FREQUENCIES, :FREQUENCIES]


def _shrunk(gray: np.ndarray) -> np.ndarray:
    return cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
