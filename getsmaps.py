"""Images become saliency map files.

python getsmaps.py --input PATH --output DIR         # by the light network in weights/
python getsmaps.py --dataset ORSSD --root DATA/ORSSD --output DIR
python getsmaps.py --weights runs/NAME/best.safetensors …
python getsmaps.py --weights NAME.xml …              # what inference.export made of it
torchrun --nproc_per_node 4 getsmaps.py …        # or accelerate launch: the processes share the images
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datasets.catalog import DATASETS, find_images, images_at
from datasets.io import read_pixels
from inference.backends import BACKENDS, Backend, open_backend
from inference.distributed import Processes
from inference.maps import gray_map, write_map
from inference.pipeline import make_maps, worker_count
from inference.timing import Rates, Stages
from inference.tta import TTA_MODES, mean_over_symmetries
from models.hosts import run_host_file
from models.weights import LIGHT
from utils.devices import PRECISIONS, keep_freed_memory, thread_count

USAGE = "getsmaps.py [--weights FILE] (--input PATH | --dataset NAME --root DIR [--split SPLIT]) --output DIR [options]"
WEIGHTS = """.safetensors of a training run or pruned network, or what inference.export made of one: .onnx, .xml
(default: the light network in weights/)"""
INPUT = """an image; a folder, whose sub-folders are searched too and kept in the output; or a list: a text file of
images, one a line, relative to the list's own folder"""
SIZE = """'network': twice the network's input, the paper's 448x448 (default); 'original': each image's own size, the
saliency being resized bilinearly before it becomes gray"""
RAW = """write sigmoid x 255 as it is; otherwise the release's rule: a map that nowhere exceeds 0.25 loses what is under
0.25, any other is stretched to 0..255 (values are cut off, not rounded, in both)"""
SYMMETRIC = """the mean of the maps of the image and its mirror image (2 passes: half as fast), or of its eight mirror
images and rotations (8 passes)"""
EPILOG = """A broken image is reported and skipped; the rest is written, and the exit status is then 1. Maps are written
whole or not at all. Two images that would write the same map stop it before anything is written. Launched by torchrun
or accelerate launch, several processes share the images, a batch after another, each on its own GPU. The last line says
how many images a second each stage could do alone (on the CPU they share the cores), and which was the bound."""


def parse_arguments() -> argparse.Namespace:
    """The command line; what contradicts itself stops here."""
    description = "Write the saliency map of every image as an 8-bit gray PNG, <stem>.png."
    parser = argparse.ArgumentParser(usage=USAGE, description=description, epilog=EPILOG)
    add = parser.add_argument
    add("--weights", type=Path, metavar="FILE", default=LIGHT, help=WEIGHTS)
    add("--host-file", type=Path, metavar="FILE.py", help="runs it: it registers the network, where it is your own")
    add("--input", type=Path, metavar="PATH", help=INPUT)
    add("--dataset", metavar="NAME", help=f"instead of --input: {', '.join(DATASETS)}")
    add("--root", type=Path, metavar="DIR", help="the data set's folder, with --dataset")
    add("--split", choices=("train", "test"), help="part of the data set, with --dataset (default: test)")
    add("--output", type=Path, metavar="DIR", required=True, help="folder for the maps, made where it does not exist")
    add("--suffix", default="", help="put between <stem> and .png: _ASRNet_YCbCr_final is the release's way")
    add("--size", choices=("network", "original"), default="network", help=SIZE)
    add("--raw", action="store_true", help=RAW)
    add("--symmetries", choices=tuple(TTA_MODES), help=SYMMETRIC)
    add("--resume", action="store_true", help="keep the maps that are there; otherwise they are replaced")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto, a GPU where there is one")
    add("--backend", choices=tuple(BACKENDS), help="what runs the network (default: torch, or what an export is for)")
    add("--precision", choices=(*PRECISIONS, "int8"), help="default: the export's own, or fp32; fp16 needs a GPU")
    add(
        "--threads", type=int, metavar="N", help="that the network computes on (default: OMP_NUM_THREADS, or the cores)"
    )
    add("--batch-size", type=int, default=16, metavar="N", help="images that the network gets at once (default: 16)")
    options = parser.parse_args()
    if (options.input is None) == (options.dataset is None):
        parser.error("give either --input PATH or --dataset NAME --root DIR")
    if options.dataset and options.root is None:
        parser.error("--dataset needs --root, the folder that the data set is in")
    if options.input and (options.root or options.split):
        parser.error("--root and --split go with --dataset, not with --input")
    if options.batch_size < 1:
        parser.error(f"--batch-size must be at least 1, not {options.batch_size}")
    if Path(f"x{options.suffix}").name != f"x{options.suffix}":
        parser.error(f"--suffix must be part of a file name, not {options.suffix!r}")
    return options


