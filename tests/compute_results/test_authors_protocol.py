"""The `authors` protocol against a naive loop over its 255 thresholds, and on maps and masks without freedom."""

import numpy as np
import pytest
from PIL import Image

from compute_results.protocols.authors import SIZE, THRESHOLDS, score_image


def naive_curves(saliency: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and Fβ as the protocol's text has them: a thresholded image at a time."""
    gray = saliency.astype(np.float32) / np.float32(255)
    p = (gray - gray.min()) / (gray.max() - gray.min() + np.float32(1e-20))
    soft = mask / 255
    if p.sum() == 0 and soft.sum() == 0:
        p, soft = 1 - p, 1 - soft
    curves = []
    for threshold in np.linspace(0, 1 - 1e-10, 255, dtype=np.float32):
        chosen = p >= threshold
        hits = soft[chosen].sum()
        precision, recall = hits / (chosen.sum() + 1e-20), hits / (soft.sum() + 1e-20)
        with np.errstate(invalid="ignore"):
            f = np.float64(1.3 * precision * recall) / (0.3 * precision + recall)
        curves.append((precision, recall, 0 if np.isnan(f) else f))
    return tuple(np.array(curves).T)


def naive_s_measure(saliency: np.ndarray, mask: np.ndarray) -> float:
    """The S-measure as the protocol's text has it: pixel by pixel in float64."""
    gray, soft = saliency / 255, mask / 255
    p = (gray - gray.min()) / (gray.max() - gray.min() + 1e-20)
    if soft.mean() in (0, 1):
        return p.mean() if soft.mean() else 1 - p.mean()
    binary = soft >= 0.5

    def of_object(values: np.ndarray) -> float:
        return 2 * values.mean() / (values.mean() ** 2 + 1 + values.std(ddof=1) + 1e-20)

    def similarity(x: np.ndarray, y: np.ndarray) -> float:
        if x.size == 0:
            return 0
        norm = x.size - 1 + 1e-20
        mx, my = x.mean(), y.mean()
        cov = ((x - mx) * (y - my)).sum() / norm
        a = 4 * mx * my * cov
        b = (mx**2 + my**2) * (((x - mx) ** 2).sum() + ((y - my) ** 2).sum()) / norm
        return a / (b + 1e-20) if a != 0 else float(b == 0)

    share = binary.mean()
    objects = share * of_object(p[binary]) + (1 - share) * of_object(1 - p[~binary])
    cy, cx = (int(center) for center in np.round(np.argwhere(binary).mean(axis=0)))
    regions, weights = 0, 0
    for rows, columns in ((slice(cy), slice(cx)), (slice(cy), slice(cx, None)), (slice(cy, None), slice(cx))):
        weight = p[rows, columns].size / p.size
        regions += weight * similarity(p[rows, columns], binary[rows, columns])
        weights += weight
    regions += (1 - weights) * similarity(p[cy:, cx:], binary[cy:, cx:])
    return max(0, 0.5 * objects + 0.5 * regions)


def ellipse(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1


def soft(mask: np.ndarray) -> np.ndarray:
    """A binary mask at another size, as data sets have them, that the protocol's resizing makes soft."""
    image = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).resize((301, 517), Image.Resampling.NEAREST)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def noisy(mask: np.ndarray, low: int, high: int, seed: int) -> np.ndarray:
    """A map within [low, high] that follows the mask."""
    noise = np.random.default_rng(seed).normal(0, 0.25, mask.shape)
    return np.rint(low + (high - low) * np.clip(mask / 255 + noise, 0, 1)).astype(np.uint8)


OBJECT = soft(ellipse(150, 260, 60, 40))
EMPTY = np.zeros((SIZE, SIZE), np.uint8)
WHITE = np.full((SIZE, SIZE), 255, np.uint8)
AT_EDGE = soft(ellipse(0, 447, 200, 90))
CORNER = np.where(ellipse(0, 0, 1.2, 1.2), np.uint8(255), EMPTY)  # three pixels: its centroid leaves parts empty
RANDOM = np.random.default_rng(5).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
STEPS = np.tile(np.arange(SIZE) % 255, (SIZE, 1)).astype(np.uint8)  # 0 to 254: every level is at a threshold

CASES = {
    "full range": (noisy(OBJECT, 0, 255, 0), OBJECT),
    "narrow range": (noisy(OBJECT, 90, 97, 1), OBJECT),
    "inverted": (255 - OBJECT, OBJECT),
    "object at the edge": (noisy(AT_EDGE, 3, 200, 2), AT_EDGE),
    "object in the corner": (noisy(CORNER, 0, 255, 3), CORNER),
    "random on random": (RANDOM, RANDOM.T.copy()),
    "levels at thresholds": (STEPS, OBJECT),
    "empty map": (EMPTY, OBJECT),
    "constant map": (np.full_like(EMPTY, 77), OBJECT),
    "empty mask": (noisy(OBJECT, 0, 255, 4), EMPTY),
    "empty mask, constant map": (np.full_like(EMPTY, 200), EMPTY),
    "white mask": (noisy(OBJECT, 0, 255, 6), WHITE),
    "two levels": (np.where(OBJECT > 100, np.uint8(255), np.uint8(254)), OBJECT),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_naive_loop(case):
    saliency, mask = CASES[case]
    scores = score_image(saliency, mask)
    for name, expected in zip(("precision", "recall", "F"), naive_curves(saliency, mask), strict=True):
        np.testing.assert_allclose(scores.curves[name], expected, rtol=0, atol=1e-12, err_msg=name)
    assert scores.figures["Fbeta"] == scores.curves["F"].max()
    assert scores.figures["Sm"] == pytest.approx(naive_s_measure(saliency, mask), abs=1e-9)
    assert scores.figures["MAE"] == pytest.approx(np.abs(saliency / 255 - mask / 255).mean(), abs=1e-12)


def test_every_range_of_levels_meets_the_thresholds_as_the_loop_does():
    """A ramp over each possible range: no level may pass one threshold more or less than the naive comparison."""
    rng = np.random.default_rng(0)
    for low, high in rng.integers(0, 256, (60, 2)):
        ramp = np.arange(min(low, high), max(low, high) + 1).astype(np.uint8)
        saliency = np.resize(ramp, (SIZE, SIZE))
        gray = ramp.astype(np.float32) / np.float32(255)
        p = (gray - gray[0]) / (gray[-1] - gray[0] + np.float32(1e-20))
        pixels = np.bincount(saliency.ravel(), minlength=256)[ramp]
        chosen = [pixels[p >= threshold].sum() for threshold in THRESHOLDS]
        precision = score_image(saliency, WHITE).curves["recall"]  # of a white mask: the share of pixels chosen
        np.testing.assert_allclose(precision * SIZE**2, chosen, rtol=1e-12)


@pytest.mark.parametrize("shape", [ellipse(150, 260, 60, 40), ellipse(10, 10, 300, 20), ellipse(0, 0, 1.2, 1.2)])
def test_a_perfect_map_is_perfect(shape):
    mask = np.where(shape, np.uint8(255), np.uint8(0))
    figures = score_image(mask, mask).figures
    assert figures["MAE"] == 0
    assert figures["Fbeta"] == 1
    assert figures["Sm"] == pytest.approx(1, abs=1e-6)


def test_an_empty_map_of_an_empty_mask_is_perfect():
    assert score_image(EMPTY, EMPTY).figures == {"Fbeta": 1, "MAE": 0, "Sm": 1}


def test_a_white_map_of_a_white_mask_is_stretched_to_nothing():
    figures = score_image(WHITE, WHITE).figures
    assert figures["MAE"] == 0
    assert figures["Sm"] == 0


def test_a_vanishing_object_has_the_s_measure_of_an_empty_mask():
    faint = np.where(ellipse(200, 200, 9, 9), np.uint8(127), np.uint8(0))
    saliency = noisy(OBJECT, 0, 255, 7)
    assert score_image(saliency, faint).figures["Sm"] == score_image(saliency, EMPTY).figures["Sm"]
    assert score_image(EMPTY, faint).figures["Sm"] == 1
    assert score_image(faint, faint).figures["Fbeta"] > 0.5  # its soft values still count here
    assert score_image(EMPTY, faint).figures["MAE"] == pytest.approx(faint.mean() / 255)


def test_a_vanishing_background_has_the_s_measure_of_a_white_mask():
    bright = np.where(ellipse(200, 200, 9, 9), np.uint8(128), np.uint8(255))
    saliency = noisy(OBJECT, 0, 255, 8)
    assert score_image(saliency, bright).figures["Sm"] == score_image(saliency, WHITE).figures["Sm"]


def test_an_object_of_one_pixel_has_a_finite_score():
    dot = EMPTY.copy()
    dot[100, 200] = 255
    assert score_image(dot, dot).figures["Sm"] == pytest.approx(1, abs=1e-6)
    assert 0 <= score_image(255 - dot, dot).figures["Sm"] < 0.5


def test_both_are_taken_to_448_by_pillow():
    small = np.asarray(Image.fromarray(OBJECT).resize((224, 300)))
    big = np.asarray(Image.fromarray(AT_EDGE).resize((900, 700)))
    resized = [np.asarray(Image.fromarray(a).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for a in (small, big)]
    assert score_image(small, big).figures == score_image(*resized).figures
