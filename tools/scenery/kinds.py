"""The kinds of scenes, how each is composed and how often it occurs."""

from collections.abc import Callable

import numpy as np

from tools.scenery import grounds, objects
from tools.scenery.grounds import along, mix, noise, tinted
from tools.scenery.objects import Canvas, Pose
from tools.scenery.scene import Scene


def airfield(scene: Scene) -> None:
    """Compose an apron with one to nine aircraft and carts."""
    rng = scene.rng
    scene.lay(choose(rng, (grounds.concrete, 0.75), (grounds.grass, 0.1), (grounds.desert, 0.15)))
    if rng.random() < 0.35:
        terminal(scene)
    count = int(rng.choice([1, rng.integers(2, 5), rng.integers(5, 10)], p=(0.45, 0.35, 0.2)))
    heading = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else None
    for pose in scene.spread(count, scene.size(0.12, 0.75 / count**0.45), heading=heading):
        objects.aircraft(scene.canvas, rng, pose)
    carts(scene, int(rng.integers(0, 25)))


def open_sea(scene: Scene) -> None:
    """Compose ships under way."""
    rng = scene.rng
    scene.lay(grounds.sea)
    count = int(rng.choice([1, 2, rng.integers(3, 8)], p=(0.5, 0.25, 0.25)))
    for pose in scene.spread(count, scene.size(0.12, 0.85 / count**0.45), beyond=0.25):
        objects.ship(scene.canvas, rng, pose)
        if rng.random() < 0.6:
            wake(scene, pose)
    whitecaps(scene)


def harbor(scene: Scene) -> None:
    """Compose ships along a quay with sheds, containers and trucks."""
    rng = scene.rng
    scene.lay(grounds.sea)
    angle = rng.uniform(0, 2 * np.pi)
    _, v = along(scene.shape, angle)
    quay = rng.uniform(-0.15, 0.3) * min(scene.shape)
    yard = choose(rng, (grounds.soil, 0.5), (grounds.concrete, 0.5))(rng, scene.shape, scene.sun)
    inland = v - quay
    scene.ground = mix(scene.ground, tinted(rng, (0.50, 0.49, 0.47)), inland + 0.5)
    scene.ground = mix(scene.ground, yard, inland - rng.uniform(3, 9))
    height, width = scene.shape
    length = scene.size(0.2, 0.6)
    offsets = np.array([0, 1.15, -1.15]) * length + rng.uniform(-0.3, 0.3) * length
    for offset in offsets[: rng.integers(1, 4)]:
        out = quay - 0.14 * length
        x = width / 2 + offset * np.cos(angle) - out * np.sin(angle)
        y = height / 2 + offset * np.sin(angle) + out * np.cos(angle)
        objects.ship(scene.canvas, rng, Pose(x, y, length, angle + np.pi * rng.integers(2)))
    scene.closed |= inland < 8
    scene.scatter(shed, int(rng.integers(4, 14)), 18, 60)
    carts(scene, int(rng.integers(10, 40)))


def tank_farm(scene: Scene) -> None:
    """Compose a few storage tanks, or many in rows with dikes."""
    rng = scene.rng
    scene.lay(choose(rng, (grounds.soil, 0.6), (grounds.grass, 0.2), (grounds.concrete, 0.2)))
    color = tinted(rng, [(0.70, 0.70, 0.68), (0.60, 0.63, 0.62), (0.50, 0.56, 0.60)][rng.choice(3, p=(0.5, 0.3, 0.2))])
    if rng.random() < 0.35:
        poses = scene.spread(int(rng.integers(1, 4)), scene.size(0.15, 0.45))
    else:
        size = scene.size(0.08, 0.22)
        origin, angle = scene.place(size, beyond=-1.5), rng.uniform(0, np.pi)
        rows, columns, pitch = rng.integers(1, 4), rng.integers(2, 6), rng.uniform(1.35, 1.8)
        cells = [(row, column) for row in range(rows) for column in range(columns) if rng.random() < 0.85]
        grid = Pose(origin.x, origin.y, size, angle)
        poses = [grid.inside(pitch * (column - columns / 2), pitch * (row - rows / 2)) for row, column in cells]
        dike = tinted(rng, (0.55, 0.52, 0.47))
        for row in range(rows + 1):
            ends = [(pitch * (end - columns / 2), pitch * (row - rows / 2 - 0.5)) for end in (-0.5, columns - 0.5)]
            scene.canvas.line(grid.at(ends), 0.05 * size + 1, dike, salient=False)
    for pose in poses:
        objects.tank(scene.canvas, rng, pose, color)
        scene.close(pose, 0.8)
    scene.scatter(shed, int(rng.integers(0, 8)), 15, 45)
    scene.scatter(objects.tree, int(rng.integers(0, 15)), 8, 18)


