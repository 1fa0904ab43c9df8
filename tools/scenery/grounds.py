"""Render textured ground, float32 RGB H×W×3 in [0, 1], and natural outlines, all from multi-octave noise."""

import numpy as np
from PIL import Image

Shape = tuple[int, int]
Color = tuple[float, float, float]


def noise(
    rng: np.random.Generator,
    shape: Shape,
    cell: float,
    gain: float = 0.6,
    stretch: float = 1.0,
    angle: float | None = None,
    finest: float = 1.5,
) -> np.ndarray:
    """Return multi-octave noise, float32 H×W of mean 0 and standard deviation 1.

    Args:
        rng: source of random numbers.
        shape: (H, W).
        cell: size of the coarsest features, in pixels.
        gain: ratio of each octave's amplitude to the one before.
        stretch: how many times longer features are in the direction `angle`.
        angle: in radians; None draws one, which hides the grid.
        finest: approximate size of the finest features, in pixels.
    """
    angle = rng.uniform(0, np.pi) if angle is None else angle
    height, width = shape
    side = float(np.hypot(height, width))
    octaves = max(1, 1 + int(np.log2(cell / finest)))
    rows, columns = int(side / cell) + 4, int(side / cell / stretch) + 4
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    for octave in range(1, octaves):
        rows, columns = 2 * rows, 2 * columns
        grid = np.asarray(Image.fromarray(grid).resize((columns, rows), Image.Resampling.BICUBIC))
        grid = grid + np.float32(gain**octave) * rng.standard_normal((rows, columns), dtype=np.float32)
    fine = cell / 2 ** (octaves - 1)  # pixels per cell of the finest grid, across the stretch
    across, along = 1 / fine, 1 / (fine * stretch)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = (cos * along, sin * along, columns / 2 - (cos * width + sin * height) * along / 2)
    turn += (-sin * across, cos * across, rows / 2 - (-sin * width + cos * height) * across / 2)
    field = Image.fromarray(grid).transform((width, height), Image.Transform.AFFINE, turn, Image.Resampling.BILINEAR)
    field = np.asarray(field)
    return (field - field.mean()) / (field.std() + 1e-6)


def mix(low: np.ndarray | Color, high: np.ndarray | Color, part: np.ndarray) -> np.ndarray:
    """Interpolate colors between `low` (part ≤ 0) and `high` (part ≥ 1), H×W×3."""
    low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return low + (high - low) * np.clip(part, 0, 1)[..., None]


def relief(height: np.ndarray, sun: float) -> np.ndarray:
    """Return the shading of a surface by its slope toward the sun (an angle), of standard deviation 1."""
    down, right = np.gradient(height)
    light = right * np.float32(np.cos(sun)) + down * np.float32(np.sin(sun))
    return light / (light.std() + 1e-6)


