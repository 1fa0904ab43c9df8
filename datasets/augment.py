"""Geometry and colour augmentations: drawn once for a sample, then applied to every view of it.

Pillow does all of it: its `resize(box=…)` crops and antialiases in one operation, and so stays the preprocessing that
the paper's figures stand on.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageEnhance
from PIL.Image import Transpose

_FLIPS = (Transpose.FLIP_LEFT_RIGHT, Transpose.FLIP_TOP_BOTTOM, Transpose.ROTATE_180)
_KEEP_SHAPE = (None, *_FLIPS)
_ALL_EIGHT = (*_KEEP_SHAPE, Transpose.ROTATE_90, Transpose.ROTATE_270, Transpose.TRANSPOSE, Transpose.TRANSVERSE)


@dataclass(frozen=True)
class Augmentation:
    """What may be done to a training sample. The defaults are the release's geometry, and no colour.

    Attributes:
        symmetries: 'eight' draws one of the square's eight flips and rotations, all alike. 'released' draws as the
            release does, a flip (both ways with probability 1/2, left-right 1/4, top-bottom 1/4) and then a rotation by
            0, 90, 180 or 270 degrees, but without cutting corners off; on square views that comes to the same
            distribution. 'none' leaves the image as it is. Views that are not square are never turned by 90 degrees:
            they keep to the four symmetries that leave their shape.
        scale: the (least, greatest) part of the image's area that a random crop keeps, within (0, 1]; the crop has the
            image's aspect and is resized to the full view, so that things grow. None never crops.
        scale_probability: how often a sample is cropped at all, where `scale` is given.
        brightness: strength b: the image is multiplied by a factor from [1 − b, 1 + b] (PIL's ImageEnhance). 0 is off.
        contrast: strength: as brightness, about the image's mean grey.
        saturation: strength: as brightness, about the image's own grey version.
        hue: strength in turns of the colour circle, at most 0.5: the hue is shifted by a part from [−h, h]. 0 is off.
    """

    symmetries: Literal["none", "eight", "released"] = "eight"
    scale: tuple[float, float] | None = None
    scale_probability: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        if self.symmetries not in ("none", "eight", "released"):
            raise ValueError(f"symmetries must be none, eight or released, not {self.symmetries!r}")
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be two parts of the area with 0 < least <= greatest <= 1, not {self.scale}")
        for name in ("scale_probability", "brightness", "contrast", "saturation", "hue"):
            greatest = 0.5 if name == "hue" else 1
            if not 0 <= getattr(self, name) <= greatest:
                raise ValueError(f"{name} must be within 0 and {greatest}, not {getattr(self, name)}")


@dataclass(frozen=True)
class Drawn:
    """One draw of an `Augmentation`, ready to be applied to any view of the sample.

    Attributes:
        symmetries: Pillow transpositions, in the order in which they are applied to the resized view.
        box: left, upper, right, lower edge of the crop, as parts of the image's width and height.
        brightness, contrast, saturation: ImageEnhance's factors; 1 leaves the image as it is.
        hue: shift in turns of the colour circle; 0 leaves it.
    """

    symmetries: tuple[Transpose, ...] = ()
    box: tuple[float, float, float, float] | None = None
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


UNCHANGED = Drawn()


def draw(augmentation: Augmentation, generator: np.random.Generator, square: bool = True) -> Drawn:
    """Draw what is done to one sample; `square` says whether its views are and so may be turned by 90 degrees."""

    def about(middle: float, strength: float) -> float:
        return float(generator.uniform(middle - strength, middle + strength)) if strength else middle

    return Drawn(
        symmetries=_draw_symmetries(augmentation.symmetries, generator, square),
        box=_draw_box(augmentation, generator),
        brightness=about(1.0, augmentation.brightness),
        contrast=about(1.0, augmentation.contrast),
        saturation=about(1.0, augmentation.saturation),
        hue=about(0.0, augmentation.hue),
    )


def apply_colour(drawn: Drawn, image: Image.Image) -> Image.Image:
    """The RGB image in its drawn colours, at its own size: before any view is made of it, so that all views agree."""
    if drawn.brightness != 1:
        image = ImageEnhance.Brightness(image).enhance(drawn.brightness)
    if drawn.contrast != 1:
        image = ImageEnhance.Contrast(image).enhance(drawn.contrast)
    if drawn.saturation != 1:
        image = ImageEnhance.Color(image).enhance(drawn.saturation)
    return _shift_hue(image, drawn.hue) if drawn.hue else image


def apply_geometry(drawn: Drawn, image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A view of the image: the drawn crop, resized with Pillow's antialiased bilinear, flipped and turned.

    `size` is (height, width) of the view. Turning comes last: the views are square then, or are not turned.
    """
    height, width = size
    box = drawn.box and tuple(edge * length for edge, length in zip(drawn.box, image.size * 2, strict=True))
    view = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    for symmetry in drawn.symmetries:
        view = view.transpose(symmetry)
    return view


def _draw_symmetries(which: str, generator: np.random.Generator, square: bool) -> tuple[Transpose, ...]:
    if which == "none":
        return ()
    if which == "eight":
        of = _ALL_EIGHT if square else _KEEP_SHAPE
        drawn = (of[generator.integers(len(of))],)
    else:
        flip = _FLIPS[generator.choice(3, p=(0.25, 0.25, 0.5))]
        turns = (None, Transpose.ROTATE_180, Transpose.ROTATE_90, Transpose.ROTATE_270)
        drawn = (flip, turns[generator.integers(4 if square else 2)])
    return tuple(symmetry for symmetry in drawn if symmetry is not None)


def _draw_box(augmentation: Augmentation, generator: np.random.Generator) -> tuple[float, float, float, float] | None:
    if augmentation.scale is None or generator.random() >= augmentation.scale_probability:
        return None
    side = generator.uniform(*augmentation.scale) ** 0.5
    left, upper = generator.uniform(0, 1 - side, size=2)
    return float(left), float(upper), float(left + side), float(upper + side)


def _shift_hue(image: Image.Image, turns: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    hue = Image.fromarray(np.asarray(hue) + np.uint8(round(turns * 256) % 256))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
