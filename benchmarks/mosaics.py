"""Print how well networks find objects in a whole scene: by the windows' scale, with seams and false alarms.

The scene is a mosaic of a data set's images. Choose on training images; score the test split once, at the end.

python -m benchmarks.mosaics --dataset EORSSD --root DATA/EORSSD --num-images 200 --output runs/mosaics
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import itertools
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path

from models.shipped import LITE2

CONTEXTS = ("224", "320", "448", "640", "896", "320,640", "448,640", "224,448,896")


def parse_arguments() -> Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dataset", default="EORSSD", help="data set (default: EORSSD)")
    add("--root", type=Path, help="its folder")
    add("--split", choices=("train", "validation", "test"), default="train", help="part of it (default: train)")
    add("--exclude", nargs="*", default=[], metavar="STEM", help="training pairs to leave out")
    add("--validation", type=float, default=0.1, help="part that train.py holds back: the split validation")
    add("--num-images", type=int, metavar="N", help="images, drawn with --seed (default: all)")
    add("--seed", type=int, default=0, metavar="N", help="default: 0")
    add("--weights", type=Path, nargs="+", default=[LITE2], metavar="FILE", help="default: lite2")
    add("--context", nargs="+", default=CONTEXTS, metavar="PIXELS", help=f"default: {' '.join(CONTEXTS)}")
    add("--overlap", type=float, nargs="+", default=[0.5], metavar="FRACTION", help="of the scale table (default: 0.5)")
    add("--seam-overlap", type=float, nargs="*", default=[0, 0.25, 0.5], metavar="FRACTION", help="of the seam table")
    add("--backend", help="runtime (default: the fastest)")
    add("--precision", help="default: fp32")
    add("--threads", type=int, metavar="N", help="CPU threads (default: the cores)")
    add("--batch-size", type=int, metavar="N", help="default: 8 on a CPU")
    add("--tta", choices=("mirror", "eight"), help="test-time augmentation")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the mosaic")
    return parser.parse_args()


if __name__ == "__main__":
    command.answer_help(parse_arguments)  # before torch, which takes seconds

import cv2
import numpy as np

from benchmarks.mosaic import SIZES, Mosaic, build_mosaic, false_alarms, recalls, scores, seam_ratio
from datasets.catalog import Pair, find_pairs
from datasets.io import read_pixels
from datasets.split import VALIDATION_SEED, split_validation
from inference.distributed import ProcessGroup
from inference.maps import truncated
from inference.scenes.engine import make_bands
from inference.scenes.job import Job, Wishes
from inference.scenes.network import SceneNetwork
from inference.scenes.work import Work
from utils.text import one_line

SEAM_CONTEXT = "448"


def choose_pairs(options: Namespace) -> list[Pair]:
    """Return the pairs of the split; `validation` holds those that train.py holds back.

    Raises:
        OSError, ValueError: the data set cannot be read, or an excluded pair is not in it.
    """
    if options.split == "test":
        return find_pairs(options.dataset, options.root, "test")
    pairs = find_pairs(options.dataset, options.root, "train")
    held_back = options.validation if options.split == "validation" else 0.0
    training, validation = split_validation(pairs, held_back, VALIDATION_SEED, options.exclude)
    return validation if held_back else training


def scene_map(path: Path, wishes: Wishes, network: SceneNetwork, folder: Path) -> tuple[np.ndarray, Job]:
    """Return the map of a scene, H×W uint8, and its job; `folder` is used meanwhile."""
    job = Job.of(str(path), wishes, network.backend.input_size)
    work = Work(folder, job.grid, "uint8")
    work.start({}, resume=False)
    try:
        make_bands(job, work, list(range(job.grid.bands)), network.call, network.batch_size, lambda _: None)
        levels = np.fromfile(work.map_file, np.uint8).reshape(job.grid.height, job.grid.width)
    finally:
        work.remove()
    return levels, job


def single_maps(mosaic: Mosaic, images: dict[str, Path], network: SceneNetwork) -> np.ndarray:
    """Return the map of a mosaic whose images were seen one by one, as a whole: what windows cannot surpass."""
    levels = np.zeros(mosaic.mask.shape, np.uint8)
    for image in mosaic.images:
        pixels, _ = read_pixels(images[image.stem], network.backend.input_size)
        saliency = cv2.resize(
            network.call(pixels[None])[0], (image.width, image.height), interpolation=cv2.INTER_LINEAR
        )
        levels[image.slices] = truncated(saliency)
    return levels


def best_scale(maps: dict[float, np.ndarray], mosaic: Mosaic) -> np.ndarray:
    """Return the map in which each image is seen at the scale nearest to its longer side, as if that were known."""
    levels = np.zeros(mosaic.mask.shape, np.uint8)
    for image in mosaic.images:
        side = max(image.height, image.width)
        nearest = min(maps, key=lambda context: abs(np.log(context / side)))
        levels[image.slices] = maps[nearest][image.slices]
    return levels


def scale_table(mosaic: Mosaic, images: dict[str, Path], network: SceneNetwork, options: Namespace) -> Iterator[list]:
    """Yield the rows of the scale table: name, overlap, maxF, MAE, false alarms and the recalls by size."""
    yield _row("each image by itself", "", single_maps(mosaic, images, network), mosaic)
    for overlap in options.overlap:
        single: dict[float, np.ndarray] = {}
        for text in options.context:
            context = tuple(float(side) for side in text.split(","))
            wishes = Wishes(context=context, overlap=overlap)
            levels, _ = scene_map(mosaic.path, wishes, network, options.output / ".mosaic.unfinished")
            if len(context) == 1:
                single[context[0]] = levels
            yield _row(text, f"{overlap:g}", levels, mosaic)
        if len(single) > 1:
            yield _row("each area at its image's side", f"{overlap:g}", best_scale(single, mosaic), mosaic)


def seam_table(mosaic: Mosaic, network: SceneNetwork, options: Namespace) -> Iterator[list]:
    """Yield the rows of the seam table: overlap and ratio."""
    for overlap in options.seam_overlap:
        wishes = Wishes(context=(float(SEAM_CONTEXT),), overlap=overlap)
        levels, job = scene_map(mosaic.path, wishes, network, options.output / ".mosaic.unfinished")
        axes = [(scale.rows, scale.columns) for scale in job.grid.scales]
        yield [f"{overlap:g}", f"{seam_ratio(levels, mosaic, axes):.2f}"]


def _row(name: str, overlap: str, levels: np.ndarray, mosaic: Mosaic) -> list[str]:
    figures, (alarms, _) = scores(levels, mosaic), false_alarms(levels, mosaic)
    found = [f"{recall:.2f}" for recall, _ in recalls(levels, mosaic)]
    return [name, overlap, f"{figures['maxF']:.3f}", f"{figures['MAE']:.3f}", f"{alarms:.0%}", *found]


def print_table(title: str, header: list[str], rows: Iterable[list[str]]) -> None:
    """Print a table in Markdown, row by row."""
    print(f"\n{title}\n\n| {' | '.join(header)} |\n| {' | '.join('---' for _ in header)} |")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    """Build the mosaic and print the tables of every network."""
    options = parse_arguments()
    try:
        pairs = choose_pairs(options)
        if options.num_images and options.num_images < len(pairs):
            drawn = np.random.default_rng(options.seed).permutation(len(pairs))[: options.num_images]
            pairs = [pairs[i] for i in sorted(drawn)]
        mosaic = build_mosaic(pairs, options.output / "mosaic.tif")
        height, width = mosaic.mask.shape
        print(f"{len(pairs)} images of {options.dataset} {options.split} on {width}×{height} pixels: {mosaic.path}")
        print(f"{false_alarms(np.zeros_like(mosaic.mask), mosaic)[1]} windows without objects")
        sizes = [f"{low}–{high} px" for low, high in itertools.pairwise(SIZES)]
        counts = [count for _, count in recalls(np.zeros_like(mosaic.mask), mosaic)]
        classes = [f"{size} (n {count})" for size, count in zip(sizes, counts, strict=True)]
        images = {pair.stem: pair.image for pair in pairs}
        for weights in options.weights:
            network = SceneNetwork(
                Namespace(**vars(options) | {"weights": weights}, host_file=None, device="auto"), ProcessGroup()
            )
            header = ["context", "overlap", "maxF", "MAE", "false alarms", *classes]
            print_table(f"{weights.name} on {network}", header, scale_table(mosaic, images, network, options))
            if options.seam_overlap:
                title = f"Seams at a context of {SEAM_CONTEXT}"
                print_table(title, ["overlap", "seam ratio"], seam_table(mosaic, network, options))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {one_line(error)}")


if __name__ == "__main__":
    command.run(main)
