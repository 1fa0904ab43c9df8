"""Draw aircraft, ships, tanks, stadiums and houses as polygons on a supersampled canvas.

Every object has its own frame, x forwards and y to the right, which a `Pose` places in the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tools.scenery.grounds import Color, tinted

SUPERSAMPLING = 3


@dataclass(frozen=True)
class Pose:
    """An object's center and unit length in pixels, and its heading in radians."""

    x: float
    y: float
    size: float
    heading: float = 0.0

    def at(self, points: Sequence[tuple[float, float]] | np.ndarray) -> np.ndarray:
        """Convert points, N×2, of the object's frame to pixels."""
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        turned = np.asarray(points, float) @ np.array([[cos, sin], [-sin, cos]])
        return turned * self.size + (self.x, self.y)

    def inside(self, x: float, y: float, size: float = 1.0, heading: float = 0.0) -> "Pose":
        """Return the pose of a part of this object."""
        (px, py) = self.at([(x, y)])[0]
        return Pose(px, py, self.size * size, self.heading + heading)


class Canvas:
    """Collects polygons and paints them with their shadows on a ground."""

    def __init__(self, sun: float) -> None:
        """`sun` is the direction, in radians, in which shadows fall."""
        self._fall = np.array([np.cos(sun), np.sin(sun)])
        self._painted: list[tuple[np.ndarray, Color, bool]] = []
        self._shadows: list[np.ndarray] = []

    def fill(self, points: np.ndarray, color: Color, salient: bool = True, height: float = 0.0) -> None:
        """Paint a polygon (N×2 pixels); `height`, in pixels, is how far its shadow falls."""
        self._painted.append((points, color, salient))
        if height:
            steps = np.linspace(0, 1, max(2, int(height / 2)))
            self._shadows += [points + self._fall * height * step for step in steps[1:]]

    def line(self, points: np.ndarray, width: float, color: Color, salient: bool = True) -> None:
        """Paint a line between two points, `width` pixels wide."""
        (x0, y0), (x1, y1) = points
        dx, dy = np.array([y0 - y1, x1 - x0]) * width / 2 / max(np.hypot(x1 - x0, y1 - y0), 1e-6)
        corners = [(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)]
        self.fill(np.array(corners), color, salient)

    def paint(self, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the painted ground, float32 H×W×3, and the salient part of each pixel, float32 H×W."""
        height, width = ground.shape[:2]
        big = (width * SUPERSAMPLING, height * SUPERSAMPLING)
        if self._shadows:
            shade = Image.new("L", (width, height))
            pen = ImageDraw.Draw(shade)
            for points in self._shadows:
                pen.polygon(points.ravel().tolist(), fill=255)
            shade = np.asarray(shade.filter(ImageFilter.GaussianBlur(0.7)), np.float32)[..., None] / 255
            ground = ground * (1 - np.float32([0.62, 0.58, 0.52]) * shade)  # skylight leaves shadows bluish
        picture = Image.fromarray(to_bytes(ground)).resize(big, Image.Resampling.NEAREST)
        mask = Image.new("L", big)
        pen, mask_pen = ImageDraw.Draw(picture), ImageDraw.Draw(mask)
        for points, color, salient in self._painted:
            corners = (points * SUPERSAMPLING).ravel().tolist()
            pen.polygon(corners, fill=tuple(round(255 * value) for value in color))
            mask_pen.polygon(corners, fill=255 * salient)
        picture, mask = picture.reduce(SUPERSAMPLING), mask.reduce(SUPERSAMPLING)
        return np.asarray(picture, np.float32) / 255, np.asarray(mask, np.float32) / 255


def to_bytes(colors: np.ndarray) -> np.ndarray:
    """Convert colors in [0, 1] to uint8, clipped."""
    return (np.clip(colors, 0, 1) * 255 + 0.5).astype(np.uint8)


def aircraft(canvas: Canvas, rng: np.random.Generator, pose: Pose) -> None:
    """Draw an aircraft; the unit length is the fuselage's."""
    body = tinted(rng, [(0.82, 0.82, 0.81), (0.70, 0.71, 0.72), (0.47, 0.49, 0.50)][rng.choice(3, p=(0.5, 0.3, 0.2))])
    wing = tuple(0.9 * value for value in tinted(rng, body, 0.015))
    dark = tuple(0.72 * value for value in body)
    sweep, span = rng.uniform(0.05, 0.28), rng.uniform(0.40, 0.52)
    radius, lift = rng.uniform(0.045, 0.06), 0.10 * pose.size
    for side in (-1, 1):
        wing_points = [(0.12, 0), (0.12, side * radius), (0.02 - sweep, side * span), (-0.05 - sweep, side * span)]
        canvas.fill(pose.at([*wing_points, (-0.10, side * radius), (-0.10, 0)]), wing, height=lift)
        tail = [(-0.36, 0), (-0.36 - 0.4 * sweep, side * 0.19), (-0.42 - 0.4 * sweep, side * 0.19), (-0.46, 0)]
        canvas.fill(pose.at(tail), wing, height=lift)
        for out in rng.permutation([0.16, 0.30])[: 1 + (span > 0.46)]:
            engine = pose.inside(0.10 - (sweep + 0.1) * out / span, side * out)
            canvas.fill(engine.at(rounded(0.12, 0.05)), dark, height=0.7 * lift)
    nose = [(0.5 - 0.06 * (1 - np.cos(t)), radius * np.sin(t)) for t in np.linspace(-np.pi / 2, np.pi / 2, 9)]
    tube = [(-0.5, -0.010), (-0.28, -radius), *nose, (-0.28, radius), (-0.5, 0.010)]
    canvas.fill(pose.at(tube), body, height=1.2 * lift)
    canvas.fill(pose.at([(x, y * 0.35 - 0.55 * radius) for x, y in tube[1:-1]]), tuple(0.9 * value for value in body))
    stripe = tinted(rng, [(0.55, 0.25, 0.22), (0.22, 0.30, 0.48), (0.75, 0.75, 0.75)][rng.integers(3)])
    canvas.fill(pose.at([(-0.34, -0.008), (-0.34, 0.008), (-0.5, 0.015), (-0.5, -0.015)]), stripe)
    canvas.fill(pose.at([(0.45, -0.02), (0.47, 0), (0.45, 0.02), (0.44, 0.02), (0.44, -0.02)]), (0.20, 0.22, 0.25))


def ship(canvas: Canvas, rng: np.random.Generator, pose: Pose) -> None:
    """Draw a freighter, tanker or container ship; the unit length is the hull's."""
    beam = rng.uniform(0.08, 0.13)
    hull = [(-0.5, -0.8 * beam), (-0.46, -beam), (0.30, -beam), (0.43, -0.55 * beam), (0.5, 0)]
    hull += [(x, -y) for x, y in reversed(hull[:-1])]
    sides = [(0.40, 0.20, 0.17), (0.25, 0.27, 0.30), (0.48, 0.49, 0.48), (0.22, 0.30, 0.38)]
    side = tinted(rng, sides[rng.integers(4)])
    deck = tinted(rng, [(0.52, 0.32, 0.26), (0.56, 0.56, 0.53), (0.36, 0.42, 0.38)][rng.integers(3)])
    canvas.fill(pose.at(hull), side, height=0.05 * pose.size)
    canvas.fill(pose.at([(0.97 * x, 0.82 * y) for x, y in hull]), deck)
    if rng.random() < 0.5:  # containers, or hatches all alike
        own, spread = tinted(rng, (0.55, 0.52, 0.49)), rng.choice([0.01, 0.12])
        for x in np.arange(-0.26, 0.36, 0.062):
            for y in (-0.55, 0, 0.55) if rng.random() < 0.7 else (0,):
                color = tinted(rng, own, spread)
                canvas.fill(pose.inside(x, y * beam).at(box(0.054, 0.46 * beam)), color)
    else:  # a tanker's pipes
        for y in (-0.2, 0, 0.2):
            pipe = pose.at([(-0.28, y * beam), (0.4, y * beam)])
            canvas.line(pipe, 0.012 * pose.size, tinted(rng, (0.6, 0.58, 0.55)))
        canvas.fill(pose.inside(0.05, 0).at(box(0.02, 1.5 * beam)), tinted(rng, (0.62, 0.6, 0.55)))
    bridge = pose.inside(-0.38, 0).at(box(0.10, 1.6 * beam))
    canvas.fill(bridge, tinted(rng, (0.80, 0.80, 0.78)), height=0.03 * pose.size)
    canvas.fill(pose.inside(-0.41, 0).at(box(0.03, 0.6 * beam)), tinted(rng, (0.45, 0.40, 0.36)))


def tank(canvas: Canvas, rng: np.random.Generator, pose: Pose, color: Color) -> None:
    """Draw a storage tank; the unit length is its diameter."""
    roof = tinted(rng, color, 0.02)
    canvas.fill(pose.at(ellipse(1, 1)), tuple(0.80 * value for value in roof), height=rng.uniform(0.2, 0.5) * pose.size)
    canvas.fill(pose.at(ellipse(0.94, 0.94)), roof)
    if rng.random() < 0.4:  # a floating roof, lower than its rim
        canvas.fill(pose.inside(0.02, 0.02).at(ellipse(0.86, 0.86)), tuple(0.85 * value for value in roof))
    for spoke in np.arange(8) * np.pi / 4:
        seam = pose.at([(0, 0), (0.45 * np.cos(spoke), 0.45 * np.sin(spoke))])
        canvas.line(seam, 0.012 * pose.size, tinted(rng, roof, 0.01))
    canvas.fill(pose.at(ellipse(0.12, 0.12)), tuple(0.75 * value for value in roof))


def stadium(canvas: Canvas, rng: np.random.Generator, pose: Pose) -> None:
    """Draw a field with a running track and sometimes stands; the unit length is the stadium's."""
    wide, oval = rng.uniform(0.62, 0.75), rng.random() < 0.6
    outline = (lambda part: ellipse(part, part * wide + 0.25 * (part - 1))) if oval else None
    outline = outline or (lambda part: rounded(part, part * wide + 0.25 * (part - 1)))
    track = 1.0
    if rng.random() < 0.6:
        stand, track = tinted(rng, (0.60, 0.60, 0.60), 0.04), 0.80
        canvas.fill(pose.at(outline(1.0)), stand, height=0.06 * pose.size)
        tiers = np.array(outline(0.94))
        for one, two in zip(tiers[::2], tiers[1::2], strict=False):
            canvas.fill(pose.at([one, two, 0.86 * two, 0.86 * one]), tinted(rng, stand, 0.04))
    canvas.fill(pose.at(rounded(track, track * wide * 0.95)), tinted(rng, (0.50, 0.31, 0.26)))
    for lane in (0.97, 0.94):
        inner = rounded(track * lane, track * (wide * 0.95 - 1 + lane))
        canvas.fill(pose.at(inner), tinted(rng, (0.53, 0.35, 0.30), 0.01))
    long, short = 0.86 * track, track * (wide * 0.95 - 0.14)
    turf = tinted(rng, (0.28, 0.40, 0.24))
    canvas.fill(pose.at(rounded(long, short)), turf)
    pitch, across = long - 0.9 * short + 0.12, 0.8 * short
    for stripe in range(10):
        shade = 1.0 + 0.08 * (stripe % 2)
        color = tuple(shade * value for value in turf)
        canvas.fill(pose.inside(pitch * ((stripe + 0.5) / 10 - 0.5), 0).at(box(pitch / 10, across)), color)
    chalk, edge = (0.68, 0.72, 0.66), box(pitch, across)
    for one, two in zip(edge, [*edge[1:], edge[0]], strict=True):
        canvas.line(pose.at([one, two]), max(0.008 * pose.size, 0.6), chalk)
    canvas.line(pose.at([(0, -across / 2), (0, across / 2)]), max(0.008 * pose.size, 0.6), chalk)


def courts(canvas: Canvas, rng: np.random.Generator, pose: Pose) -> None:
    """Draw a block of tennis courts; the unit length is the block's."""
    wide, count = rng.uniform(0.45, 0.7), int(rng.integers(2, 5))
    canvas.fill(pose.at(box(1, wide)), tinted(rng, [(0.30, 0.38, 0.30), (0.47, 0.31, 0.26)][rng.integers(2)]))
    inner = tinted(rng, [(0.27, 0.36, 0.48), (0.36, 0.46, 0.36), (0.55, 0.38, 0.30)][rng.integers(3)])
    for court in range(count):
        part = pose.inside((court + 0.5) / count - 0.5, 0)
        edge = box(0.62 / count, 0.72 * wide)
        canvas.fill(part.at(edge), inner)
        for one, two in zip([*edge, (-0.31 / count, 0)], [*edge[1:], edge[0], (0.31 / count, 0)], strict=True):
            canvas.line(part.at([one, two]), max(0.008 * pose.size, 0.5), (0.72, 0.73, 0.72))


def house(canvas: Canvas, rng: np.random.Generator, pose: Pose, sun: float, salient: bool = False) -> None:
    """Draw a house with a gabled roof, one side lit; the unit length is the ridge's."""
    roofs = [(0.48, 0.34, 0.29), (0.40, 0.40, 0.41), (0.55, 0.52, 0.48), (0.33, 0.30, 0.28)]
    roof = tinted(rng, roofs[rng.integers(4)])
    wide = rng.uniform(0.55, 0.9)
    lit = float(np.sin(sun - pose.heading))
    canvas.fill(pose.at(box(1, wide)), roof, salient, height=0.22 * pose.size * wide)
    for side in (-1, 1):
        shade = 1 - 0.22 * side * lit
        half = [(-0.5, 0), (0.5, 0), (0.5, side * wide / 2), (-0.5, side * wide / 2)]
        canvas.fill(pose.at(half), tuple(min(shade * value, 0.95) for value in roof), salient)
    if salient:  # seen from near: a wing, a chimney, the ridge
        wing = pose.inside(rng.uniform(-0.25, 0.25), wide * 0.5)
        canvas.fill(wing.at(box(0.35, wide * 0.8)), tuple(0.93 * value for value in roof), height=0.12 * pose.size)
        canvas.line(pose.at([(-0.5, 0), (0.5, 0)]), 0.02 * pose.size, tuple(0.75 * value for value in roof))
        canvas.fill(pose.inside(0.3, -0.1).at(box(0.06, 0.06)), (0.30, 0.27, 0.25), height=0.08 * pose.size)


def tree(canvas: Canvas, rng: np.random.Generator, pose: Pose, sun: float) -> None:
    """Draw a tree, not salient; the unit length is its crown's diameter."""
    green = tinted(rng, (0.20, 0.27, 0.17), 0.02)
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radius = 0.5 * rng.uniform(0.75, 1.1, 12)
    crown = np.stack([radius * np.cos(around), radius * np.sin(around)], axis=1)
    canvas.fill(pose.at(crown), green, salient=False, height=0.55 * pose.size)
    toward = -0.12 * np.array([np.cos(sun - pose.heading), np.sin(sun - pose.heading)])
    canvas.fill(pose.at(0.6 * crown + toward), tuple(1.3 * value for value in green), salient=False)


def box(length: float, width: float) -> list[tuple[float, float]]:
    """Return a rectangle about the origin."""
    x, y = length / 2, width / 2
    return [(-x, -y), (x, -y), (x, y), (-x, y)]


def ellipse(length: float, width: float) -> list[tuple[float, float]]:
    """Return an ellipse about the origin, of 64 corners."""
    around = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return list(zip(length / 2 * np.cos(around), width / 2 * np.sin(around), strict=True))


def rounded(length: float, width: float) -> list[tuple[float, float]]:
    """Return two straight sides and two half circles about the origin, of 64 corners."""
    around = np.linspace(-np.pi / 2, np.pi * 3 / 2, 64, endpoint=False)
    radius = min(length, width) / 2
    shift = np.where(np.cos(around) >= 0, 1, -1) * (length / 2 - radius)
    return list(zip(shift + radius * np.cos(around), radius * np.sin(around), strict=True))