def sports_ground(scene: Scene) -> None:
    """Compose a stadium or tennis courts in a town or a park."""
    rng = scene.rng
    thing = choose(rng, (objects.stadium, 0.75), (objects.courts, 0.25))
    scene.lay(grounds.grass)
    for pose in scene.spread(1, scene.size(0.25, 0.75) * (0.6 if thing is objects.courts else 1), beyond=0.05):
        thing(scene.canvas, rng, pose)
    if rng.random() < 0.6:
        town(scene)
    scene.scatter(objects.tree, int(rng.integers(5, 50)), 8, 22)


def dwelling(scene: Scene) -> None:
    """Compose one or two large houses among trees."""
    rng = scene.rng
    scene.lay(choose(rng, (grounds.grass, 0.6), (grounds.forest, 0.2), (grounds.soil, 0.2)))
    for pose in scene.spread(int(rng.integers(1, 3)), scene.size(0.15, 0.35)):
        objects.house(scene.canvas, rng, pose, scene.sun, salient=True)
        scene.close(pose, 0.9)
    scene.scatter(objects.tree, int(rng.integers(3, 40)), 14, 40)


def island(scene: Scene) -> None:
    """Compose an island with shallows, beach and woods."""
    rng = scene.rng
    scene.lay(grounds.sea)
    field = grounds.blob(rng, scene.shape, np.exp(rng.uniform(np.log(0.02), np.log(0.30))), rng.uniform(0.1, 0.35))
    shallows = tinted(rng, (0.25, 0.40, 0.40))
    scene.ground = mix(scene.ground, shallows, 0.8 * np.exp(np.minimum(field, 0) / rng.uniform(4, 14)))
    scene.ground = mix(scene.ground, tinted(rng, (0.62, 0.66, 0.66)), 0.7 - np.abs(field + 2) / 3)  # surf
    inland = choose(rng, (grounds.forest, 0.45), (grounds.desert, 0.3), (grounds.grass, 0.25))
    beach = tinted(rng, (0.60, 0.56, 0.47)) * (1 + 0.05 * noise(rng, scene.shape, 4))[..., None]
    woods = (field - rng.uniform(2, 12)) / 4 + 0.8 * noise(rng, scene.shape, 20)
    scene.cover(field, mix(beach, inland(rng, scene.shape, scene.sun), woods))
    whitecaps(scene)


def lake(scene: Scene) -> None:
    """Compose a lake with its shore, among fields, woods or houses."""
    rng = scene.rng
    countryside(scene)
    field = grounds.blob(rng, scene.shape, np.exp(rng.uniform(np.log(0.03), np.log(0.35))), rng.uniform(0.05, 0.25))
    waterside(scene, field)


def river(scene: Scene) -> None:
    """Compose a river through open country."""
    rng = scene.rng
    countryside(scene)
    wide = scene.size(0.035, 0.16)
    field, _ = grounds.band(rng, scene.shape, wide, rng.uniform(0.15, 0.6))
    waterside(scene, field + rng.uniform(0.02, 0.13) * wide * noise(rng, scene.shape, 60, gain=0.4))


