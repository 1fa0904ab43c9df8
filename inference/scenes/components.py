"""Find the connected objects of a map that comes in strips of rows, and their outlines, whole across the strips."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from datasets.raster import REQUIREMENTS
from utils.devices import optional


@dataclass
class Component:
    """Pixels that are connected by their sides.

    Attributes:
        pixels: how many they are.
        total, maximum: sum and maximum of their values.
        parts: outlines of the parts in each strip, shapely polygons in pixels, x rightward and y downward.
    """

    pixels: int
    total: float
    maximum: float
    parts: list[Any] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Return the mean of the values."""
        return self.total / self.pixels

    def absorb(self, other: "Component") -> None:
        """Add another component's pixels."""
        self.pixels, self.total = self.pixels + other.pixels, self.total + other.total
        self.maximum = max(self.maximum, other.maximum)
        self.parts += other.parts

    def rings(self) -> list[np.ndarray]:
        """Return the outline: its exterior and its holes, each a closed ring N×2 (x, y) of corners alone."""
        shapely = optional("shapely", REQUIREMENTS)
        polygon = self.parts[0] if len(self.parts) == 1 else shapely.union_all(self.parts)
        return [_corners(np.asarray(ring.coords)) for ring in (polygon.exterior, *polygon.interiors)]


def find_components(
    strips: Iterable[tuple[int, np.ndarray]], threshold: float, nodata: float, least: int = 1
) -> Iterator[Component]:
    """Yield every component as soon as no later strip can belong to it. Memory grows with the outlines of open ones.

    Args:
        strips: first row and values, H×W, of consecutive strips of rows.
        threshold: least value of an object's pixels.
        nodata: value of pixels that belong to nothing; NaN never reaches a threshold.
        least: components of fewer pixels are left out.
    """
    open_components = _Open()
    for top, values in strips:
        mask = (values >= threshold) & (values != nodata)
        yield from open_components.add(top, values, mask, least)
    yield from (component for component in open_components.all() if component.pixels >= least)


class _Open:
    """The components that reach the last row seen so far.

    Attributes:
        row: number of the component at each pixel of the last row; -1 elsewhere.
        components: by number.
    """

    def __init__(self) -> None:
        self.row: np.ndarray | None = None
        self.components: dict[int, Component] = {}

    def all(self) -> list[Component]:
        return list(self.components.values())

    def add(self, top: int, values: np.ndarray, mask: np.ndarray, least: int) -> Iterator[Component]:
        """Take a strip; yield the components that end above its last row and have `least` pixels."""
        count, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
        pixels = boxes[:, cv2.CC_STAT_AREA]
        links = self._links(labels[0])
        crossing = np.zeros(count, bool)
        crossing[labels[-1]] = True
        crossing[links[:, 1]] = True
        kept = crossing | (pixels >= least)
        kept[0] = False
        found = _components(top, values, labels, kept, count)
        for label in np.flatnonzero(kept & ~crossing):
            yield found[label]
        roots = self._join(found, links, np.flatnonzero(crossing & kept))
        last = np.array([roots.get(label, -1) for label in range(count)]) if roots else np.full(count, -1)
        self.row = last[labels[-1]]
        still_open = set(np.unique(self.row).tolist())
        for number in [number for number in self.components if number not in still_open]:
            component = self.components.pop(number)
            if component.pixels >= least:
                yield component

    def _links(self, first: np.ndarray) -> np.ndarray:
        """Return the distinct pairs of an open component's number and the label below it, N×2."""
        if self.row is None or not self.components:
            return np.empty((0, 2), np.int64)
        both = (self.row >= 0) & (first > 0)
        return np.unique(np.stack([self.row[both], first[both].astype(np.int64)], axis=1), axis=0)

    def _join(self, found: dict[int, Component], links: np.ndarray, crossing: np.ndarray) -> dict[int, int]:
        """Join the strip's crossing components to the open ones that they touch; return their numbers by label."""
        old = list(self.components)
        nodes = {("open", number): i for i, number in enumerate(old)}
        nodes |= {("new", int(label)): i + len(old) for i, label in enumerate(crossing)}
        parents = list(range(len(nodes)))

        def root(i: int) -> int:
            while parents[i] != i:
                parents[i] = i = parents[parents[i]]
            return i

        for number, label in links.tolist():
            one, other = root(nodes["open", number]), root(nodes["new", label])
            parents[max(one, other)] = min(one, other)
        joined: dict[int, Component] = {}
        for (kind, key), i in nodes.items():
            component = self.components[key] if kind == "open" else found[key]
            if root(i) in joined:
                joined[root(i)].absorb(component)
            else:
                joined[root(i)] = component
        self.components = joined
        return {int(label): root(nodes["new", int(label)]) for label in crossing}


def _components(top: int, values: np.ndarray, labels: np.ndarray, kept: np.ndarray, count: int) -> dict[int, Component]:
    """Return the kept components of a strip by their labels."""
    if not kept.any():
        return {}
    shapes = optional("rasterio.features", REQUIREMENTS).shapes
    affine = optional("rasterio.transform", REQUIREMENTS).Affine
    shapely = optional("shapely.geometry", REQUIREMENTS)
    inside = kept[labels]
    own, chosen = labels[inside], values[inside]
    pixels = np.bincount(own, minlength=count)
    totals = np.bincount(own, chosen.astype(np.float64), minlength=count)
    maxima = np.zeros(count, values.dtype)
    np.maximum.at(maxima, own, chosen)
    found = {
        int(i): Component(int(pixels[i]), float(totals[i]), float(maxima[i])) for i in np.flatnonzero(kept).tolist()
    }
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    origin = affine.translation(float(columns[0]), float(top + rows[0]))
    outlines = shapes(np.ascontiguousarray(labels[box]), mask=inside[box], connectivity=4, transform=origin)
    for geometry, label in outlines:
        found[int(label)].parts.append(shapely.shape(geometry))
    return found


def _corners(ring: np.ndarray) -> np.ndarray:
    """Return a closed ring without the points that lie on a straight edge."""
    points = ring[:-1]
    before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
    straight = ((before == points) & (points == after)).any(axis=1)
    corners = points[~straight]
    return np.concatenate([corners, corners[:1]])
