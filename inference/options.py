"""The options that every command that makes maps has, and what does not go together. Torch is not imported."""

import argparse
from argparse import ArgumentParser, Namespace
from pathlib import Path

from datasets.catalog import DATASETS
from inference import BACKENDS, PRECISION_NAMES, check_backend_name
from inference.scenes.options import check_scene_options
from inference.tta import TTA_MODES
from utils.device_names import DEVICE_NAMES, check_device_name

WEIGHTS = """.safetensors of a training run or of tools.prune; .onnx or .xml of inference.export
(default: lite2_eorssd, or lite2_scenes with --scene, of weights/)"""
SIZE = """network: twice the network's input, 448x448 in the paper (default); original: the size of each image, the
saliency being resized bilinearly before it becomes gray"""
INPUT_SIZE = """height and width that images are resized to for the network, multiples of 32; one number for a square
(default: the size that the network was trained at). Maps of the size network have twice that"""
RAW = """write sigmoid x 255. Without --raw, the rule of the released code applies: if the maximum is at most 0.25,
values under 0.25 become 0; otherwise the map is stretched to 0..255. Both truncate, neither rounds"""
TTA = """test-time augmentation: average over the image and its mirror image (2 passes), or over all eight combinations
of mirroring and 90-degree rotations (8 passes)"""
BACKEND = f"""runtime of the network. auto (default): the fastest that is installed and gives the same maps in fp32,
within one gray level. On a GPU that is torch. On a CPU it is OpenVINO, which has to convert the network once: that is
done where it pays, and kept in the user's cache. The last line says what would be faster. The others are
{", ".join(BACKENDS)}, and FILE.py:CLASS, one of your own; the file is executed"""
FAST = """allow bf16 and int8. On a CPU: OpenVINO with the file STEM_int8.onnx or .xml that was exported from the
weights and is beside them, otherwise bf16 where the CPU has it. On a GPU: bf16. Sm on
ORSSD's test split: lite2 0.9390 in fp32, 0.9408 in int8, 0.9392 in bf16; strong 0.9456 in fp32, 0.9458 in bf16"""


def add_dataset_options(parser: ArgumentParser) -> None:
    """Add the options that name a data set instead of --input."""
    add = parser.add_argument
    add("--dataset", metavar="NAME", help=f"instead of --input: {', '.join(DATASETS)}, or FILE.py, one of your own")
    add("--root", type=Path, metavar="DIR", help="folder of the data set, with --dataset")
    add("--split", choices=("train", "test"), help="part of the data set, with --dataset (default: test)")


def add_map_options(parser: ArgumentParser) -> None:
    """Add the options of the maps' names, sizes and values."""
    add = parser.add_argument
    add("--suffix", default="", help="text between <stem> and .png; the released code has _ASRNet_YCbCr_final")
    add("--size", choices=("network", "original"), help=SIZE)
    add("--input-size", metavar="N|H,W", help=INPUT_SIZE)
    add("--raw", action="store_true", help=RAW)
    add("--tta", choices=tuple(TTA_MODES), help=TTA)
    add("--symmetries", help=argparse.SUPPRESS)


def add_network_options(parser: ArgumentParser) -> None:
    """Add the options of the network and of what runs it."""
    add = parser.add_argument
    add("--weights", type=Path, metavar="FILE", help=WEIGHTS)
    add("--host-file", type=Path, metavar="FILE.py", help="Python file that registers your own network; it is executed")
    add("--device", default="auto", metavar="NAME", help=f"{DEVICE_NAMES} (default: auto, a CUDA GPU if there is one)")
    add("--backend", type=_backend_name, default="auto", metavar="NAME", help=BACKEND)
    add("--precision", choices=PRECISION_NAMES, help="default: that of an exported file, or fp32; fp16 needs a GPU")
    add("--fast", action="store_true", help=FAST)
    add("--threads", type=int, metavar="N", help="CPU threads of the network (default: OMP_NUM_THREADS, or the cores)")
    add("--batch-size", type=int, metavar="N", help="images in a call of the network (default: 16; scenes on a CPU: 8)")


def _backend_name(text: str) -> str:
    try:
        return check_backend_name(text, also=("auto",))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def check_options(parser: ArgumentParser, options: Namespace) -> None:
    """End with one line if options do not go together; fill in the defaults of scenes and the batch size of images."""
    if options.symmetries is not None:
        parser.error(f"--symmetries is now --tta: use --tta {options.symmetries}")
    if (options.input is None) == (options.dataset is None):
        parser.error("give either --input PATH or --dataset NAME --root DIR")
    if options.dataset and options.root is None:
        parser.error("--dataset needs --root, the folder that the data set is in")
    if options.input and (options.root or options.split):
        parser.error("--root and --split go with --dataset, not with --input")
    if options.fast and (options.precision or options.backend != "auto"):
        parser.error("--fast chooses backend and precision: leave --backend and --precision out, or --fast")
    try:
        check_device_name(options.device)
        options.input_size = parse_input_size(options.input_size)
    except ValueError as error:
        parser.error(str(error))
    if options.scene and options.input_size:
        parser.error("--input-size is for whole images: with --scene, windows have the network's own size")
    if options.fast and options.input_size:
        parser.error("--fast is for the size that the network was trained at: leave --input-size out, or --fast")
    check_scene_options(parser, options)
    if not options.scene and options.batch_size is None:
        options.batch_size = 16
    if options.batch_size is not None and options.batch_size < 1:
        parser.error(f"--batch-size must be at least 1, not {options.batch_size}")
    if Path(f"x{options.suffix}").name != f"x{options.suffix}":
        parser.error(f"--suffix must be part of a file name, not {options.suffix!r}")


def parse_input_size(text: str | None) -> tuple[int, int] | None:
    """Return (height, width) of 'N', a square, or 'H,W'. Raises ValueError for another text."""
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"--input-size {text}: write one number for a square, or HEIGHT,WIDTH, such as 448 or 448,320")
    return int(parts[0]), int(parts[-1])