def road(scene: Scene) -> None:
    """Compose a paved road or a dirt track."""
    rng = scene.rng
    scene.lay(choose(rng, (grounds.forest, 0.4), (grounds.desert, 0.35), (grounds.grass, 0.25)))
    wide, paved = scene.size(0.025, 0.10), rng.random() < 0.6
    field, offset = grounds.band(rng, scene.shape, wide, rng.uniform(0, 0.35))
    surface = tinted(rng, (0.42, 0.42, 0.43) if paved else (0.55, 0.48, 0.40))
    if paved:
        scene.ground = mix(scene.ground, tinted(rng, (0.46, 0.43, 0.37)), field / 3 + 1.5)
    colors = np.float32(surface) * (1 + 0.04 * noise(rng, scene.shape, 5))[..., None]
    if paved and wide > 14:
        colors = mix(colors, (0.66, 0.66, 0.62), 0.8 * (np.abs(np.abs(offset) - 0.42 * wide) < 0.7))
        colors = mix(colors, (0.66, 0.62, 0.45), 0.8 * (np.abs(offset) < 0.7))
    scene.cover(field, colors)
    scene.scatter(objects.tree, int(rng.integers(0, 40)), 8, 22)


def nothing(scene: Scene) -> None:
    """Compose a scene without a salient object."""
    rng = scene.rng
    if rng.random() < 0.3:
        scene.lay(grounds.sea)
        whitecaps(scene)
        return
    if rng.random() < 0.3:
        scene.lay(grounds.grass)
        town(scene)
    else:
        countryside(scene)
    scene.scatter(objects.tree, int(rng.integers(0, 50)), 8, 22)
    scene.scatter(objects.house, int(rng.integers(0, 6)), 10, 24)


def countryside(scene: Scene) -> None:
    """Cover the scene with fields, woods, meadow or desert."""
    rng = scene.rng
    ground = choose(rng, (grounds.fields, 0.35), (grounds.forest, 0.2), (grounds.grass, 0.2), (grounds.desert, 0.25))
    scene.lay(ground)
    if ground is grounds.forest:
        clearing = noise(rng, scene.shape, rng.uniform(80, 200)) - rng.uniform(0.5, 2.5)
        scene.ground = mix(scene.ground, grounds.grass(rng, scene.shape, scene.sun), 4 * clearing)


def waterside(scene: Scene, field: np.ndarray) -> None:
    """Fill `field` with calm water and a bank around it, then place trees and houses on dry ground."""
    rng = scene.rng
    bank = tinted(rng, [(0.47, 0.44, 0.36), (0.22, 0.27, 0.18)][rng.integers(2)])
    scene.ground = mix(scene.ground, bank, 0.9 + field / rng.uniform(2, 8))
    waters = [(0.10, 0.15, 0.16), (0.17, 0.24, 0.20), (0.34, 0.35, 0.28), (0.15, 0.20, 0.28)]
    water = tinted(rng, waters[rng.integers(4)])
    ripples = 0.03 * noise(rng, scene.shape, 150, gain=0.4, finest=15) + 0.015 * noise(rng, scene.shape, 4)
    scene.cover(field, np.float32(water) * (1 + ripples)[..., None])
    scene.scatter(objects.tree, int(rng.integers(0, 50)), 8, 22)
    scene.scatter(objects.house, int(rng.integers(0, 10)), 10, 24)