def find_asked(options: argparse.Namespace) -> list[tuple[str, str]]:
    """(stem, image) of what was asked; ValueError where a map would land on one of the images."""
    if options.output.exists() and not options.output.is_dir():
        raise ValueError(f"--output {options.output} is a file: give a folder")
    if options.dataset:
        found = find_images(options.dataset, options.root, options.split or "test")
        images = [(stem, str(image)) for stem, image in found]
    else:
        if options.input.is_dir() and options.output.resolve() == options.input.resolve():
            raise ValueError(f"--output {options.output} is --input too: maps would be taken for images the next time")
        images = images_at(options.input, leave_out=options.output)
    there = {identity(target) for stem, _ in images if (target := target_of(stem, options)).exists()}
    for _, image in images if there else ():
        if os.path.exists(image) and identity(image) in there:
            raise ValueError(f"{image} would be overwritten by a map: give another --output, or a --suffix")
    return images


def target_of(stem: str, options: argparse.Namespace) -> Path:
    """The file of an image's map."""
    return options.output / f"{stem}{options.suffix}.png"


def identity(path: Path | str) -> tuple[int, int]:
    """What all names of one file have in common."""
    found = os.stat(path)
    return found.st_dev, found.st_ino


def plan(options: argparse.Namespace) -> tuple[list[tuple[str, str]], int]:
    """(stem, image) of what is left to do, and how many maps are kept. Raises what `find_asked` raises.

    Files become paths one at a time, when it is their turn: of a million, the paths alone would take a gigabyte.
    """
    images = find_asked(options)
    left = [(stem, image) for stem, image in images if not (options.resume and target_of(stem, options).is_file())]
    return left, len(images) - len(left)


def report(results: Iterable[tuple[Path, str | None]], count: int, processes: Processes) -> int:
    """Show progress and, as it comes, what is broken; the number of maps written."""
    written = 0
    whose = f"maps of process 1 of {processes.count}" if processes.count > 1 else "maps"
    with tqdm(results, total=count, unit="image", desc=whose, disable=not processes.is_main) as bar:
        for _, problem in bar:
            if problem is None:
                written += 1
            else:
                tqdm.write(f"skipped: {problem}", file=sys.stderr)
    return written


def main() -> None:
    """Make the maps."""
    try:
        processes = Processes()
    except ValueError as error:
        sys.exit(f"error: {error}")
    with processes.one_voice():
        options = parse_arguments()
    keep_freed_memory()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"

    def write(target: Path, saliency: np.ndarray, own_size: tuple[int, int]) -> None:
        write_map(target, gray_map(saliency, own_size if options.size == "original" else None, options.raw))

    def load() -> Backend:
        if options.host_file:
            run_host_file(options.host_file)
        wanted = (options.backend, options.weights, options.device, options.precision, options.threads)
        network = open_backend(*wanted, processes.local)
        # What compiles does so now, and what cannot run says so before anything is written.
        network(np.zeros((min(options.batch_size, len(left) or 1), *network.input_size, 3), np.uint8))
        return network

    def make() -> tuple[int, Rates]:
        mine = processes.part(left, options.batch_size)
        jobs = ((Path(image), target_of(stem, options)) for stem, image in mine)
        read = partial(read_pixels, size=network.input_size)
        on_cpu = network.device.type == "cpu"
        stages = Stages(worker_count(on_cpu), thread_count() if on_cpu else None)
        try:
            run = mean_over_symmetries(network, options.symmetries) if options.symmetries else network
            results = make_maps(jobs, read, run, write, options.batch_size, stages)
            return report(results, len(mine), processes), stages.rates(len(mine))
        except (OSError, ValueError) as error:
            processes.tell(f"stops: {error}")
            raise

    try:
        left, kept = processes.from_main(partial(plan, options))
        network = processes.together(load)
        start = time.perf_counter()
        counts, rates = zip(*processes.gathered(processes.together(make)), strict=True)
        written, seconds = sum(counts), time.perf_counter() - start
    except (OSError, ValueError) as error:
        processes.stop(f"error: {error}")
    if processes.is_main:
        there = f" ({kept} more were there)" if kept else ""
        speed = f"{seconds:.1f} s, {written / seconds:.1f} images per second"
        where = f"{network.device.type} in {network.precision} by {network.name}"
        crew = f", {processes.count} processes" if processes.count > 1 else ""
        stages = f"; {Rates.of_all(rates)}" if left else ""
        print(f"{written} images to {options.output}{there}: {speed} on {where}{crew}{stages}", flush=True)
    if missing := len(left) - written:
        processes.stop(f"error: {missing} of {len(left)} images have no map, see above; the others are written")


if __name__ == "__main__":
    main()
