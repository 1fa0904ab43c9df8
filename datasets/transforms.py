"""All augmentation: `draw` it once for a sample, `turn` the sample's pixels, `apply` the rest to the whole batch.

Each view of a sample gets the same geometry and colors. The symmetry is applied while pixels are copied into the
batch; crops, colors and pasted objects are applied on the training device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.augmentation import Augmentation as Augmentation  # read from here by those who apply it

_QUOTIENTS = np.arange(256, dtype=np.float32) / np.float32(255)
ZERO_CHROMA = 128 / 255
"""Cb and Cr of gray in full-range YCbCr."""


@dataclass(frozen=True)
class Drawn:
    """One draw of an `Augmentation`.

    Attributes:
        transposed, left_right, top_bottom: the symmetry: the image is transposed first, then flipped.
        box: left, upper, right, lower edge of the crop, as parts of the transposed and flipped image's sides.
        brightness, contrast, saturation: factors; 1 leaves the image unchanged.
        hue: rotation of the chroma plane, in turns; 0 leaves it unchanged.
        pasted: the sample whose objects are pasted, as a position in the set, in [0, 1). It gets the same symmetry.
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
    def changed(self) -> bool:
        """Whether anything but the symmetry changes the pixels."""
        return self.box is not None or self.recolored or self.pasted is not None

    @property
    def recolored(self) -> bool:
        """Whether a color changes."""
        return (self.brightness, self.contrast, self.saturation, self.hue) != (1.0, 1.0, 1.0, 0.0)


UNCHANGED = Drawn()

# OpenCV's codes by (left_right, top_bottom).
_FLIPS = {(False, False): None, (True, False): 1, (False, True): 0, (True, True): -1}


def draw(augmentation: Augmentation, generator: np.random.Generator, square: bool = True) -> Drawn:
    """Draw the augmentation of one sample; only `square` views may be rotated by 90 degrees."""

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
    """Write H×W×C uint8 pixels with the drawn symmetry into an array of the same shape; H = W where transposed.

    OpenCV does it several times faster than NumPy.
    """
    flip = _FLIPS[drawn.left_right, drawn.top_bottom]
    if not drawn.transposed:
        np.copyto(into, pixels) if flip is None else cv2.flip(pixels, flip, into)
    elif drawn.left_right != drawn.top_bottom:
        clockwise = cv2.ROTATE_90_CLOCKWISE if drawn.left_right else cv2.ROTATE_90_COUNTERCLOCKWISE
        cv2.rotate(pixels, clockwise, into)
    else:
        cv2.transpose(pixels if flip is None else cv2.flip(pixels, flip), into)


