"""Compose a scene and photograph it: an image and its mask."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from tools.scenery.grounds import mix, noise
from tools.scenery.objects import Canvas, Pose, to_bytes

LEAST_SIDE, GREATEST_SIDE = 300, 600


class Scene:
    """A scene under construction.

    Attributes:
        rng: source of all random numbers.
        shape: (height, width) in pixels.
        sun: the direction, in radians, in which shadows fall.
        canvas: the objects on the ground.
        ground: float32 H×W×3.
        salient: part of each pixel that is salient ground, such as an island or a river, float32 H×W.
        closed: pixels where nothing may be placed, bool H×W.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        height, width = rng.integers(LEAST_SIDE, GREATEST_SIDE, 2, endpoint=True)
        if rng.random() < 0.4:
            width = height
        self.shape = (int(height), int(width))
        self.sun = rng.uniform(0, 2 * np.pi)
        self.canvas = Canvas(self.sun)
        self.ground = np.zeros((*self.shape, 3), np.float32)
        self.salient = np.zeros(self.shape, np.float32)
        self.closed = np.zeros(self.shape, bool)

    def lay(self, ground: Callable[..., np.ndarray]) -> None:
        """Cover the whole scene with one of `grounds`."""
        self.ground = ground(self.rng, self.shape, self.sun)

    def size(self, least: float, greatest: float) -> float:
        """Draw a size in pixels, log-uniform between two parts of the image's shorter side."""
        return float(np.exp(self.rng.uniform(np.log(least), np.log(greatest))) * min(self.shape))

    def place(self, size: float, beyond: float = 0.0, heading: float | None = None) -> Pose:
        """Draw a pose for an object of this size in pixels; up to `beyond` of it lies outside the image."""
        inset = [min(size * (0.5 - beyond), side / 2) for side in self.shape]
        y, x = (self.rng.uniform(edge, side - edge) for edge, side in zip(inset, self.shape, strict=True))
        return Pose(x, y, size, self.rng.uniform(0, 2 * np.pi) if heading is None else heading)

    def close(self, pose: Pose, reach: float = 0.6) -> None:
        """Close the ground within `reach` times an object's size of its center."""
        around = slice_about(pose, reach * pose.size, self.shape)
        self.closed[around] = True

    def is_free(self, pose: Pose, reach: float = 0.6) -> bool:
        """Return whether an object at this pose touches no closed ground."""
        around = slice_about(pose, reach * pose.size, self.shape)
        return not self.closed[around].any()

    def spread(self, count: int, size: float, beyond: float = 0.1, heading: float | None = None) -> list[Pose]:
        """Draw up to `count` poses of about this size that touch no closed ground, and close the ground there."""
        poses: list[Pose] = []
        for _ in range(20 * count):
            if len(poses) == count:
                break
            pose = self.place(size * self.rng.uniform(0.85, 1.15), beyond, heading)
            if self.is_free(pose, 0.7):
                self.close(pose, 0.7)
                poses.append(pose)
        return poses

    def scatter(self, thing: Callable[..., None], count: int, least: float, greatest: float) -> None:
        """Place up to `count` trees, houses or the like on free ground; sizes are in pixels."""
        for _ in range(count):
            for pose in self.spread(1, self.rng.uniform(least, greatest), beyond=0.4):
                thing(self.canvas, self.rng, pose, self.sun)

    def cover(self, field: np.ndarray, colors: np.ndarray) -> None:
        """Draw salient ground where `field` (pixels inwards from its edge) is above 0, and close it."""
        part = np.clip(field + 0.5, 0, 1).astype(np.float32)
        self.ground = mix(self.ground, colors, part)
        self.closed |= field > -6
        self.salient = np.maximum(self.salient, part)


def slice_about(pose: Pose, reach: float, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns within `reach` pixels of an object."""
    return tuple(
        slice(max(int(middle - reach), 0), max(min(int(middle + reach) + 1, side), 0))
        for middle, side in zip((pose.y, pose.x), shape, strict=True)
    )


def render_scene(rng: np.random.Generator, kind: Callable[[Scene], None]) -> tuple[Image.Image, Image.Image]:
    """Render an RGB image with sides of 300 to 600 pixels and its mask, 0 or 255, of the same size."""
    scene = Scene(rng)
    kind(scene)
    picture, salient = scene.canvas.paint(scene.ground)
    mask = np.maximum(salient, scene.salient) >= 0.5
    return photograph(rng, picture), Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))


def photograph(rng: np.random.Generator, picture: np.ndarray) -> Image.Image:
    """Simulate a camera above haze: exposure, contrast, haze, uneven light, blur and sensor noise."""
    shape = picture.shape[:2]
    picture = picture * np.float32([1.0, 1.0, 1.04]) * rng.uniform(0.90, 1.28)
    picture = picture + rng.uniform(-0.25, 0.0) * (picture - picture.mean(-1, keepdims=True))  # paler
    picture = picture * (1 + 0.03 * noise(rng, shape, max(shape), gain=0.3, finest=100))[..., None]
    picture = picture + rng.uniform(0.1, 0.45) * (picture - picture.mean((0, 1)))
    haze = rng.uniform(0, 0.15)
    picture = (1 - haze) * picture + haze * np.float32([0.40, 0.46, 0.48])
    blurred = Image.fromarray(to_bytes(picture)).filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.9)))
    grain = rng.uniform(0.002, 0.014) * rng.standard_normal((*shape, 1), dtype=np.float32)
    grain = grain + 0.003 * rng.standard_normal((*shape, 3), dtype=np.float32)
    return Image.fromarray(to_bytes(np.asarray(blurred, np.float32) / 255 + grain))