def along(shape: Shape, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return each pixel's coordinates (along, across), in pixels, in a frame rotated by `angle` about the center."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x - width / 2, y - height / 2
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def tinted(rng: np.random.Generator, color: Color, spread: float = 0.03) -> Color:
    """Draw a color near the given one; it varies more in lightness than in hue."""
    values = np.asarray(color) * rng.uniform(1 - 5 * spread, 1 + 5 * spread) + 0.5 * rng.uniform(-spread, spread, 3)
    return tuple(np.clip(values, 0.02, 0.95).tolist())


def grass(rng: np.random.Generator, shape: Shape, sun: float) -> np.ndarray:
    """Render a meadow with greener and drier patches."""
    green, dry = tinted(rng, (0.30, 0.36, 0.24)), tinted(rng, (0.42, 0.41, 0.30))
    patches = noise(rng, shape, cell=rng.uniform(60, 200), finest=3)
    ground = mix(green, dry, 0.4 + 0.3 * patches)
    return ground * (1 + 0.09 * noise(rng, shape, cell=6, gain=0.9))[..., None]


def forest(rng: np.random.Generator, shape: Shape, sun: float) -> np.ndarray:
    """Render tree crowns, each lit on one side, with shade between them."""
    crown = rng.uniform(5, 14)
    canopy = noise(rng, shape, cell=crown, gain=0.45)
    shade = 0.55 * canopy + 0.75 * relief(canopy, sun)
    dark, light = tinted(rng, (0.13, 0.18, 0.13), 0.02), tinted(rng, (0.31, 0.38, 0.25))
    patches = noise(rng, shape, cell=rng.uniform(80, 200), finest=6)
    return mix(dark, light, 0.42 + 0.20 * shade + 0.12 * patches)


def sea(rng: np.random.Generator, shape: Shape, sun: float) -> np.ndarray:
    """Render water with swell, ripples, wind streaks and a change of depth across the image."""
    waters = [(0.10, 0.19, 0.27), (0.14, 0.27, 0.27), (0.20, 0.29, 0.40), (0.10, 0.13, 0.15), (0.26, 0.33, 0.33)]
    deep = tinted(rng, waters[rng.integers(5)])
    wind = rng.uniform(0, 2 * np.pi)
    depth = noise(rng, shape, cell=rng.uniform(150, 400), gain=0.4, finest=20)
    swell = noise(rng, shape, cell=rng.uniform(5, 12), gain=0.7, stretch=rng.uniform(2, 4), angle=wind)
    streaks = noise(rng, shape, cell=rng.uniform(25, 60), stretch=5, angle=wind + np.pi / 2, finest=5)
    light = 1 + rng.uniform(0.05, 0.12) * depth + rng.uniform(0.02, 0.08) * swell + rng.uniform(0, 0.05) * streaks
    return np.float32(deep) * light[..., None]


def desert(rng: np.random.Generator, shape: Shape, sun: float) -> np.ndarray:
    """Render dunes or stony land under low light, with scattered scrub."""
    sand, rock = tinted(rng, (0.53, 0.45, 0.36)), tinted(rng, (0.40, 0.35, 0.30))
    gain, stretch, angle = rng.uniform(0.35, 0.6), rng.uniform(1, 4), rng.uniform(0, np.pi)
    height = noise(rng, shape, rng.uniform(20, 90), gain, stretch, angle)
    ground = mix(sand, rock, 0.35 + 0.3 * noise(rng, shape, cell=120, finest=5))
    grit = 0.03 * noise(rng, shape, cell=3, gain=0.9)
    ground = ground * (1 + rng.uniform(0.04, 0.09) * relief(height, sun) + grit)[..., None]
    scrub = noise(rng, shape, cell=rng.uniform(4, 9), gain=0.8) - rng.uniform(1.6, 3.0)
    return mix(ground, tinted(rng, (0.25, 0.26, 0.19)), 1.5 * scrub)


def concrete(rng: np.random.Generator, shape: Shape, sun: float) -> np.ndarray:
    """Render an apron: slabs with joints, stains and painted lines, sometimes bordered by grass."""
    angle = rng.uniform(0, np.pi)
    u, v = along(shape, angle)
    slab = rng.uniform(18, 45)
    base = tinted(rng, [(0.50, 0.49, 0.47), (0.36, 0.36, 0.36), (0.44, 0.41, 0.37)][rng.integers(3)])
    tone = rng.normal(0, 0.02, (64, 64)).astype(np.float32)
    tone = tone[(np.floor(u / slab).astype(int)) % 64, (np.floor(v / slab).astype(int)) % 64]
    stains = noise(rng, shape, cell=rng.uniform(30, 90), gain=0.7, stretch=rng.uniform(1, 4), angle=angle)
    ground = np.float32(base) * (1 + tone + 0.05 * stains + 0.03 * noise(rng, shape, cell=3))[..., None]
    joints = np.minimum(np.abs(u % slab - slab / 2), np.abs(v % slab - slab / 2)) < 0.6
    ground = ground * np.where(joints, np.float32(0.9), np.float32(1))[..., None]
    for _ in range(rng.integers(0, 3)):  # guide lines, straight or a large circle
        ring = np.hypot(u - rng.uniform(-400, 400), v - rng.uniform(-400, 400)) - rng.uniform(150, 400)
        line = ring if rng.random() < 0.4 else v - rng.uniform(-0.5, 0.5) * shape[0]
        ground = mix(ground, tinted(rng, (0.60, 0.55, 0.35)), 0.7 * (np.abs(line) < rng.uniform(0.8, 1.6)))
    if rng.random() < 0.5:
        edge = v - rng.uniform(0.1, 0.45) * min(shape) + 4 * noise(rng, shape, cell=200, gain=0.3, finest=25)
        ground = mix(ground, grass(rng, shape, sun), edge)
    return ground


def soil(rng: np.random.Generator, shape: Shape, sun: float) -> np.ndarray:
    """Render gravel, bare soil and worn grass of an industrial site."""
    bare, worn = tinted(rng, (0.46, 0.43, 0.38)), tinted(rng, (0.35, 0.36, 0.28))
    patches = noise(rng, shape, cell=rng.uniform(40, 120), gain=0.7)
    ground = mix(bare, worn, 0.5 + rng.uniform(0.2, 0.5) * patches)
    return ground * (1 + 0.06 * noise(rng, shape, cell=4, gain=0.9))[..., None]


def fields(rng: np.random.Generator, shape: Shape, sun: float) -> np.ndarray:
    """Render plots of different crops, with furrows and borders."""
    u, v = along(shape, rng.uniform(0, np.pi))
    u, v = (axis + 6 * noise(rng, shape, cell=250, gain=0.3, finest=30) for axis in (u, v))
    reach = float(np.hypot(*shape))
    strips = np.cumsum(rng.uniform(50, 160, 24)).astype(np.float32) - reach / 2
    strip = np.searchsorted(strips, u)
    border = np.minimum(u - np.r_[-reach, strips][strip], np.r_[strips, reach][strip] - u)
    plot = np.zeros(shape, int)
    for cut in np.cumsum(rng.uniform(60, 260, (16, 25)), axis=0).astype(np.float32):
        beyond = v - (cut - reach / 2 - 60)[strip]
        plot += beyond > 0
        border = np.minimum(border, np.abs(beyond))
    crops = [(0.30, 0.38, 0.24), (0.40, 0.42, 0.27), (0.50, 0.46, 0.34), (0.38, 0.32, 0.26), (0.24, 0.31, 0.22)]
    colors = np.float32([[tinted(rng, crops[rng.integers(len(crops))]) for _ in range(17)] for _ in range(25)])
    ground = colors[strip, plot]
    furrows = np.sin(u * rng.uniform(0.7, 1.4) + 6 * colors[strip, plot, 0] * v / 40)
    depth = rng.uniform(0, 0.05, (25, 17)).astype(np.float32)[strip, plot]
    texture = 0.05 * noise(rng, shape, cell=70, gain=0.7) + 0.04 * noise(rng, shape, cell=3)
    ground = ground * (1 + depth * furrows + texture)[..., None]
    return mix(ground, tinted(rng, (0.28, 0.29, 0.22)), (rng.uniform(1, 3.5) - border) * 0.7)


def blob(rng: np.random.Generator, shape: Shape, area: float, rough: float) -> np.ndarray:
    """Draw a closed natural outline: a field, H×W, of about the pixels inwards from its edge, above 0 inside.

    `area` is roughly its part of the image; `rough`, from 0.1 to 0.5, is how ragged it is.
    """
    height, width = shape
    u, v = along(shape, rng.uniform(0, np.pi))
    u, v = (axis - rng.uniform(-0.2, 0.2) * min(shape) for axis in (u, v))
    aspect = rng.uniform(1, 2.2)
    radius = np.sqrt(area * height * width / np.pi)
    distance = np.hypot(u / np.sqrt(aspect), v * np.sqrt(aspect)) / radius
    field = (1 - distance) * radius / aspect**0.5
    return field + rough * radius * noise(rng, shape, cell=max(2 * radius / 1.5, 8), gain=rng.uniform(0.35, 0.5))


def band(rng: np.random.Generator, shape: Shape, width: float, bend: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw a winding band across the image, `width` pixels wide.

    `bend` is the amplitude of its bends as a part of the image: 0 is straight.

    Returns:
        Two fields, H×W: the pixels inwards from its edge, above 0 inside, and the signed pixels to its middle.
    """
    u, v = along(shape, rng.uniform(0, np.pi))
    side = min(shape)
    middle, slope = np.float32(rng.uniform(-0.25, 0.25) * side), np.float32(0)
    for octave in (1, 2, 4):
        swing, pace = bend * side / octave / 2, np.float32(np.pi * octave * rng.uniform(0.5, 1.2) / side)
        phase = pace * u + np.float32(rng.uniform(0, 2 * np.pi))
        middle, slope = middle + swing * np.sin(phase), slope + swing * pace * np.cos(phase)
    offset = (v - middle) / np.sqrt(1 + slope**2)
    return width / 2 - np.abs(offset), offset
