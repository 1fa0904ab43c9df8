"""Geometry and color augmentations: drawn once for a sample, applied alike to every view of it.

What is drawn are plain numbers, one `Drawn` a sample. Its symmetry costs nothing on the way into the batch; the rest is
done to whole batches, on the device that trains.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ZERO_CHROMA = 128 / 255
"""Cb and Cr of gray in full-range YCbCr."""


@dataclass(frozen=True)
class Augmentation:
    """What may be done to a training sample. The defaults are the release's geometry, and no color.

    Attributes:
        symmetries: 'eight' draws one of the square's eight flips and rotations, all alike: what the release's flip and
            rotation come to on square views. 'none' leaves the image as it is. Views that are not square are never
            turned by 90 degrees: they keep to the four symmetries that leave their shape.
        scale: the (least, greatest) part of the image's area that a random crop keeps, within (0, 1]; the crop has the
            image's aspect and is resized to the full view, so that things grow. None never crops.
        scale_probability: how often a sample is cropped at all, where `scale` is given.
        brightness: strength b: the image is multiplied by a factor from [1 − b, 1 + b]. 0 is off.
        contrast: strength: as brightness, about the image's mean gray.
        saturation: strength: as brightness, about the image's own gray version.
        hue: strength in turns, at most 0.5: the plane of Cb and Cr is turned by a part from [−h, h]. 0 is off.
        copy_paste: how often the objects of another sample, any of the set, are pasted where they lie in it. 0 is off.
    """

    symmetries: Literal["none", "eight"] = "eight"
    scale: tuple[float, float] | None = None
    scale_probability: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    copy_paste: float = 0.0

    def __post_init__(self) -> None:
        if self.symmetries not in ("none", "eight"):
            raise ValueError(f"symmetries must be none or eight, not {self.symmetries!r}")
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be two parts of the area with 0 < least <= greatest <= 1, not {self.scale}")
        for name in ("scale_probability", "brightness", "contrast", "saturation", "hue", "copy_paste"):
            greatest = 0.5 if name == "hue" else 1
            if not 0 <= getattr(self, name) <= greatest:
                raise ValueError(f"{name} must be within 0 and {greatest}, not {getattr(self, name)}")

    @property
    def detail(self) -> float:
        """How many times the view's side an image needs to have, for its smallest crop to be as fine as the view."""
        return 1.0 if self.scale is None or not self.scale_probability else self.scale[0] ** -0.5


@dataclass(frozen=True)
class Drawn:
    """One draw of an `Augmentation`.

    Attributes:
        transposed, left_right, top_bottom: the symmetry: rows become columns first, then the image is flipped.
        box: left, upper, right, lower edge of the crop, as parts of the turned image's width and height.
        brightness, contrast, saturation: factors; 1 leaves the image as it is.
        hue: turn of the chroma plane; 0 leaves it.
        pasted: whose objects are pasted, as a part of the set, in [0, 1); they are turned as the sample is.
    """

    transposed: bool = False
    left_right: bool = False
    top_bottom: bool = False
    box: tuple[float, float, float, float] | None = None
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    pasted: float | None = None

    @property
    def recolored(self) -> bool:
        """Whether any color changes."""
        return (self.brightness, self.contrast, self.saturation, self.hue) != (1.0, 1.0, 1.0, 0.0)


UNCHANGED = Drawn()

# OpenCV's codes by (left_right, top_bottom).
_FLIPS = {(False, False): None, (True, False): 1, (False, True): 0, (True, True): -1}


def draw(augmentation: Augmentation, generator: np.random.Generator, square: bool = True) -> Drawn:
    """Draw what is done to one sample; `square` says whether its views are and so may be turned by 90 degrees."""

    def about(middle: float, strength: float) -> float:
        return float(generator.uniform(middle - strength, middle + strength)) if strength else middle

    flips = generator.integers(2, size=3).astype(bool) if augmentation.symmetries == "eight" else (False,) * 3
    return Drawn(
        transposed=bool(flips[0]) and square,
        left_right=bool(flips[1]),
        top_bottom=bool(flips[2]),
        box=_draw_box(augmentation, generator),
        brightness=about(1.0, augmentation.brightness),
        contrast=about(1.0, augmentation.contrast),
        saturation=about(1.0, augmentation.saturation),
        hue=about(0.0, augmentation.hue),
        pasted=float(generator.random()) if generator.random() < augmentation.copy_paste else None,
    )


def turn(pixels: np.ndarray, drawn: Drawn, into: np.ndarray) -> None:
    """Copy H×W×C uint8 pixels with the drawn symmetry; H equals W where they are transposed. (NumPy is slow at it.)"""
    flip = _FLIPS[drawn.left_right, drawn.top_bottom]
    if not drawn.transposed:
        np.copyto(into, pixels) if flip is None else cv2.flip(pixels, flip, into)
    elif drawn.left_right != drawn.top_bottom:
        clockwise = cv2.ROTATE_90_CLOCKWISE if drawn.left_right else cv2.ROTATE_90_COUNTERCLOCKWISE
        cv2.rotate(pixels, clockwise, into)
    else:
        cv2.transpose(pixels if flip is None else cv2.flip(pixels, flip), into)


