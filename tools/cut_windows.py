"""Cut a training set for whole scenes from an ordinary one: windows of many sizes, many of them without an object.

python -m tools.cut_windows --dataset EORSSD --root data/EORSSD --exclude 0003 --output data/eorssd_windows

Images are turned, rescaled and packed into mosaics; windows are cut from the mosaics at random places, across the
borders of images too, and resized to `--size`. Each image enters once more as a whole. train.py reads the result with
`--data.dataset folders`.
"""

from utils import command

if __name__ == "__main__":
    command.begin("--output is incomplete: remove it before the next run")  # before the imports, which take seconds

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.catalog import DATASETS, Pair, find_pairs
from datasets.io import resized
from datasets.mosaics import Sample, mosaic, pack
from datasets.pairs import inspect_pair, open_pair
from datasets.split import VALIDATION_SEED, split_validation
from utils.files import atomic_file
from utils.outputs import check_folder
from utils.progress import ProgressBar

IMAGES_PER_MOSAIC = 16
WINDOWS_PER_MOSAIC = 8
RESCALED = (0.6, 1.6)
"""Factors of an image's own size in a mosaic: the ground sampling distance of a scene is not that of the set."""
BOX_LIMIT = 0.85
"""A window is cut where images cover at least this part of it."""
LARGEST = 1600
"""Longest side of an image in a mosaic, in pixels."""


def parse_arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.cut_windows", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--dataset", required=True, metavar="NAME", help=f"{', '.join(DATASETS)}; its training split is read")
    add("--root", required=True, type=Path, metavar="DIR", help="the data set's folder")
    add("--exclude", nargs="*", default=[], metavar="STEM", help="pairs to leave out")
    add("--validation", type=float, default=0.1, help="part that train.py holds back; it is left out (default: 0.1)")
    add("--output", required=True, type=Path, metavar="DIR", help="gets images/ and masks/; must not exist")
    add("--num-windows", type=int, default=4000, metavar="N", help="windows besides the whole images (default: 4000)")
    add("--empty", type=float, default=0.4, help="part of the windows that hold no object (default: 0.4)")
    add("--sides", type=int, nargs=2, default=(160, 1000), metavar="N",
        help="least and greatest side of a window in the mosaic's pixels (default: 160 1000)")  # fmt: skip
    add("--size", type=int, default=448, metavar="N", help="side of the files written (default: 448)")
    add("--seed", type=int, default=2021)
    add("--workers", type=int, metavar="N", help="processes (default: one a core)")
    options = parser.parse_args()
    if not 32 <= options.sides[0] <= options.sides[1]:
        parser.error(f"--sides must be two sides from 32, the least first, not {options.sides}")
    if options.workers is not None and not 1 <= options.workers <= 1024:
        parser.error(f"--workers must be from 1 to 1024, not {options.workers}")
    if not 0 <= options.validation < 1:
        parser.error(f"--validation must be a part in [0, 1), not {options.validation:g}")
    if options.num_windows < 1 or not 32 <= options.size <= 4096 or not 0 <= options.empty <= 1:
        parser.error("--num-windows must be at least 1, --size 32 to 4096, --empty a part in [0, 1]")
    if options.output.exists():
        parser.error(f"--output {options.output} is there already: name a new folder")
    return options


def error_of(pair: Pair) -> str:
    """Return why a pair cannot be trained on, in one line, or ''."""
    return "; ".join(error.text for error in inspect_pair(pair).errors)


def drawn_sample(pair: Pair, generator: np.random.Generator) -> Sample:
    """Return a pair rescaled, and turned by one of the square's eight symmetries."""
    image, mask, _ = open_pair(pair)
    low, high = np.log(RESCALED)
    factor = min(float(np.exp(generator.uniform(low, high))), LARGEST / max(image.size))
    size = max(round(image.height * factor), 32), max(round(image.width * factor), 32)
    pixels, objects = np.asarray(resized(image, size)), np.asarray(resized(mask, size))
    turns, flipped = int(generator.integers(4)), bool(generator.integers(2))
    pixels, objects = np.rot90(pixels, turns), np.rot90(objects, turns)
    return (pixels[:, ::-1], objects[:, ::-1]) if flipped else (pixels, objects)


