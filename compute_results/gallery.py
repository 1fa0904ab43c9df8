"""Look at maps: rows of image | mask | each method's map | overlay, as one picture.

    python compute_results/gallery.py (--images DIR --masks DIR | --dataset NAME --root DIR [--split SPLIT])
        --maps METHOD=DIR [METHOD2=DIR …] --output FILE.png
        [--rows N [--show {spread,best,worst,differ}] | --stems STEM …]

`best` and `worst` go by the last method's Sm (protocol authors), which is then written beside the image; `differ` shows
the images on which the first and the last method's maps differ most. The overlay lays the last method's map over the
image in red, with the mask's outline in green.
"""

import argparse
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageFilter

from compute_results.matching import MapMask, match_maps
from compute_results.protocols.authors import score_image
from compute_results.table_config import maps_by_method
from datasets.catalog import Pair, find_pairs, pair_folders
from datasets.io import open_image, read_map, read_mask
from utils.files import atomic_write

CELL = 224
"""Side of one cell in pixels; images are squeezed to it as the network sees them."""


def overlay(image: Image.Image, saliency: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image with a map over it in red and the mask's outline in green.

    Args:
        image: RGB.
        saliency: the map, uint8, any size.
        mask: the mask, uint8, any size.

    Returns:
        CELL×CELL×3 uint8.
    """
    pixels = np.asarray(_cell(image)).astype(np.float32)
    strength = 0.6 * np.asarray(_cell(Image.fromarray(saliency)), dtype=np.float32)[..., None] / 255
    pixels = pixels * (1 - strength) + np.array([255, 40, 40], dtype=np.float32) * strength
    inside = _cell(Image.fromarray(mask)).point(lambda value: 255 * (value >= 128))
    outline = np.asarray(inside.filter(ImageFilter.MaxFilter(3))) != np.asarray(inside)
    pixels[outline] = (60, 230, 60)
    return pixels.astype(np.uint8)


def draw_gallery(rows: list[tuple[str, Path, Path, dict[str, Path]]], labels: dict[str, str] | None = None) -> bytes:
    """The picture as PNG, of rows (stem, image, mask, map by method); `labels` stand in the stems' place."""
    methods = list(rows[0][3])
    titles = ["image", "mask", *methods, "overlay"]
    figure = Figure(figsize=(1.6 * len(titles), 1.6 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, (stem, image_path, mask_path, maps) in zip(axes, rows, strict=True):
        image, mask = open_image(image_path), read_mask(mask_path)
        saliency = [read_map(maps[method]) for method in methods]
        cells = [np.asarray(_cell(image)), *(np.asarray(_cell(Image.fromarray(gray))) for gray in (mask, *saliency))]
        for cell, pixels in zip(line, [*cells, overlay(image, saliency[-1], mask)], strict=True):
            cell.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            cell.set(xticks=[], yticks=[])
        line[0].set_ylabel((labels or {}).get(stem, stem), fontsize=7)
    for cell, title in zip(axes[0], titles, strict=True):
        cell.set_title(title, fontsize=9)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    return picture.getvalue()


def choose(stems: list[str], count: int) -> list[str]:
    """`count` stems spread evenly over all of them."""
    if count >= len(stems):
        return stems
    return [stems[round(index * (len(stems) - 1) / max(count - 1, 1))] for index in range(count)]


def most_different(maps: dict[str, tuple[Path, Path]], count: int) -> list[str]:
    """The `count` stems whose two maps have the largest mean absolute difference, the largest first."""
    differences = {stem: _difference(*map(read_map, pair)) for stem, pair in maps.items()}
    return sorted(differences, key=differences.get, reverse=True)[:count]


def by_quality(maps: dict[str, tuple[Path, Path]], count: int, worst: bool = False) -> dict[str, float]:
    """Sm (protocol authors) of the `count` best or worst of (map, mask) files by stem, the most telling first."""
    scores = {stem: score_image(read_map(ours), read_mask(mask)).figures["Sm"] for stem, (ours, mask) in maps.items()}
    order = sorted(scores, key=scores.get, reverse=not worst)
    return {stem: scores[stem] for stem in order[:count]}


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mean absolute difference of two uint8 maps, which may differ in size."""
    return float(
        np.abs(np.asarray(_cell(Image.fromarray(ours)), int) - np.asarray(_cell(Image.fromarray(theirs)))).mean()
    )


def _cell(image: Image.Image) -> Image.Image:
    return image.resize((CELL, CELL), Image.Resampling.BILINEAR)


def _find_pairs(options: argparse.Namespace) -> list[Pair]:
    if options.images and options.masks and not (options.dataset or options.root):
        return pair_folders(options.images, options.masks)
    if options.dataset and options.root and not (options.images or options.masks):
        return find_pairs(options.dataset, options.root, options.split)
    raise ValueError("give either --images DIR and --masks DIR, or --dataset NAME and --root DIR")


def _find_rows(options: argparse.Namespace) -> tuple[list[tuple[str, Path, Path, dict[str, Path]]], dict[str, str]]:
    """Rows as `draw_gallery` takes them, and their labels."""
    pairs = {pair.stem: pair for pair in _find_pairs(options)}
    maps: dict[str, dict[str, MapMask]] = {}
    for method, folder in maps_by_method(options.maps).items():
        found = match_maps({stem: pair.mask for stem, pair in pairs.items()}, folder).pairs
        maps[method] = {match.stem: match for match in found}
    drawable = [stem for stem in pairs if all(stem in found for found in maps.values())]
    unknown = [stem for stem in options.stems or () if stem not in drawable]
    if unknown or not drawable:
        raise ValueError(f"no map of every method for {', '.join(unknown) or 'any image'}: check --maps and --stems")
    stems, labels = options.stems or choose(drawable, options.rows), {}
    first, last = next(iter(maps.values())), list(maps.values())[-1]
    if options.show == "differ":
        stems = most_different({stem: (first[stem].map, last[stem].map) for stem in drawable}, options.rows)
    elif options.show in ("best", "worst"):
        files = {stem: (last[stem].map, pairs[stem].mask) for stem in drawable}
        scores = by_quality(files, options.rows, options.show == "worst")
        stems, labels = list(scores), {stem: f"{stem}: Sm {score:.3f}" for stem, score in scores.items()}
    rows = [
        (stem, pairs[stem].image, pairs[stem].mask, {method: found[stem].map for method, found in maps.items()})
        for stem in stems
    ]
    return rows, labels


def main() -> None:
    """Draw one gallery."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    parser.add_argument("--masks", type=Path, metavar="DIR", help="folder of masks")
    parser.add_argument("--dataset", metavar="NAME", help="instead of both: a data set by name")
    parser.add_argument("--root", type=Path, metavar="DIR", help="with --dataset: its folder")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="with --dataset (default: test)")
    parser.add_argument("--maps", nargs="+", required=True, metavar="METHOD=DIR", help="folders of maps")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the PNG to write")
    parser.add_argument("--rows", type=int, default=8, metavar="N", help="images to show (default: 8)")
    parser.add_argument("--stems", nargs="+", metavar="STEM", help="these images instead")
    parser.add_argument("--show", choices=("spread", "best", "worst", "differ"), help="which (default: spread)")
    options = parser.parse_args()
    try:
        if options.show and options.stems:
            raise ValueError("--show chooses the images itself: give it, or --stems")
        if options.show == "differ" and len(options.maps) < 2:
            raise ValueError("--show differ compares two methods: give two to --maps")
        if options.rows < 1:
            raise ValueError(f"--rows {options.rows}: at least 1")
        rows, labels = _find_rows(options)
        atomic_write(options.output, draw_gallery(rows, labels))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: {len(rows)} images")


if __name__ == "__main__":
    main()
