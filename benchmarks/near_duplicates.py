"""Measure how many made near-duplicates of real images are found: `python -m benchmarks.near_duplicates`.

Each of some images is changed in each way, added to all real images, and searched for in one search.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from datasets.catalog import Pair, find_pairs
from datasets.descriptors import describe, transformed
from datasets.io import open_image, open_mask
from datasets.near_duplicates import Entry, find_near_duplicates, grouped

Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def turned(rgb: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one of the seven other symmetries."""
    symmetry = int(rng.integers(1, 8))
    return np.stack([transformed(rgb[..., channel], symmetry) for channel in range(3)], -1)


def cropped(rgb: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a crop of 80 % of each side, anywhere."""
    height, width = (round(0.8 * side) for side in rgb.shape[:2])
    top, left = rng.integers(rgb.shape[0] - height + 1), rng.integers(rgb.shape[1] - width + 1)
    return rgb[top : top + height, left : left + width]


def erased(rgb: np.ndarray, mask: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Return the image with the salient objects painted out."""
    around = cv2.dilate((mask > 127).astype(np.uint8), np.ones((9, 9)))
    return cv2.inpaint(np.ascontiguousarray(rgb), around, 3, cv2.INPAINT_TELEA)


def brightened(rgb: np.ndarray, _: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image with gain 0.6 to 1.4, an offset of up to 30 gray levels and gamma 0.8 to 1.25."""
    gain, offset, gamma = rng.uniform(0.6, 1.4), rng.uniform(-30, 30), rng.uniform(0.8, 1.25)
    return np.clip(255 * (rgb / 255) ** gamma * gain + offset, 0, 255).astype(np.uint8)


def same(rgb: np.ndarray, _: np.ndarray, __: np.random.Generator) -> np.ndarray:
    """Return the image."""
    return rgb


CHANGES: dict[str, tuple[tuple[Change, ...], int]] = {
    "recompressed (JPEG 30)": ((same,), 30),
    "turned or mirrored": ((turned,), 90),
    "brightness changed": ((brightened,), 90),
    "objects painted out": ((erased,), 90),
    "cropped to 80 % a side": ((cropped,), 90),
    "turned, painted out, brightness": ((erased, brightened, turned), 75),
    "turned, cropped to 80 %": ((cropped, turned), 75),
    "all of these": ((erased, brightened, cropped, turned), 50),
}
"""Changes in the order in which they are made, and the JPEG quality they are saved with."""


def main() -> None:
    """Print a table of recall by change."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.near_duplicates", description=main.__doc__)
    parser.add_argument("--dataset", default="ORSSD", metavar="NAME", help="a known data set (default: ORSSD)")
    parser.add_argument("--root", type=Path, default=Path("data/ORSSD"), metavar="DIR", help="its folder")
    parser.add_argument("--num-images", type=int, default=200, metavar="N", help="images that are changed")
    parser.add_argument("--seed", type=int, default=0, help="of their choice and of the changes")
    parser.add_argument("--scale-to", type=int, metavar="N", help="instead: time a search among N descriptors")
    options = parser.parse_args()
    pairs = find_pairs(options.dataset, options.root, "train")
    rng = np.random.default_rng(options.seed)
    with ThreadPool() as pool:
        real = pool.map(lambda pair: Entry("real", pair.stem, pair.image, describe(open_image(pair.image))), pairs)
    if options.scale_to:
        _time_search(real, options.scale_to, rng)
        return
    usable = [number for number, entry in enumerate(real) if not entry.descriptor.is_blank]
    chosen = rng.permutation(usable)[: options.num_images]
    small = {pairs[number].stem for number in chosen if _foreground(pairs[number]) <= 0.1}
    print(f"| change | recall of {len(chosen)} | of {len(small)} with at most 10 % of objects |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, (changes, quality) in CHANGES.items():
            made = []
            for number in chosen:
                pair, path = pairs[number], Path(folder) / f"{pairs[number].stem.replace('/', ' ')}.jpg"
                rgb, mask = np.asarray(open_image(pair.image)), np.asarray(open_mask(pair.mask))
                for change in changes:
                    rgb = change(rgb, mask, rng)
                Image.fromarray(np.ascontiguousarray(rgb)).save(path, quality=quality)
                made.append(Entry("made", pair.stem, path, describe(open_image(path))))
            groups = grouped(find_near_duplicates([*real, *made], {"real"}))
            found = set()
            for group in groups:
                names = {(entry.part, entry.stem) for entry in group}
                found |= {stem for _, stem in names if {("real", stem), ("made", stem)} <= names}
            shares = f"{len(found) / len(chosen):.3f} | {len(found & small) / max(len(small), 1):.3f}"
            print(f"| {name} | {shares} |", flush=True)


def _foreground(pair: Pair) -> float:
    """Return the part of the image that its objects cover."""
    return float(np.mean(np.asarray(open_mask(pair.mask)) > 127))


def _time_search(real: list[Entry], count: int, rng: np.random.Generator) -> None:
    """Print time and memory of a search among the real descriptors and mixtures of two, which share scenes."""
    real = [entry for entry in real if not entry.descriptor.is_blank]
    entries = list(real)
    while len(entries) < count:
        one, other = (real[number] for number in rng.integers(len(real), size=2))
        part, turned_other = rng.uniform(0.3, 0.7), transformed(other.descriptor.thumbnail, 4)
        pixels = part * one.descriptor.thumbnail + (1 - part) * turned_other
        mixed = describe(Image.fromarray(pixels.astype(np.uint8)))
        entries.append(Entry("made", str(len(entries)), one.path, mixed))
    start = time.perf_counter()
    pairs = find_near_duplicates(entries)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(entries)} images: {time.perf_counter() - start:.1f} s, peak {peak:.2f} GiB, {len(pairs)} pairs")


if __name__ == "__main__":
    command.run(main)
