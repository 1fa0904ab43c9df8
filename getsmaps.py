"""Write the saliency map of every image as an 8-bit gray PNG.

python getsmaps.py --input PATH --output DIR         # with the light network in weights/
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

from datasets.catalog import DATASETS
from inference import BACKEND_NAMES, PRECISION_NAMES
from inference.distributed import ProcessGroup
from inference.plan import Plan, find_requested, plan_maps
from inference.reading import reading_of
from inference.scenes.options import add_scene_options, check_scene_options
from inference.tta import TTA_MODES
from utils.device_names import DEVICE_NAMES, check_device_name

USAGE = "getsmaps.py [--weights FILE] (--input PATH | --dataset NAME --root DIR [--split SPLIT]) --output DIR [options]"
DESCRIPTION = "Write the saliency map of every image as an 8-bit gray PNG, <stem>.png."
WEIGHTS = """.safetensors of a training run or of tools.prune; .onnx or .xml of inference.export
(default: the light network in weights/)"""
INPUT = """an image; a folder, searched recursively, whose sub-folders are kept in the output; or a text file that lists
images, one path a line, relative to the file's own folder"""
SIZE = """network: twice the network's input, 448x448 in the paper (default); original: the size of each image, the
saliency being resized bilinearly before it becomes gray"""
INPUT_SIZE = """height and width that images are resized to for the network, multiples of 32; one number for a square
(default: the size that the network was trained at). Maps of the size network have twice that"""
RAW = """write sigmoid x 255. Without --raw, the rule of the released code applies: if the maximum is at most 0.25,
values under 0.25 become 0; otherwise the map is stretched to 0..255. Both truncate, neither rounds"""
TTA = """test-time augmentation: average over the image and its mirror image (2 passes), or over all eight combinations
of mirroring and 90-degree rotations (8 passes)"""
EPILOG = """A broken image is reported and skipped; the exit status is then 1. Maps are written atomically. If two
images would have the same map, the command stops before it writes anything. Several processes, started by torchrun or
accelerate launch, share the images, each on its own GPU. The last line gives the throughput that each stage would have
alone (on the CPU the stages share the cores) and names the slowest."""


def parse_arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(usage=USAGE, description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    add = parser.add_argument
    add("--weights", type=Path, metavar="FILE", help=WEIGHTS)
    add("--host-file", type=Path, metavar="FILE.py", help="Python file that registers your own network; it is executed")
    add("--input", metavar="PATH", help=INPUT)
    add("--dataset", metavar="NAME", help=f"instead of --input: {', '.join(DATASETS)}")
    add("--root", type=Path, metavar="DIR", help="folder of the data set, with --dataset")
    add("--split", choices=("train", "test"), help="part of the data set, with --dataset (default: test)")
    add("--output", type=Path, metavar="DIR", required=True, help="folder for the maps, created if missing")
    add("--suffix", default="", help="text between <stem> and .png; the released code has _ASRNet_YCbCr_final")
    add("--size", choices=("network", "original"), help=SIZE)
    add("--input-size", metavar="N|H,W", help=INPUT_SIZE)
    add("--raw", action="store_true", help=RAW)
    add("--tta", choices=tuple(TTA_MODES), help=TTA)
    add("--symmetries", help=argparse.SUPPRESS)
    add("--resume", action="store_true", help="keep existing maps; without --resume they are replaced")
    add("--device", default="auto", metavar="NAME", help=f"{DEVICE_NAMES} (default: auto, a CUDA GPU if there is one)")
    add("--backend", choices=BACKEND_NAMES, help="runtime of the network (default: torch, or that of an exported file)")
    add("--precision", choices=PRECISION_NAMES, help="default: that of an exported file, or fp32; fp16 needs a GPU")
    add("--threads", type=int, metavar="N", help="CPU threads of the network (default: OMP_NUM_THREADS, or the cores)")
    add("--batch-size", type=int, metavar="N", help="images in a call of the network (default: 16; scenes on a CPU: 8)")
    add_scene_options(parser)
    options = parser.parse_args()
    if options.symmetries is not None:
        parser.error(f"--symmetries is now --tta: use --tta {options.symmetries}")
    if (options.input is None) == (options.dataset is None):
        parser.error("give either --input PATH or --dataset NAME --root DIR")
    if options.dataset and options.root is None:
        parser.error("--dataset needs --root, the folder that the data set is in")
    if options.input and (options.root or options.split):
        parser.error("--root and --split go with --dataset, not with --input")
    try:
        check_device_name(options.device)
        options.input_size = parse_input_size(options.input_size)
    except ValueError as error:
        parser.error(str(error))
    if options.scene and options.input_size:
        parser.error("--input-size is for whole images: with --scene, windows have the network's own size")
    check_scene_options(parser, options)
    if not options.scene and options.batch_size is None:
        options.batch_size = 16
    if options.batch_size is not None and options.batch_size < 1:
        parser.error(f"--batch-size must be at least 1, not {options.batch_size}")
    if Path(f"x{options.suffix}").name != f"x{options.suffix}":
        parser.error(f"--suffix must be part of a file name, not {options.suffix!r}")
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
    from inference.scenes.run import make_scenes

    try:
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
