"""A picture of validation images beside their masks, saliency maps and super-resolved images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from models.resize import bicubic_double
from models.sral import SRAL
from utils.files import atomic_file

TILE = 224
GAP = 4
CAPTION = 18


@torch.inference_mode()
def validation_columns(
    network: SRAL, views: dict[str, Tensor], to_rgb: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Return the columns of a picture: validation views and the training network's outputs.

    Args:
        network: the training network; its mode is kept.
        views: `rgb`, `ycbcr`, `sr_target` and `mask` of B images.
        to_rgb: YCbCr to RGB, in [0, 1].

    Returns:
        Caption → B×1×H×W or B×3×H×W in [0, 1].
    """
    training = network.training
    outputs = network.eval()(views["rgb"], views["ycbcr"])
    network.train(training)
    columns = {"image": to_rgb(views["sr_target"]), "mask": views["mask"], "map": outputs["logits1"].float().sigmoid()}
    if network.asrd is not None:
        columns["SR input, bicubic"] = to_rgb(bicubic_double(views["ycbcr"]))
        made = network.asrd.trained_image(outputs["sr_residual"], views["ycbcr"])
        columns["SR output"] = to_rgb(made.float())
        columns["SR target"] = columns["image"]
    return {caption: images.cpu() for caption, images in columns.items()}


def validation_sheet(
    columns: dict[str, Tensor],
    stems: Sequence[str],
    title: str,
    notes: Mapping[str, Sequence[str]] | None = None,
) -> Image.Image:
    """Draw `validation_columns` side by side: a row for each image, with its stem.

    Args:
        columns: images by caption.
        stems: one for each row.
        title: line above the columns.
        notes: by caption, a line at the foot of each of the column's images.
    """
    rows = len(stems)
    size = (len(columns) * (TILE + GAP) + GAP, rows * (TILE + GAP) + GAP + 2 * CAPTION)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    pen.text((GAP, 2), title, "black", font)
    written: dict[str, Any] = {"fill": "yellow", "font": font, "stroke_width": 1, "stroke_fill": "black"}
    for column, (caption, images) in enumerate(columns.items()):
        left = GAP + column * (TILE + GAP)
        pen.text((left, CAPTION), caption, "black", font)
        for row, image in enumerate(images):
            pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            tile = Image.fromarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)
            upper = 2 * CAPTION + row * (TILE + GAP)
            sheet.paste(tile.resize((TILE, TILE), Image.Resampling.BILINEAR), (left, upper))
            if column == 0:
                pen.text((left + 3, upper + 2), stems[row], **written)
            if notes and caption in notes:
                pen.text((left + 3, upper + TILE - CAPTION), notes[caption][row], **written)
    return sheet


def write_sheet(path: Path, sheet: Image.Image) -> None:
    """Write a picture as a PNG file."""
    with atomic_file(path) as file:
        sheet.save(file, "PNG")


def draw_validation(
    path: Path,
    columns: dict[str, Tensor],
    stems: Sequence[str],
    title: str,
    notes: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write what `validation_sheet` draws as a PNG file."""
    write_sheet(path, validation_sheet(columns, stems, title, notes))
