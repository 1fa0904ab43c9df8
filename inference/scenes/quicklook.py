"""Draw a scene, its saliency and the outlines of its objects as one small picture."""

import math
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from inference.scenes.output import map_strips
from inference.scenes.work import NODATA
from utils.files import atomic_file

LEAST_SIDE = 360
"""Panels of smaller scenes are enlarged to this width or height."""
MARGIN, CAPTION = 12, 30
BACKGROUND, INK, OUTLINE, UNSEEN = (255, 255, 255), (40, 40, 40), (255, 0, 200), (200, 200, 200)
RAMP = cv2.COLORMAP_VIRIDIS

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write_quicklook(path: Path, look: np.ndarray, map_file: Path, cell: int, threshold: float, title: str) -> None:
    """Write the picture as PNG, atomically.

    Args:
        path: the file.
        look: the scene, h×w×3 uint8; each pixel is the mean of `cell`×`cell` pixels.
        map_file: the scene's map.
        cell: side of a cell in pixels.
        threshold: least saliency of an object's pixels. A cell is in an object if one of its pixels is.
        title: what to write above the scene.

    Raises:
        OSError, ValueError: the map cannot be read, or the file cannot be written.
    """
    mean, maximum = cell_statistics(map_file, cell, look.shape[:2])
    unseen = np.isnan(mean)
    scene = look.copy()
    scene[unseen] = UNSEEN
    levels = (np.nan_to_num(mean) * 255).astype(np.uint8)
    colored = cv2.applyColorMap(levels, RAMP)[..., ::-1].copy()
    colored[unseen] = UNSEEN
    factor = max(math.ceil(LEAST_SIDE / max(look.shape[:2])), 1)
    objects = (maximum >= threshold - 1e-6).astype(np.uint8)
    panels = [_enlarged(panel, factor) for panel in (scene, colored, scene)]
    panels[2] = _outlined(panels[2], _enlarged(objects, factor))
    captions = (title, "saliency, 0", f"objects: saliency of at least {threshold:g}")
    picture = _arranged([Image.fromarray(np.ascontiguousarray(panel)) for panel in panels], captions)
    with atomic_file(path) as file:
        picture.save(file, "PNG", compress_type=zlib.Z_DEFAULT_STRATEGY)


def cell_statistics(map_file: Path, cell: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the maximum of each cell's saliency, h×w float32; NaN where nothing was seen."""
    total, count = np.zeros(shape), np.zeros(shape)
    maximum = np.full(shape, -1.0, np.float32)
    starts = np.arange(0, shape[1]) * cell
    for top, values in map_strips(map_file):
        scale = 255 if values.dtype == np.uint8 else 1
        seen = values != NODATA["uint8"] if scale == 255 else ~np.isnan(values)
        shown = np.where(seen, values, 0)
        rows = (top + np.arange(len(values))) // cell
        np.add.at(total, rows, np.add.reduceat(shown, starts, axis=1, dtype=np.float64) / scale)
        np.add.at(count, rows, np.add.reduceat(seen, starts, axis=1, dtype=np.float64))
        lowered = np.where(seen, values, 0).astype(np.float32) / scale
        np.maximum.at(maximum, rows, np.maximum.reduceat(lowered, starts, axis=1))
    mean = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)
    return mean.astype(np.float32), maximum


def _enlarged(panel: np.ndarray, factor: int) -> np.ndarray:
    return panel.repeat(factor, axis=0).repeat(factor, axis=1)


def _outlined(panel: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return a panel with a line around each object, so that an object of one cell is seen too."""
    grown = cv2.dilate(cv2.copyMakeBorder(objects, 1, 1, 1, 1, cv2.BORDER_REPLICATE), np.ones((3, 3), np.uint8))
    drawn = panel.copy()
    drawn[(grown[1:-1, 1:-1] > 0) & (objects == 0)] = OUTLINE
    return drawn


def _arranged(panels: list[Image.Image], captions: tuple[str, ...]) -> Image.Image:
    """Return the panels with their captions: side by side, or one below the other where they are wide."""
    width, height = panels[0].size
    below = width > 1.6 * height
    cell_width, cell_height = max(width, LEAST_SIDE) + MARGIN, height + CAPTION + MARGIN
    across, down = (1, 3) if below else (3, 1)
    picture = Image.new("RGB", (across * cell_width + MARGIN, down * cell_height + MARGIN), BACKGROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=16)
    for i, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
        left, top = MARGIN + (0 if below else i * cell_width), MARGIN + (i * cell_height if below else 0)
        draw.text((left, top), _cut(caption, font, cell_width - MARGIN), INK, font)
        picture.paste(panel, (left, top + CAPTION))
        if i == 1:
            _draw_ramp(picture, draw, font, left + round(font.getlength(caption)) + 6, top)
    return picture


def _draw_ramp(picture: Image.Image, draw: ImageDraw.ImageDraw, font: Font, left: int, top: int) -> None:
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], RAMP)[..., ::-1]
    picture.paste(Image.fromarray(np.ascontiguousarray(ramp)).resize((120, 14)), (left, top + 4))
    draw.text((left + 126, top), "1", INK, font)


def _cut(text: str, font: Font, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
