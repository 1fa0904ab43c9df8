"""Draw near-duplicates side by side."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from datasets.io import open_image
from datasets.near_duplicates import Entry, NearDuplicate
from utils.text import one_line

_SIDE, _GAP, _TEXT = 260, 12, 18
_COLUMNS, _ROWS = 3, 8
_MOST_PAGES = 40


def draw_pairs(pairs: Sequence[NearDuplicate], path: Path, suffix: str) -> None:
    """Draw the pairs, most similar first: all on pages of a PDF, or the first 24 in a PNG or JPEG.

    Args:
        path: the file to write.
        suffix: .pdf, .png, .jpg or .jpeg, whatever `path` is called.

    Raises:
        ValueError: another suffix.
    """
    formats = {".pdf": "PDF", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    if suffix.lower() not in formats:
        raise ValueError(f"--pictures cannot write {suffix or 'a file without suffix'}: name it .pdf, .png or .jpg")
    kind = formats[suffix.lower()]
    on_page = _COLUMNS * _ROWS
    starts = range(0, max(len(pairs), 1), on_page)[: _MOST_PAGES if kind == "PDF" else 1]
    pages = [_page(pairs[start : start + on_page], start, len(pairs)) for start in starts]
    more = {"save_all": True, "append_images": pages[1:]} if kind == "PDF" else {}
    with path.open("wb") as file:
        pages[0].save(file, kind, **more)


def _page(pairs: Sequence[NearDuplicate], start: int, total: int) -> Image.Image:
    columns = min(_COLUMNS, max(len(pairs), 1))
    rows = max(-(-len(pairs) // columns), 1)
    width, height = 2 * _SIDE + 4 + 2 * _GAP, _SIDE + 3 * _TEXT + _GAP
    page = Image.new("RGB", (columns * width, rows * height + 2 * _TEXT), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    shown = f"Near-duplicates {start + 1} to {start + len(pairs)} of {total}" if pairs else "No near-duplicates"
    draw.text((_GAP, _GAP // 2), shown, "black", font)
    for number, pair in enumerate(pairs):
        left, top = number % columns * width + _GAP, number // columns * height + 2 * _TEXT
        for place, entry in enumerate((pair.first, pair.second)):
            x = left + place * (_SIDE + 4)
            draw.text((x, top), _fitted(f"{entry.part} {entry.stem}", font), "black", font)
            page.paste(_thumbnail(entry), (x, top + _TEXT))
        says = f"similarity {pair.similarity:.3f}{', ' * bool(pair.how)}{pair.how}"
        draw.text((left, top + _TEXT + _SIDE + 4), says, "black", font)
    return page


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return one line that is no wider than an image, its start cut off."""
    text = one_line(text)
    if font.getlength(text) <= _SIDE:
        return text
    while text and font.getlength("…" + text) > _SIDE:
        text = text[1:]
    return "…" + text


def _thumbnail(entry: Entry) -> Image.Image:
    """Return the image inside a gray square, or the square alone where the file is gone."""
    square = Image.new("RGB", (_SIDE, _SIDE), (235, 235, 235))
    try:
        image = open_image(entry.path)
    except ValueError:
        return square
    image.thumbnail((_SIDE, _SIDE))
    square.paste(image, ((_SIDE - image.width) // 2, (_SIDE - image.height) // 2))
    return square
