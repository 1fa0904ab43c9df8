"""The configuration of the augmentation. Torch is not imported: command lines read it."""

from typing import Annotated, Literal

from pydantic import field_validator

from utils.config import Within, configuration

Share = Annotated[float, Within(0, 1)]


@configuration
class Augmentation:
    """The augmentation of training samples. The defaults are the release's flips and rotations, without color.

    Args:
        symmetries: 'eight' draws one of the square's eight flips and rotations with equal probability. Views that are
            not square are not rotated by 90 degrees and keep four of them. 'none' leaves the image unchanged.
        scale: (least, greatest) part of the image's area that a random crop keeps, in (0, 1]. The crop has the image's
            aspect ratio and is resized to the full view. None never crops.
        scale_probability: probability of a crop where `scale` is given.
        brightness: strength b: the image is multiplied by a factor from [1 − b, 1 + b]. 0 is off.
        contrast: strength, as brightness, relative to the image's mean gray.
        saturation: strength, as brightness, relative to the image's gray version.
        hue: strength h in turns, at most 0.5: the plane of Cb and Cr is rotated by an angle from [−h, h]. 0 is off.
        copy_paste: probability that the objects of another sample are pasted at their own place. 0 is off.
    """

    symmetries: Literal["none", "eight"] = "eight"
    scale: tuple[float, float] | None = None
    scale_probability: Share = 0.5
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Within(0, 0.5)] = 0.0
    copy_paste: Share = 0.0

    @field_validator("scale")
    @classmethod
    def _are_parts(cls, scale: tuple[float, float] | None) -> tuple[float, float] | None:
        if scale is not None and not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError("must be two parts of the area with 0 < least <= greatest <= 1")
        return scale

    @property
    def detail(self) -> float:
        """The factor by which stored images exceed the view's side, so that the smallest crop has the view's size."""
        return 1.0 if self.scale is None or not self.scale_probability else self.scale[0] ** -0.5
