"""Compare image windows block by block, so that painted-out objects and changed brightness count little.

A straight edge agrees with any other: so the best shift of one image over the other has to stand out too.
"""

import cv2
import numpy as np

from datasets.descriptors import THUMBNAIL, WINDOWS, transformed

SIDE = 64
"""Side of a compared patch, in pixels."""

_BLOCK = 8
_BLOCKS = SIDE // _BLOCK
_MOST_SHIFT = 6
"""Pixels by which two patches may be apart: half of the step between `WINDOWS`, and a little more."""

_TEXTURE = 0.6
"""Standard deviation in gray levels from which a block's detail says something."""

_LEAST_BLOCKS = 16

_FAR = 16
"""Shifts among which the best one has to stand out."""

_SHIFTS = np.arange(-_MOST_SHIFT, _MOST_SHIFT + 1)
_AROUND = np.arange(-_FAR, _FAR + 1)


def detail(thumbnail: np.ndarray, window: int = 0, symmetry: int = 0) -> np.ndarray:
    """Return the high frequencies of a window of a thumbnail under a symmetry, 64×64 float32."""
    values = _cut(thumbnail, window)
    return transformed(values - cv2.GaussianBlur(values, (0, 0), 2.5), symmetry)


def agreement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how surely pairs of patches show one scene, 0 to 1. Unrelated images stay below 0.2.

    It is the median correlation of their textured blocks at the shift that fits best, multiplied by how far that shift
    stands out. Pairs with too little texture get 0.

    Args:
        first, second: n × 64 × 64, as `detail` returns them.
    """
    down, right, distinct = _best_shifts(_by_blocks(first), _by_blocks(second))
    rows, columns = (np.arange(SIDE)[None] + shift[:, None] for shift in (down, right))
    moved = second[np.arange(len(second))[:, None, None], rows[:, :, None] % SIDE, columns[:, None, :] % SIDE]
    inside = [((of >= 0) & (of < SIDE)).reshape(-1, _BLOCKS, _BLOCK).all(2) for of in (rows, columns)]
    one, other = _blocks(first), _blocks(moved)
    norms = [np.linalg.norm(of, axis=2) for of in (one, other)]
    used = np.minimum(*norms) >= _TEXTURE * _BLOCK
    used &= (inside[0][:, :, None] & inside[1][:, None, :]).reshape(len(used), -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = np.where(used, np.einsum("nbk,nbk->nb", one, other) / (norms[0] * norms[1]), np.inf)
    counts = used.sum(1)
    middle = np.take_along_axis(np.sort(correlations, 1), np.maximum(counts - 1, 0)[:, None] // 2, 1)[:, 0]
    return np.where(counts >= _LEAST_BLOCKS, middle, 0).clip(0) * distinct.clip(0)


def overlap(
    first: np.ndarray, second: np.ndarray, symmetry: int, window: int, other_window: int
) -> tuple[float, float]:
    """Return the correlation of two thumbnails' windows once they fit best, and how much the images overlap.

    Args:
        symmetry: what makes the first image look like the second.
        window, other_window: the first and the second image's window.

    Returns:
        The correlation of the gray values, −1 to 1; and the overlap as a part of the smaller image.
    """
    details = detail(first, window, symmetry)[None], detail(second, other_window)[None]
    down, right, _ = (of[0] for of in _best_shifts(*(_by_blocks(of) for of in details)))
    one, other = transformed(_cut(first, window), symmetry), _cut(second, other_window)
    rows, columns = (slice(max(-shift, 0), SIDE - max(shift, 0)) for shift in (down, right))
    moved = other[rows.start + down : rows.stop + down, columns.start + right : columns.stop + right]
    common = []
    areas = 1.0, 1.0
    for place, shift in ((0, right), (1, down)):
        source = 1 - place if symmetry & 4 else place
        start, side = WINDOWS[window][source], WINDOWS[window][2]
        start = 1 - start - side if symmetry & (2 - place) else start
        begin, length = -start / side, 1 / side
        other_side = WINDOWS[other_window][2]
        other_begin, other_length = -WINDOWS[other_window][place] / other_side - shift / SIDE, 1 / other_side
        common.append(min(begin + length, other_begin + other_length) - max(begin, other_begin))
        areas = areas[0] * length, areas[1] * other_length
    part = float(np.prod(np.maximum(common, 0)) / min(areas))
    return correlation(one[rows, columns], moved), min(part, 1.0)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation of two arrays of one shape, 0 where one is constant."""
    one, other = (of.astype(np.float64).ravel() - of.astype(np.float64).mean() for of in (one, other))
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / norm if norm else 0.0


def _cut(thumbnail: np.ndarray, window: int) -> np.ndarray:
    left, top, side = (round(of * THUMBNAIL) for of in WINDOWS[window])
    patch = thumbnail[top : top + side, left : left + side]
    return cv2.resize(patch, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def _best_shifts(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return by how many rows and columns the second patches fit best, from their circular cross-correlation.

    The third array says how far the best is above all that are three pixels away or more, as a fraction of the best:
    it is small where a straight edge fits as well at the next place.
    """
    spectra = np.fft.rfft2(first).conj() * np.fft.rfft2(second)
    found = np.fft.irfft2(spectra, s=(SIDE, SIDE))[:, _AROUND[:, None], _AROUND[None]]
    inner = slice(_FAR - _MOST_SHIFT, _FAR + _MOST_SHIFT + 1)
    near = found[:, inner, inner].reshape(len(found), -1)
    best = near.argmax(1)
    down, right = _SHIFTS[best // len(_SHIFTS)], _SHIFTS[best % len(_SHIFTS)]
    top = np.take_along_axis(near, best[:, None], 1)[:, 0]
    apart = (np.abs(_AROUND - down[:, None])[:, :, None] >= 3) | (np.abs(_AROUND - right[:, None])[:, None, :] >= 3)
    rest = np.where(apart, found, -np.inf).reshape(len(found), -1).max(1)
    return down, right, 1 - rest / np.maximum(top, 1e-6)


def _blocks(patches: np.ndarray) -> np.ndarray:
    """Return n × 64 blocks × 64 pixels, each of zero mean."""
    cut = patches.reshape(-1, _BLOCKS, _BLOCK, _BLOCKS, _BLOCK).swapaxes(2, 3).reshape(len(patches), _BLOCKS**2, -1)
    return cut - cut.mean(2, keepdims=True)


def _by_blocks(patches: np.ndarray) -> np.ndarray:
    """Return patches whose blocks all have zero mean and the same contrast."""
    blocks = _blocks(patches)
    blocks /= np.maximum(np.linalg.norm(blocks, axis=2, keepdims=True), _TEXTURE * _BLOCK)
    return blocks.reshape(-1, _BLOCKS, _BLOCKS, _BLOCK, _BLOCK).swapaxes(2, 3).reshape(patches.shape)
