"""Align two images by SIFT keypoints (Lowe 2004) and RANSAC, to tell copies of a scene from images that look alike."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from datasets.decode import FORMATS
from datasets.descriptors import content_box
from datasets.io import open_image

SIDE = 176
"""The longer side of an aligned image, in pixels."""

_KEYPOINTS, _CELL = 200, 11
_RATIO = 0.8
_MOST_ERROR = 2.5
_LEAST_CELLS = 8
"""Cells of 11×11 pixels with a matched keypoint that make two images one scene. By chance there are six at most."""


@dataclass(frozen=True)
class Alignment:
    """How the second image lies on the first.

    Attributes:
        cells: 11×11-pixel cells of the first image that hold matched keypoints.
        similarity: correlation of the gray values where the two overlap.
        degrees: the counterclockwise turn that makes the first image the second.
        mirrored: the turned image is then mirrored left to right.
        scale: factor between the two images' content, at 176 pixels a side.
        overlap: fraction of the smaller image's area that the other covers.
    """

    cells: int
    similarity: float
    degrees: float
    mirrored: bool
    scale: float
    overlap: float


Keypoints = tuple[np.ndarray, np.ndarray]


def read_gray(path: Path) -> np.ndarray:
    """Return an image as gray pixels, at most 176 a side, without a black or white frame. JPEG files decode reduced."""
    with Image.open(path, formats=FORMATS) as file:
        is_jpeg = file.format == "JPEG"
        if is_jpeg:
            file.draft("L", (SIDE, SIDE))
            image = file.convert("L")
    if not is_jpeg:
        image = open_image(path).convert("L")
    scale = min(SIDE / max(image.size), 1)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    gray = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    left, top, right, bottom = content_box(gray)
    return np.ascontiguousarray(gray[top:bottom, left:right])


@lru_cache(maxsize=32768)
def _keypoints(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return keypoints' (x, y), their RootSIFT vectors (Arandjelović, Zisserman 2012) as uint8, and (height, width)."""
    gray = read_gray(path)
    finder = cv2.SIFT.create(nfeatures=_KEYPOINTS, contrastThreshold=0.01, edgeThreshold=12)
    points, found = finder.detectAndCompute(gray, None)
    if found is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), gray.shape
    roots = np.sqrt(found / np.maximum(found.sum(1, keepdims=True), 1e-6))
    return np.array([point.pt for point in points], np.float32), np.rint(255 * roots).astype(np.uint8), gray.shape


def _unit(roots: np.ndarray, mirrored: bool) -> np.ndarray:
    """Return float vectors of unit length; of a mirrored image by reordering: 4 rows, 4 columns, 8 directions."""
    if mirrored:
        roots = roots.reshape(-1, 4, 4, 8)[:, ::-1][..., [0, 7, 6, 5, 4, 3, 2, 1]].reshape(-1, 128)
    vectors = roots.astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def forget() -> None:
    """Drop the keypoints that `align` keeps, as files may change and memory has other uses."""
    _keypoints.cache_clear()


def align(first: Path, second: Path, mirrored: bool) -> Alignment | None:
    """Align two image files; `mirrored` mirrors the second. None is returned where they do not show one scene.

    Raises:
        OSError, ValueError: a file cannot be read.
    """
    places, roots, _ = _keypoints(first)
    other_places, other_roots, (_, width) = _keypoints(second)
    found, other_found = _unit(roots, False), _unit(other_roots, mirrored)
    if mirrored:
        other_places = other_places * np.array([-1, 1], np.float32) + np.array([width - 1, 0], np.float32)
    if min(len(found), len(other_found)) < _LEAST_CELLS:
        return None
    zero = np.zeros((0, 0), np.float32)
    # numpy's threads cost more than they save on so small a product
    near = np.asarray(cv2.gemm(found, other_found, 1, zero, 0, flags=cv2.GEMM_2_T))
    best = near.argmax(1)
    mutual = near.argmax(0)[best] == np.arange(len(near))
    top = near[np.arange(len(near)), best]
    near[np.arange(len(near)), best] = -1
    kept = mutual & (2 - 2 * top < _RATIO**2 * (2 - 2 * near.max(1)))
    if kept.sum() < _LEAST_CELLS:
        return None
    of, to = places[kept], other_places[best[kept]]
    matrix, inliers = cv2.estimateAffinePartial2D(to, of, ransacReprojThreshold=_MOST_ERROR, maxIters=500)
    if matrix is None:
        return None
    matched = {(int(x), int(y)) for x, y in of[inliers.ravel() > 0] // _CELL}
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if len(matched) < _LEAST_CELLS or not 0.5 < scale < 2:
        return None
    other = read_gray(second)
    similarity, overlap = _compare(read_gray(first), other[:, ::-1].copy() if mirrored else other, matrix)
    degrees = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    return Alignment(len(matched), similarity, degrees % 360, mirrored, scale, overlap)


def _compare(gray: np.ndarray, other: np.ndarray, matrix: np.ndarray) -> tuple[float, float]:
    """Return the correlation of the overlap, and its part of the smaller image."""
    size = (gray.shape[1], gray.shape[0])
    moved = cv2.warpAffine(other, matrix, size, flags=cv2.INTER_LINEAR)
    inside = cv2.warpAffine(np.ones_like(other), matrix, size, flags=cv2.INTER_NEAREST) > 0
    area = other.size * abs(np.linalg.det(matrix[:, :2]))
    overlap = float(min(inside.sum() / min(area, gray.size), 1.0))
    one, two = (cv2.GaussianBlur(of, (0, 0), 1.5)[inside].astype(np.float64) for of in (gray, moved))
    spread = one.std() * two.std()
    similarity = float(((one - one.mean()) * (two - two.mean())).mean() / spread) if spread > 0 else 0.0
    return similarity, overlap
