"""Write the saliency map of every image as an 8-bit gray PNG.

python getsmaps.py --input PATH --output DIR         # with the network lite2 in weights/
python getsmaps.py --dataset ORSSD --root DATA/ORSSD --output DIR
python getsmaps.py --weights runs/NAME/best.safetensors …
python getsmaps.py --weights NAME.xml …              # a file that inference.export wrote
python getsmaps.py --scene --input SCENE.tif …       # a georeferenced raster of any size
torchrun --nproc_per_node 4 getsmaps.py …            # or accelerate launch: the processes share the images
"""

from utils import command

if __name__ == "__main__":
    # Before the imports, which take seconds.
    command.begin("the maps that are there are whole; the same command with --resume makes the others")

import argparse
import sys
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

from inference.distributed import ProcessGroup
from inference.options import add_dataset_options, add_map_options, add_network_options, check_options
from inference.plan import Plan, find_requested, plan_maps
from inference.reading import reading_of
from inference.scenes.options import add_scene_options

USAGE = "getsmaps.py [--weights FILE] (--input PATH | --dataset NAME --root DIR [--split SPLIT]) --output DIR [options]"
DESCRIPTION = "Write the saliency map of every image as an 8-bit gray PNG, <stem>.png."
INPUT = """an image; a folder, searched recursively, whose sub-folders are kept in the output; or a text file that lists
images, one path a line, relative to the file's own folder"""
EPILOG = """A broken image is reported and skipped; the exit status is then 1. Maps are written atomically. If two
images would have the same map, the command stops before it writes anything. Several processes, started by torchrun or
accelerate launch, share the images, each on its own GPU. The last line gives the throughput that each stage would have
alone (on the CPU the stages share the cores) and names the slowest."""


def parse_arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(usage=USAGE, description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    add = parser.add_argument
    add("--input", metavar="PATH", help=INPUT)
    add_dataset_options(parser)
    add("--output", type=Path, metavar="DIR", required=True, help="folder for the maps, created if missing")
    add_map_options(parser)
    add("--resume", action="store_true", help="keep existing maps; without --resume they are replaced")
    add_network_options(parser)
    add_scene_options(parser)
    options = parser.parse_args()
    check_options(parser, options)
    return options


def parse_input_size(text: str | None) -> tuple[int, int] | None:
    """Return (height, width) of 'N', a square, or 'H,W'. Raises ValueError for another text."""
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"--input-size {text}: write one number for a square, or HEIGHT,WIDTH, such as 448 or 448,320")
    return int(parts[0]), int(parts[-1])


def plan(options: argparse.Namespace) -> Plan:
    """Return the maps to make."""
    source = Path(options.input) if options.input else None
    images = find_requested(source, options.dataset, options.root, options.split or "test", options.output)
    planned = plan_maps(images, options.output, options.suffix, options.resume)
    reading, line = reading_of(options.bands, options.range, [image for _, image in images])
    if line:
        print(line, flush=True)
    return replace(planned, reading=reading)


def run_scenes(options: argparse.Namespace, processes: ProcessGroup) -> None:
    """Make the maps of whole scenes; errors as `main`."""
    from inference.fastest import for_scenes
    from inference.scenes.run import make_scenes

    try:
        for_scenes(options, processes.local_index)
        failed = make_scenes(options, processes)
    except (OSError, ValueError) as error:
        processes.exit(f"error: {error}")
    if failed:
        processes.exit(f"error: {failed} scenes have no map, see above; the others are written")


def main() -> None:
    """Parse, plan, run, report. Bad input ends with one line on standard error and a non-zero exit status."""
    try:
        processes = ProcessGroup()
    except ValueError as error:
        sys.exit(f"error: {error}")
    with processes.silence_others():
        options = parse_arguments()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    if options.scene:
        run_scenes(options, processes)
        return
    from inference.run import load_network, summarize, write_maps  # imports torch, which --help need not wait for

    try:
        planned = processes.broadcast(partial(plan, options))
        network = processes.run_on_all(partial(load_network, options, planned, processes))
        start = time.perf_counter()
        results = processes.gather(processes.run_on_all(partial(write_maps, options, planned, network, processes)))
        seconds = time.perf_counter() - start
    except (OSError, ValueError) as error:
        processes.exit(f"error: {error}")
    if processes.is_main:
        print(summarize(planned, results, network, seconds), flush=True)
    if missing := len(planned.images) - sum(result.written for result in results):
        processes.exit(
            f"error: {missing} of {len(planned.images)} images have no map, see above; the others are written"
        )


if __name__ == "__main__":
    command.run(main)
