"""Render a small data set in ORSSD's layout: `python -m tools.make_sample ROOT [--train N --test N --seed N]`.

The repository holds such a set in datasets/sample, made with `--train 44 --test 16`; this command renders larger ones.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from tools.scenery.kinds import kind_at
from tools.scenery.scene import render_scene
from utils.files import temporary_folder
from utils.progress import ProgressBar

TRAIN, TEST, SEED = 200, 40, 2021
MARKER = "sample.json"
VERSION = 1
"""Raised whenever the same arguments give other pixels, so that an older set is not mistaken for a new one."""

GOLDEN = (5**0.5 - 1) / 2


def make_sample_set(
    root: Path | str, train: int = TRAIN, test: int = TEST, seed: int = SEED, workers: int | None = None
) -> Path:
    """Render the sample set, unless it is at `root` already, and return `root`.

    `root` gets `{train,test}-images/NNNN.jpg`, `{train,test}-labels/NNNN.png` (one channel, 0 or 255) and a marker file
    with the arguments. The set is written to a temporary folder and renamed when it is complete. The same arguments
    give the same bytes with the same Pillow and NumPy on the same kind of processor. A larger set contains the images
    of a smaller one.

    Args:
        root: the folder to write.
        train, test: number of pairs in each split, from 1.
        seed: seed of all images, from 0.
        workers: processes that render; None for one a core, at most 16. The bytes do not depend on it.

    Raises:
        ValueError: an argument is out of range, or `root` holds anything but this set.
    """
    root = Path(root)
    if train < 1 or test < 1 or seed < 0:
        raise ValueError(f"a sample set needs counts from 1 and a seed from 0, not {train}, {test} and {seed}")
    marker = json.dumps({"version": VERSION, "train": train, "test": test, "seed": seed}) + "\n"
    numbers = {"train": range(1, train + 1), "test": range(train + 1, train + test + 1)}
    if _is_there(root, marker, numbers):
        return root
    parent, name = root.absolute().parent, root.absolute().name
    with temporary_folder(parent) as scratch:
        unfinished = scratch / name
        tasks = []
        for which, (split, names) in enumerate(numbers.items()):
            for folder in ("images", "labels"):
                (unfinished / f"{split}-{folder}").mkdir(parents=True)
            tasks += [(unfinished, split, number, (seed, which, index)) for index, number in enumerate(names)]
        _render_all(tasks, workers or min(os.cpu_count() or 1, 16))
        (unfinished / MARKER).write_text(marker)
        unfinished.replace(root)
    return root


def _is_there(root: Path, marker: str, numbers: dict[str, Iterable[int]]) -> bool:
    """Return whether this set is there and complete; False where there is nothing or an empty folder.

    Raises:
        ValueError: there is something else, or files of the set are missing.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    if not (root / MARKER).is_file():
        raise ValueError(f"{root} already holds something else: name a new folder for the sample set")
    found = (root / MARKER).read_text()
    if found != marker:
        which = f"{found.strip()}, not {marker.strip()}"
        raise ValueError(f"{root} holds another sample set ({which}): remove it or name a new folder")
    files = [path for split, names in numbers.items() for number in names for path in _paths(root, split, number)]
    missing = [path for path in files if not path.is_file()]
    if missing:
        gone = f"{len(missing)} of its files are gone, the first {missing[0]}"
        raise ValueError(f"{root} is this sample set, but {gone}: remove it, to have it written anew")
    return True


def _paths(root: Path, split: str, number: int) -> tuple[Path, Path]:
    return root / f"{split}-images" / f"{number:04d}.jpg", root / f"{split}-labels" / f"{number:04d}.png"


def _render_all(tasks: list[tuple], workers: int) -> None:
    with ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as pool:
        done = pool.map(_render, tasks, chunksize=4) if pool else map(_render, tasks)
        for _ in ProgressBar(done, total=len(tasks), desc="rendering the sample set", unit="image", leave=False):
            pass


def _render(task: tuple[Path, str, int, tuple[int, int, int]]) -> None:
    root, split, number, key = task
    rng = np.random.default_rng(key)
    seed, which, index = key
    first = np.random.default_rng((seed, which)).random()
    image, mask = render_scene(
        rng, kind_at((first + index * GOLDEN) % 1)
    )  # any consecutive images have each kind's share
    image_path, mask_path = _paths(root, split, number)
    image.save(image_path, quality=int(rng.integers(78, 95)))
    mask.save(mask_path, optimize=True)


def main() -> None:
    """Render a sample set from the command line."""
    about = "Render a small data set in ORSSD's layout. The same arguments give the same images and masks."
    parser = argparse.ArgumentParser(prog="python -m tools.make_sample", description=about)
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder to write; kept where it holds the same set")
    parser.add_argument("--train", type=int, metavar="N", default=TRAIN, help="training pairs (default: %(default)s)")
    parser.add_argument("--test", type=int, metavar="N", default=TEST, help="test pairs (default: %(default)s)")
    parser.add_argument("--seed", type=int, metavar="N", default=SEED, help="seed of all images (default: %(default)s)")
    options = parser.parse_args()
    start = time.perf_counter()
    try:
        make_sample_set(options.root, options.train, options.test, options.seed)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    seconds = time.perf_counter() - start
    print(f"{options.root}: {options.train} training and {options.test} test pairs ({seconds:.1f} s)")


if __name__ == "__main__":
    command.run(main)
