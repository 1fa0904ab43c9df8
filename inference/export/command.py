"""Write a trained network as a file for ONNX Runtime or OpenVINO.

    python -m inference.export --weights weights/NAME.safetensors --format onnx
    python -m inference.export --weights weights/NAME.safetensors --format openvino --int8 --images TRAINING_IMAGES

The file takes 8-bit RGB and returns the 8-bit map and the saliency. It is written only if it computes what the network
computes (in int8: nearly so).
"""

import argparse
import sys
import time
from pathlib import Path

from inference.export import FORMATS

EPILOG = """OpenVINO's .xml has its tensors in a .bin of the same name: keep them together. Give the file to getsmaps.py
as --weights."""
IMAGES = "folder of training images: int8 is calibrated on them, and the file is checked on them"
FORMAT = """runtime that the file is for; deepness is the QGIS plugin, docs/qgis.md"""
SIZE = """image sizes that the file takes: any multiple of 32, or one, that of the training (default: any, if the
encoder allows it)"""


def parse_arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    description = "Write a trained network as a file for ONNX Runtime or OpenVINO that makes the same maps."
    parser = argparse.ArgumentParser(
        "python -m inference.export", description=description, epilog=EPILOG, allow_abbrev=False
    )
    add = parser.add_argument
    add("--weights", type=Path, metavar="FILE", required=True, help=".safetensors of a training run or of tools.prune")
    add("--host-file", type=Path, metavar="FILE.py", help="Python file that registers your own network; it is executed")
    add("--format", choices=tuple(FORMATS), required=True, help=FORMAT)
    add("--output", type=Path, metavar="FILE", help="default: beside --weights, with the suffix of the format")
    add("--int8", action="store_true", help="quantize convolutions to int8; needs --images")
    add("--half", action="store_true", help="store the weights in fp16, half the file; they are computed in fp32")
    add("--images", type=Path, metavar="DIR", help=IMAGES)
    add("--num-images", type=int, default=128, metavar="N", help="images to calibrate int8 on (default: 128)")
    add("--calibrate", help=argparse.SUPPRESS)
    add("--size", choices=("any", "one"), help=SIZE)
    options = parser.parse_args()
    if options.calibrate is not None:
        parser.error(f"--calibrate is now --images: use --images {options.calibrate}; the count is --num-images")
    if options.images is not None and options.images.name.isdecimal() and not options.images.exists():
        parser.error(f"--images is a folder: there is no {options.images}; the count is --num-images")
    if options.int8 and options.half:
        parser.error("--int8 stores most weights in 8 bits already: leave --half out")
    if options.int8 and options.images is None:
        parser.error("--int8 needs --images DIR, a folder of training images")
    if options.num_images < 1:
        parser.error(f"--num-images must be at least 1, not {options.num_images}")
    suffix = FORMATS[options.format]
    if options.output is None:
        options.output = options.weights.with_name(
            f"{options.weights.stem}{'_int8' * options.int8}{'_deepness' * (options.format == 'deepness')}{suffix}"
        )
    if options.output.suffix != suffix:
        parser.error(f"--output must end in {suffix} for --format {options.format}, not {options.output.name}")
    return options


def main() -> None:
    """Run the command. Bad input ends with one line on standard error and a non-zero exit status."""
    options = parse_arguments()
    from inference.export.exporter import export  # imports torch, which --help need not wait for
    from models.hosts import run_host_file

    start = time.perf_counter()
    try:
        if options.host_file:
            run_host_file(options.host_file)
        report = export(
            options.weights,
            options.format,
            options.output,
            options.size,
            options.images,
            options.num_images,
            options.int8,
            options.half,
        )
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    size = sum(file.stat().st_size for file in {options.output, options.output.with_suffix(".bin")} if file.is_file())
    print(report)
    print(f"Written to {options.output}: {size / 1e6:.1f} MB, {time.perf_counter() - start:.0f} s")