def town(scene: Scene) -> None:
    """Draw streets at right angles with houses along them, around existing objects."""
    rng = scene.rng
    angle, block = rng.uniform(0, np.pi), rng.uniform(60, 120)
    u, v = along(scene.shape, angle)
    across = np.abs(u % (1.6 * block) - 0.8 * block) - 0.3 * block
    street = block / 2 - np.maximum(across, np.abs(v % block - block / 2))
    asphalt = tinted(rng, (0.40, 0.40, 0.41)) * (1 + 0.04 * noise(rng, scene.shape, 4))[..., None]
    scene.ground = mix(scene.ground, asphalt, (rng.uniform(5, 9) - street) * ~scene.closed)
    height, width = scene.shape
    reach = np.hypot(height, width) / 2
    lot = rng.uniform(24, 36)
    for row in np.arange(-reach // block, reach // block + 1):
        for side in (0.25, 0.75):
            for x in np.arange(-reach, reach, lot):
                cos, sin, y = np.cos(angle), np.sin(angle), (row + side) * block
                pose = Pose(
                    width / 2 + x * cos - y * sin,
                    height / 2 + x * sin + y * cos,
                    lot * rng.uniform(0.5, 0.75),
                    angle + rng.integers(2) * np.pi / 2,
                )
                on_street = abs(x % (1.6 * block) - 0.8 * block) > 0.8 * block - 0.55 * lot
                if rng.random() < 0.8 and not on_street and scene.is_free(pose):
                    objects.house(scene.canvas, rng, pose, scene.sun)
                    scene.close(pose, 0.5)


def terminal(scene: Scene) -> None:
    """Draw a long flat roof that may extend beyond the image."""
    rng = scene.rng
    pose = scene.place(scene.size(0.4, 0.85), beyond=0.5)
    shed(scene.canvas, rng, pose, scene.sun)
    scene.close(pose)


def shed(canvas: Canvas, rng: np.random.Generator, pose: Pose, sun: float) -> None:
    """Draw a flat industrial roof or a row of containers; not salient."""
    wide = rng.uniform(0.25, 0.6)
    roof = tinted(rng, [(0.55, 0.55, 0.54), (0.42, 0.44, 0.46), (0.48, 0.40, 0.35)][rng.integers(3)])
    canvas.fill(pose.at(objects.box(1, wide)), roof, salient=False, height=4 + 0.05 * pose.size)
    for x in np.arange(-0.42, 0.45, 0.14):
        canvas.fill(pose.inside(x, 0).at(objects.box(0.10, 0.9 * wide)), tinted(rng, roof, 0.015), salient=False)


def carts(scene: Scene, count: int) -> None:
    """Place small vehicles and boxes; not salient."""

    def cart(canvas: Canvas, rng: np.random.Generator, pose: Pose, sun: float) -> None:
        canvas.fill(pose.at(objects.box(1, 0.45)), tinted(rng, (0.5, 0.5, 0.5), 0.09), salient=False, height=1.5)

    scene.scatter(cart, count, 4, 9)


def wake(scene: Scene, pose: Pose) -> None:
    """Draw the wake of a ship, wider and fainter with distance."""
    rng, (height, width) = scene.rng, scene.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y, cos, sin = x - pose.x, y - pose.y, np.cos(pose.heading), np.sin(pose.heading)
    behind, aside = -(x * cos + y * sin) / pose.size - 0.4, (y * cos - x * sin) / pose.size
    spread = 0.05 + rng.uniform(0.02, 0.10) * np.maximum(behind, 0)
    foam = np.exp(-((aside / spread) ** 2) - behind / rng.uniform(0.4, 1.2)) * (behind > 0)
    churned = 0.75 + 0.25 * noise(rng, scene.shape, 6)
    scene.ground = mix(scene.ground, (0.60, 0.66, 0.67), rng.uniform(0.4, 0.9) * foam * churned)


def whitecaps(scene: Scene) -> None:
    """Draw a few breaking waves."""
    rng = scene.rng
    if rng.random() < 0.5:
        crests = noise(rng, scene.shape, 7, gain=0.8, stretch=2.5, angle=rng.uniform(0, 3)) - rng.uniform(2.6, 3.4)
        scene.ground = mix(scene.ground, (0.6, 0.64, 0.65), 0.8 * crests * ~scene.closed)


def choose(rng: np.random.Generator, *options: tuple[Callable, float]) -> Callable:
    """Draw one of the options (thing, weight)."""
    things, weights = zip(*options, strict=True)
    return things[rng.choice(len(things), p=np.array(weights) / sum(weights))]


KINDS = (
    (airfield, 0.20),
    (open_sea, 0.13),
    (harbor, 0.07),
    (tank_farm, 0.10),
    (sports_ground, 0.10),
    (dwelling, 0.06),
    (island, 0.09),
    (lake, 0.08),
    (river, 0.07),
    (road, 0.04),
    (nothing, 0.06),
)
"""Every kind of scene and its part of a set."""


def kind_at(part: float) -> Callable[[Scene], None]:
    """Return the kind of scene at a position in [0, 1) along `KINDS`."""
    ends = np.cumsum([weight for _, weight in KINDS])
    return KINDS[int(np.searchsorted(ends / ends[-1], part, side="right"))][0]