def crop_and_resize(
    images: Tensor, drawn: Sequence[Drawn], size: tuple[int, int], uncropped: Tensor | None = None
) -> Tensor:
    """B×C×h×w uint8 to B×C×size, each sample's box cut out to the nearest pixel; antialiased bilinear, as Pillow's.

    `uncropped`, B×C×size, is taken for the samples without a box, where there is something better than `images`.
    """
    height, width = images.shape[-2:]
    views = []
    for index, each in enumerate(drawn):
        if each.box is None and uncropped is not None:
            views.append(uncropped[index, None])
            continue
        left, upper, right, lower = each.box or (0.0, 0.0, 1.0, 1.0)
        rows, columns = _pixels(upper, lower, height), _pixels(left, right, width)
        views.append(_resized(images[index, None, :, rows, columns], size))
    return torch.cat(views)


def paste(onto: Tensor, objects: Tensor) -> Tensor:
    """Objects where their mask is, over an image.

    Args:
        onto: B×4×H×W in [0, 1]: an image and, as the fourth channel, its mask; or B×3×H×W, the image alone.
        objects: B×4×H×W, what is pasted, with its mask, soft at the borders.

    Returns:
        As `onto`; its mask has both objects.
    """
    mask = objects[:, 3:]
    source = objects.clone()
    source[:, 3:] = 1
    return torch.lerp(onto, source[:, : onto.shape[1]], mask)


class ColorJitter:
    """The drawn colors of a batch, for any of its YCbCr views: brightness, contrast, saturation, hue, in this order.

    In YCbCr the first three are a factor and a shift for each channel, and hue turns the two chroma channels.

    Args:
        drawn: one a sample.
        luma_mean: B, the mean of each sample's Y in [0, 1], about which contrast goes.
    """

    def __init__(self, drawn: Sequence[Drawn], luma_mean: Tensor):
        factors = torch.tensor([(d.brightness, d.contrast, d.saturation, d.hue * 2 * math.pi) for d in drawn])
        brightness, contrast, saturation, angle = factors.to(luma_mean.device, non_blocking=True).unbind(1)
        luma = brightness * contrast
        chroma = luma * saturation
        straight, crossed = chroma * angle.cos(), chroma * angle.sin()
        ones = torch.ones_like(luma)
        shifts = (
            (1 - contrast) * brightness * luma_mean,
            ZERO_CHROMA * (1 - straight + crossed),
            ZERO_CHROMA * (1 - straight - crossed),
            0 * ones,
        )
        self.factor = torch.stack([luma, straight, straight, ones], dim=1)[..., None, None]
        self.shift = torch.stack(shifts, dim=1)[..., None, None]
        self.crossed = torch.stack([-crossed, crossed], dim=1)[..., None, None] if any(d.hue for d in drawn) else None

    def __call__(self, ycbcr: Tensor) -> Tensor:
        """B×3×H×W YCbCr in [0, 1], recolored in place and cut off to [0, 1]; a fourth channel, the mask, stays."""
        channels = ycbcr.shape[1]
        crossed = None if self.crossed is None else ycbcr[:, 1:3].flip(1) * self.crossed
        ycbcr.mul_(self.factor[:, :channels]).add_(self.shift[:, :channels])
        if crossed is not None:
            ycbcr[:, 1:3] += crossed
        return ycbcr.clamp_(0, 1)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """B×3×H×W full-range (JPEG) YCbCr in [0, 1] to RGB, cut off to [0, 1], channels last in memory."""
    luma, blue, red = ycbcr.unbind(1)
    blue, red = blue - ZERO_CHROMA, red - ZERO_CHROMA
    rgb = (luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue)
    return torch.stack(rgb, dim=-1).clamp_(0, 1).permute(0, 3, 1, 2)


def _draw_box(augmentation: Augmentation, generator: np.random.Generator) -> tuple[float, float, float, float] | None:
    if augmentation.scale is None or generator.random() >= augmentation.scale_probability:
        return None
    side = generator.uniform(*augmentation.scale) ** 0.5
    left, upper = generator.uniform(0, 1 - side, size=2)
    return float(left), float(upper), float(left + side), float(upper + side)


def _pixels(start: float, end: float, length: int) -> slice:
    first = min(round(start * length), length - 1)
    return slice(first, max(round(end * length), first + 1))


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(image.shape[-2:]) == size:
        return image
    if image.device.type == "cpu":
        return F.interpolate(image, size, mode="bilinear", antialias=True)
    # CUDA antialiases floating-point images only.
    return F.interpolate(image.float(), size, mode="bilinear", antialias=True).round_().to(torch.uint8)