def draw_windows(
    image: np.ndarray,
    mask: np.ndarray,
    covered: np.ndarray,
    sides: Sequence[int],
    empty: float,
    generator: np.random.Generator,
) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns of windows, a part `empty` of them without an object.

    Sides are distributed log-uniformly. After 400 draws a kind of window that the mosaic does not have is given up.
    """  # fmt: skip
    height, width = mask.shape
    salient = mask >= 128
    for _ in range(WINDOWS_PER_MOSAIC):
        wanted_empty = generator.random() < empty
        for _ in range(400):
            low, high = np.log(sides[0]), np.log(min(sides[1], height, width))
            side = round(float(np.exp(generator.uniform(min(low, high), high))))
            top, left = (int(generator.integers(limit - side + 1)) for limit in (height, width))
            window = slice(top, top + side), slice(left, left + side)
            if covered[window].mean() >= BOX_LIMIT and salient[window].any() != wanted_empty:
                yield window
                break


def write_pair(output: Path, stem: str, image: Image.Image, mask: Image.Image, size: int) -> None:
    """Write a window and its mask at `size` pixels a side."""
    sides = (size, size)
    with atomic_file(output / "images" / f"{stem}.jpg") as file:
        resized(image, sides).save(file, "JPEG", quality=95, subsampling=0)
    with atomic_file(output / "masks" / f"{stem}.png") as file:
        resized(mask, sides).save(file, "PNG")


def write_mosaic(number: int, pairs: Sequence[Pair], options: argparse.Namespace) -> int:
    """Cut the windows of one mosaic and return how many there are."""
    generator = np.random.default_rng([options.seed, number])
    chosen = generator.choice(len(pairs), min(IMAGES_PER_MOSAIC, len(pairs)), replace=False)
    samples = [drawn_sample(pairs[index], generator) for index in chosen]
    sizes = [mask.shape for _, mask in samples]
    width = max(round(1.1 * sum(high * wide for high, wide in sizes) ** 0.5), *(wide for _, wide in sizes))
    places, height = pack(sizes, width)
    (image, mask), covered = mosaic(samples, places, height, width)
    count = 0
    for window in draw_windows(image, mask, covered, options.sides, options.empty, generator):
        pair = Image.fromarray(image[window]), Image.fromarray(mask[window])
        write_pair(options.output, f"window_{number:05d}_{count}", *pair, options.size)
        count += 1
    return count


def write_whole(pair: Pair, options: argparse.Namespace) -> int:
    """Write a whole image as one more pair."""
    image, mask, _ = open_pair(pair)
    write_pair(options.output, f"whole_{pair.stem}", image, mask, options.size)
    return 1


def main() -> None:
    """Cut the set. Bad input ends with one line on standard error and exit status 1."""
    options = parse_arguments()
    try:
        pairs = find_pairs(options.dataset, options.root, "train")
        training, _ = split_validation(pairs, options.validation, VALIDATION_SEED, options.exclude)
        check_folder(options.output)
        mosaics = range(-(-options.num_windows // WINDOWS_PER_MOSAIC))
        with ProcessPoolExecutor(options.workers) as pool:
            errors = list(pool.map(error_of, training, chunksize=16))
            sound = [pair for pair, error in zip(training, errors, strict=True) if not error]
            print("".join(f"left out: {error}\n" for error in errors if error), end="", file=sys.stderr)
            if not sound:
                raise ValueError(f"no training pair of {options.root} can be used: python -m datasets.check lists why")
            windows = pool.map(partial(write_mosaic, pairs=sound, options=options), mosaics)
            count = sum(ProgressBar(windows, total=len(mosaics), unit="mosaic"))
            whole = sum(pool.map(partial(write_whole, options=options), sound, chunksize=16))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{count} windows and {whole} whole images to {options.output}")
    if left := len(training) - len(sound):
        sys.exit(f"error: {left} of {len(training)} pairs cannot be used, see above; the set is made of the others")


if __name__ == "__main__":
    command.run(main)