def apply(
    drawn: Sequence[Drawn], rgb: Tensor, ycbcr: Tensor, fine: Tensor, objects: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Crop and resize, jitter colors and paste objects, in this order; changed RGB is computed from the result.

    All tensors lie on one device. The symmetries were applied before, by `turn`.

    Args:
        drawn: one for each sample.
        rgb, ycbcr: B×3×H×W uint8, the low-resolution views.
        fine: B×4×h×w uint8, YCbCr and the mask, of any size.
        objects: samples like `fine`, one for each drawn sample with `pasted`, in their order.

    Returns:
        `rgb` and `ycbcr`, B×3×H×W, and `fine`, B×4×2H×2W: float32 in [0, 1].
    """
    low, high = (ycbcr.shape[-2], ycbcr.shape[-1]), (2 * ycbcr.shape[-2], 2 * ycbcr.shape[-1])
    if any(each.box for each in drawn):
        ycbcr = crop_and_resize(fine[:, :3], drawn, low, uncropped=ycbcr)
    if any(each.box for each in drawn) or tuple(fine.shape[-2:]) != high:
        fine = crop_and_resize(fine, drawn, high)
    rgb, ycbcr, fine = map(in_unit_range, (rgb, ycbcr, fine))
    if any(each.recolored for each in drawn):
        recolor = ColorJitter(drawn, ycbcr[:, 0].mean((1, 2)))
        ycbcr, fine = recolor(ycbcr), recolor(fine)
    if objects is not None:
        takers = [place for place, each in enumerate(drawn) if each.pasted is not None]
        for view, size in ((ycbcr, low), (fine, high)):
            pasted = in_unit_range(crop_and_resize(objects, [UNCHANGED] * len(takers), size))
            view[takers] = paste(view[takers], pasted)
    if any(each.changed for each in drawn):
        changed = torch.tensor([each.changed for each in drawn]).to(rgb.device, non_blocking=True)
        rgb = torch.where(changed.view(-1, 1, 1, 1), ycbcr_to_rgb(ycbcr), rgb)
    return rgb, ycbcr, fine


def apply_to_maps(drawn: Sequence[Drawn], maps: Tensor, size: tuple[int, int], objects: Tensor | None = None) -> Tensor:
    """Crop and resize a teacher's maps as `apply` does with the masks; pasted objects are salient by their masks.

    Args:
        drawn: one for each sample.
        maps: B×1×h×w uint8, as large as `apply`'s `fine`.
        size: (2H, 2W).
        objects: as `apply`'s.

    Returns:
        B×1×2H×2W float32 in [0, 1].
    """
    if any(each.box for each in drawn) or tuple(maps.shape[-2:]) != size:
        maps = crop_and_resize(maps, drawn, size)
    maps = in_unit_range(maps)
    if objects is not None:
        takers = [place for place, each in enumerate(drawn) if each.pasted is not None]
        masks = in_unit_range(crop_and_resize(objects, [UNCHANGED] * len(takers), size))[:, 3:]
        maps[takers] = torch.lerp(maps[takers], torch.ones_like(masks), masks)
    return maps


def in_unit_range(pixels: Tensor) -> Tensor:
    """Return uint8 pixels, B×C×H×W, divided by 255 as float32 in the same layout.

    On the CPU OpenCV looks the quotients up, which takes half the time of torch's conversion and division.
    """
    stored = pixels.permute(0, 2, 3, 1)
    if pixels.device.type != "cpu" or not stored.is_contiguous():
        return pixels.float().div_(255)
    found = cv2.LUT(stored.numpy().reshape(-1, math.prod(stored.shape[2:])), _QUOTIENTS)
    return torch.from_numpy(found).view(stored.shape).permute(0, 3, 1, 2)


def crop_and_resize(
    images: Tensor, drawn: Sequence[Drawn], size: tuple[int, int], uncropped: Tensor | None = None
) -> Tensor:
    """Cut out each sample's box, to the nearest pixel, and resize it: B×C×h×w uint8 to B×C×size.

    The resize is antialiased bilinear, as Pillow's. Samples without a box are taken from `uncropped`, B×C×size, where
    it is given.
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
    """Blend objects into an image by their mask.

    Args:
        onto: B×4×H×W in [0, 1], an image with its mask as the fourth channel; or B×3×H×W, the image alone.
        objects: B×4×H×W, the image with the objects, and their mask, soft at the borders.

    Returns:
        The blended images, shaped as `onto`; the mask has the objects of both.
    """
    mask = objects[:, 3:]
    source = objects.clone()
    source[:, 3:] = 1
    return torch.lerp(onto, source[:, : onto.shape[1]], mask)


class ColorJitter:
    """Change the colors of a batch in YCbCr as drawn: brightness, contrast, saturation, hue, in this order.

    In YCbCr the first three are a factor and a shift for each channel, and hue rotates the two chroma channels.

    Args:
        drawn: one for each sample.
        luma_mean: B, the mean of each sample's Y in [0, 1]; contrast leaves it unchanged.
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
        """Change B×3×H×W YCbCr in place, clamped to [0, 1], and return it; a fourth channel, the mask, is kept."""
        channels = ycbcr.shape[1]
        crossed = None if self.crossed is None else ycbcr[:, 1:3].flip(1) * self.crossed
        ycbcr.mul_(self.factor[:, :channels]).add_(self.shift[:, :channels])
        if crossed is not None:
            ycbcr[:, 1:3] += crossed
        return ycbcr.clamp_(0, 1)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Convert B×3×H×W full-range (JPEG) YCbCr in [0, 1] to RGB, clamped to [0, 1], channels last in memory."""
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
