"""Draw saliency maps to look at: rows of image, mask, each method's map, and overlay, in one picture.

    python compute_results/gallery.py --dataset ORSSD --root data/ORSSD --output maps.png \\
        --maps HFANet-R=maps/HFANet_R SRAL=runs/demo/maps
    python compute_results/gallery.py --images data/mine/images --masks data/mine/labels --maps SRAL=maps/mine \\
        --output maps.png --show worst --num-images 4

The overlay shows the last method's map in red over the image, and the mask's outline in green.

--show chooses the images:

    spread   evenly over all images, in the order of their names (the default)
    best     those with the highest Sm of the last method (protocol authors); the row shows the Sm
    worst    those with the lowest Sm of the last method
    differ   those where the maps of the first and the last method differ most
"""

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import numpy as np
from PIL import Image, ImageFilter

from compute_results.matching import match_maps
from compute_results.options import CommandParser, dots_per_inch, maps_by_method
from compute_results.protocols.authors import score_image
from datasets.catalog import DATASETS, Pair, find_pairs, pair_folders
from datasets.io import open_image, read_map, read_mask
from utils.files import atomic_write
from utils.outputs import check_file, refuse_inputs
from utils.text import encodable

CELL = 224
"""Side of one cell in pixels; images are resized to it without keeping their aspect ratio, as for the network."""


FORMATS = {".png": "png", ".pdf": "pdf", ".svg": "svg", ".eps": "eps", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp",
           ".tif": "tiff", ".tiff": "tiff"}  # fmt: skip
"""matplotlib's formats by the suffix of the file."""


class Row(NamedTuple):
    """One row: the text beside it, its files, and the map of each method."""

    label: str
    image: Path
    mask: Path
    maps: dict[str, Path]


def overlay(image: Image.Image, saliency: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw a map in red over an image, and the mask's outline in green.

    Args:
        image: RGB.
        saliency: the map, uint8, any size.
        mask: the mask, uint8, any size.

    Returns:
        CELL×CELL×3 uint8.
    """
    strength = np.float32(0.6) * np.asarray(_cell(saliency), dtype=np.float32)[..., None] / 255
    red = np.array([255, 40, 40], dtype=np.float32)
    pixels = (np.asarray(_cell(image), dtype=np.float32) * (1 - strength) + red * strength).astype(np.uint8)
    inside = _cell(mask).point(lambda value: 255 * (value >= 128))
    outline = np.asarray(inside.filter(ImageFilter.MaxFilter(3))) != np.asarray(inside)
    pixels[outline] = (60, 230, 60)
    return pixels


def draw_gallery(rows: Sequence[Row], kind: str = "png", dpi: int = 160) -> bytes:
    """Return the picture in a format of `FORMATS`; every row has the methods of the first. A cell has 1.6 inches."""
    from matplotlib import rc_context  # it takes a second: import it when the input is known to be good
    from matplotlib.figure import Figure

    titles = ["image", "mask", *rows[0].maps, "overlay"]
    with rc_context({"text.parse_math": False}):  # a name may hold dollar signs
        figure = Figure(figsize=(1.6 * len(titles) + 0.3, 1.6 * len(rows) + 0.3), layout="constrained")
        axes = figure.subplots(len(rows), len(titles), squeeze=False)
        for line, row in zip(axes, rows, strict=True):
            image, mask = open_image(row.image), read_mask(row.mask)
            maps = [read_map(path) for path in row.maps.values()]
            pictures: list[Image.Image | np.ndarray] = [image, mask, *maps, overlay(image, maps[-1], mask)]
            for cell, picture in zip(line, pictures, strict=True):
                cell.imshow(_cell(picture), cmap="gray", vmin=0, vmax=255)
                cell.set(xticks=[], yticks=[])
            line[0].set_ylabel(_shortened(row.label), fontsize=7)
        for cell, title in zip(axes[0], titles, strict=True):
            cell.set_title(_shortened(title), fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=dpi, metadata={"CreationDate": None} if kind == "pdf" else None)
    return content.getvalue()


def choose(stems: list[str], count: int) -> list[str]:
    """Return `count` stems spread evenly over all of them."""
    if count >= len(stems):
        return stems
    return [stems[round(index * (len(stems) - 1) / max(count - 1, 1))] for index in range(count)]


def most_different(maps: Mapping[str, tuple[Path, Path]], count: int) -> list[str]:
    """Return the `count` stems whose two maps have the largest mean absolute difference, the largest first."""
    differences = {stem: _difference(read_map(first), read_map(second)) for stem, (first, second) in maps.items()}
    return sorted(differences, key=lambda stem: differences[stem], reverse=True)[:count]


def by_quality(files: Mapping[str, tuple[Path, Path]], count: int, worst: bool = False) -> dict[str, float]:
    """Return Sm (protocol authors) by stem of the `count` best or worst (map, mask) files, the extreme first."""
    scores = {stem: score_image(read_map(one), read_mask(mask)).figures["Sm"] for stem, (one, mask) in files.items()}
    order = sorted(scores, key=lambda stem: scores[stem], reverse=not worst)
    return {stem: scores[stem] for stem in order[:count]}


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean absolute difference of two uint8 maps, which may differ in size."""
    return float(np.abs(np.asarray(_cell(first), int) - np.asarray(_cell(second))).mean())


def _cell(picture: Image.Image | np.ndarray) -> Image.Image:
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    return image.resize((CELL, CELL), Image.Resampling.BILINEAR)


def _shortened(text: str, limit: int = 26) -> str:
    """Return a text that fits beside a cell; of a long one the end, which tells stems apart."""
    text = encodable(text)
    return text if len(text) <= limit else "…" + text[1 - limit :]


def _find_pairs(options: argparse.Namespace) -> list[Pair]:
    if options.images and options.masks and not (options.dataset or options.root):
        return pair_folders(options.images, options.masks)
    if options.dataset and options.root and not (options.images or options.masks):
        return find_pairs(options.dataset, options.root, options.split)
    raise ValueError("give either --images DIR and --masks DIR, or --dataset NAME and --root DIR")


def _find_rows(options: argparse.Namespace) -> list[Row]:
    pairs = {pair.stem: pair for pair in _find_pairs(options)}
    masks = {stem: pair.mask for stem, pair in pairs.items()}
    maps: dict[str, dict[str, Path]] = {}
    for method, folder in maps_by_method(options.maps).items():
        maps[method] = {match.stem: match.map for match in match_maps(masks, folder).pairs}
    drawable = [stem for stem in pairs if all(stem in found for found in maps.values())]
    unknown = [stem for stem in options.stems or () if stem not in drawable]
    if unknown or not drawable:
        raise ValueError(f"no map of every method for {', '.join(unknown) or 'any image'}: check --maps and --stems")
    first, last = next(iter(maps.values())), list(maps.values())[-1]
    count, labels = options.num_images, {}
    if options.show == "differ":
        stems = most_different({stem: (first[stem], last[stem]) for stem in drawable}, count)
    elif options.show in ("best", "worst"):
        scores = by_quality({stem: (last[stem], masks[stem]) for stem in drawable}, count, options.show == "worst")
        stems, labels = list(scores), {stem: f"{stem}: Sm {score:.3f}" for stem, score in scores.items()}
    else:
        stems = options.stems or choose(drawable, count)
    return [
        Row(labels.get(stem, stem), pairs[stem].image, masks[stem], {name: found[stem] for name, found in maps.items()})
        for stem in stems
    ]


def main() -> None:
    """Run the command; bad input ends in one line on standard error and exit status 1."""
    options = _parser().parse_args()
    try:
        if options.show and options.stems:
            raise ValueError("--show chooses the images itself: give it, or --stems")
        if options.show == "differ" and len(options.maps) < 2:
            raise ValueError("--show differ compares two methods: give two to --maps")
        if options.num_images < 1:
            raise ValueError(f"--num-images {options.num_images}: give at least 1")
        kind = FORMATS.get(options.output.suffix.lower())
        if kind is None:
            raise ValueError(f"--output {options.output} is no picture: its suffix must be {', '.join(FORMATS)}")
        check_file(options.output)
        rows = _find_rows(options)
        for row in rows:
            refuse_inputs(options.output, [row.image, row.mask, *row.maps.values()])
        atomic_write(options.output, draw_gallery(rows, kind, options.dpi))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{options.output}: {len(rows)} images")


def _parser() -> CommandParser:
    parser = CommandParser(description=__doc__)
    source = parser.add_argument_group("images and masks: a known data set, or two folders")
    source.add_argument("--dataset", metavar="NAME", help=f"one of {', '.join(DATASETS)}")
    source.add_argument("--root", type=Path, metavar="DIR", help="with --dataset: its folder")
    source.add_argument("--split", choices=("train", "test"), default="test", help="with --dataset (default: test)")
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    source.add_argument("--masks", type=Path, metavar="DIR", help="folder of masks")
    parser.add_argument(
        "--maps", nargs="+", action="extend", required=True, metavar="METHOD=DIR", help="methods' folders of PNG maps"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=f"the picture: {', '.join(FORMATS)}")
    parser.add_argument("--num-images", type=int, default=8, metavar="N", help="images to show (default: 8)")
    parser.add_argument("--show", choices=("spread", "best", "worst", "differ"), help="which images (default: spread)")
    parser.add_argument("--stems", nargs="+", metavar="STEM", help="instead of --show: images by file name, no suffix")
    parser.add_argument("--dpi", type=dots_per_inch, default=160, metavar="N", help="dots per inch (default: 160)")
    parser.add_renamed("--rows", "--num-images")
    parser.add_renamed("--out", "--output")
    return parser


if __name__ == "__main__":
    command.run(main)
