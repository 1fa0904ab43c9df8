"""Time whole commands from a folder of images to a folder of maps: ours, the release's path, and rembg.

    python -m benchmarks.end_to_end --images FOLDER --cases lite2:torch lite2:auto lite2:fast
    python -m benchmarks.end_to_end --images FOLDER --cases resnet50:released resnet50:auto --weights resnet50=FILE
    python -m benchmarks.end_to_end --images FOLDER --cases lite2:torch rembg --rembg VENV/bin/rembg

A case is NETWORK:WAY, or rembg. Networks: lite2, strong, resnet50 (its file by --weights). Ways: released
(`benchmarks/released_path.py`), torch, auto, bf16 and fast (options of getsmaps.py), or a file that inference.export
wrote. Networks are converted for OpenVINO before. Rounds run all cases in turn, so that other work on the machine
affects all of them. Each case runs on one image and then on all: the first run is its start, and the difference gives
the images a second after the start. Ratios are to the first case.

rembg is a package of its own (pip install "rembg[cpu,cli]"). It runs U²-Net-p and looks for u2netp.onnx in the folder
that U2NET_HOME names; `benchmarks/baselines.py` says where the file is from.
"""

from utils import command

if __name__ == "__main__":
    command.begin("--json has the rounds that were done")

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = {
    "lite2": ROOT / "weights" / "lite2_eorssd.safetensors",
    "strong": ROOT / "weights" / "strong_eorssd.safetensors",
}
WAYS = {
    "torch": ["--backend", "torch"],
    "auto": [],
    "openvino": ["--backend", "openvino"],
    "onnxruntime": ["--backend", "onnxruntime"],
    "bf16": ["--backend", "openvino", "--precision", "bf16"],
    "fast": ["--fast"],
}
"""Options of getsmaps.py."""
CONVERTED = ("auto", "openvino", "bf16", "fast")


@dataclass
class Row:
    """Times of a case.

    Attributes:
        seconds, cpu_seconds: of the whole command on all images, one of each a round.
        start_seconds, start_cpu_seconds: the same with one image.
        images_per_second, cpu_ms_per_image: from the medians' differences, the start excluded.
        ratio: speed over the first case's, the start excluded.
        whole_ratio: speed over the first case's, the start included.
    """

    case: str
    images: int
    seconds: list[float]
    cpu_seconds: list[float]
    start_seconds: list[float]
    start_cpu_seconds: list[float]
    images_per_second: float
    cpu_ms_per_image: float
    ratio: float
    whole_ratio: float


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.end_to_end", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--images", type=Path, required=True, metavar="DIR")
    add("--num-images", type=int, default=200, metavar="N", help="use the first N images (default: 200)")
    add("--cases", nargs="+", required=True, metavar="CASE", help=f"NETWORK:WAY, ways {', '.join(WAYS)}; or rembg")
    add("--weights", nargs="+", default=[], metavar="NAME=FILE", help="a network's .safetensors file")
    add("--rembg", default="rembg", metavar="FILE", help="rembg's command (default: rembg)")
    add("--rounds", type=int, default=3, metavar="N", help="default: 3")
    add("--json", type=Path, metavar="FILE", help="also write the results as JSON, after each round")
    options = parser.parse_args()
    if options.num_images < 2 or options.rounds < 1:
        parser.error(f"--num-images {options.num_images} --rounds {options.rounds}: give 2 images and 1 round or more")
    return options


if __name__ == "__main__":
    command.answer_help(arguments)  # before torch, which takes seconds

from benchmarks.inference_tables import table
from datasets.catalog import images_at
from utils.files import atomic_write, temporary_folder


def command_of(case: str, weights: dict[str, Path], rembg: str, images: Path, output: Path) -> list[str]:
    """Return the command of a case. Raise ValueError for an unknown one, or if its program or weights are missing."""
    if case == "rembg":
        if not shutil.which(rembg):
            raise ValueError(f"--rembg {rembg}: no such command; pip install 'rembg[cpu,cli]', best in its own venv")
        return [rembg, "p", "-m", "u2netp", "-om", str(images), str(output)]
    network, _, way = case.partition(":")
    if network not in weights:
        raise ValueError(f"case {case}: no weights of {network or 'nothing'}; known are {', '.join(weights)} and rembg")
    if way == "released":
        arguments = [str(weights[network]), str(images), str(output)]
        return [sys.executable, "-m", "benchmarks.released_path", *arguments]
    if way not in WAYS and not Path(way).is_file():
        raise ValueError(f"case {case}: {way} is no exported file and none of released, {', '.join(WAYS)}")
    file, options = (str(weights[network]), WAYS[way]) if way in WAYS else (str(Path(way).resolve()), [])
    ours = ["getsmaps.py", "--input", str(images), "--output", str(output), "--weights", file]
    return [sys.executable, *ours, *options]


def run_once(case: str, line: list[str], images: int, output: Path) -> tuple[float, float]:
    """Run a command and return its wall and CPU seconds. Raise ValueError if it does not write all maps."""
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, os.times()
    written = sum(1 for _ in output.rglob("*.png"))
    shutil.rmtree(output, ignore_errors=True)
    if done.returncode or written != images:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise ValueError(f"case {case}: {written} of {images} maps, exit status {done.returncode}: {last}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, spent


def measure(
    commands: dict[str, tuple[list[str], list[str]]], images: int, rounds: int, output: Path
) -> Iterator[list[Row]]:
    """Run all commands once a round, in turn, and yield the rows after each round.

    Args:
        commands: each case's command for one image and for all images.
        images: how many all images are, at least 2.
        rounds: at least 1.
        output: the folder that the commands write to.

    Raises:
        ValueError: a command fails, or takes no longer for all images than for one.
    """
    taken: dict[str, list[tuple[float, float, float, float]]] = {case: [] for case in commands}
    for number in range(rounds):
        for case, (one, every) in commands.items():
            first, whole = run_once(case, one, 1, output), run_once(case, every, images, output)
            taken[case].append((*first, *whole))
            note = f"… round {number + 1}, {case}: {whole[0]:.1f} s, start {first[0]:.1f} s"
            print(note, file=sys.stderr, flush=True)
        yield rows_of(taken, images)


def rows_of(taken: dict[str, list[tuple[float, float, float, float]]], images: int) -> list[Row]:
    """Return the rows of each case's rounds: wall and CPU seconds of its start and of all images."""
    rows: list[Row] = []
    for case, each in taken.items():
        start, start_cpu, seconds, cpu = (list(column) for column in zip(*each, strict=True))
        spent, spent_cpu = (
            (statistics.median(whole) - statistics.median(first)) / (images - 1)
            for whole, first in ((seconds, start), (cpu, start_cpu))
        )
        if spent <= 0:
            raise ValueError(f"case {case}: {images} images take no longer than one: give more by --num-images")
        reference = rows[0] if rows else None
        whole_ratio = statistics.median(reference.seconds) / statistics.median(seconds) if reference else 1.0
        ratio = 1 / spent / reference.images_per_second if reference else 1.0
        rows.append(Row(case, images, seconds, cpu, start, start_cpu, 1 / spent, 1e3 * spent_cpu, ratio, whole_ratio))
    return rows


def convert(cases: Iterable[str], weights: dict[str, Path], images: Path, output: Path) -> None:
    """Fill the cache of converted networks for the cases that OpenVINO runs, by the map of one image."""
    ours = (case.partition(":") for case in cases)
    for network in dict.fromkeys(name for name, _, way in ours if way in CONVERTED):
        case = f"{network}:openvino"
        taken, _ = run_once(case, command_of(case, weights, "", images, output), 1, output)
        print(f"… {network}: first map with the conversion {taken:.1f} s", file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write the JSON file."""
    weights = WEIGHTS | {
        name: Path(path).resolve() for name, _, path in (each.partition("=") for each in options.weights)
    }
    images = [Path(path).resolve() for _, path in islice(images_at(options.images), options.num_images)]
    if len(images) < 2:
        raise ValueError(f"--images {options.images}: one image; give a folder of 2 or more")
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        one, every, output = (folder / name for name in ("one", "every", "maps"))
        for source, paths in ((one, images[:1]), (every, images)):
            source.mkdir()
            for number, path in enumerate(paths):
                (source / f"{number:06d}{path.suffix}").symlink_to(path)
        commands = {}
        for case in options.cases:
            lines = [command_of(case, weights, options.rembg, source, output) for source in (one, every)]
            commands[case] = (lines[0], lines[1])
        convert(options.cases, weights, one, output)
        for rows in measure(commands, len(images), options.rounds, output):
            if options.json:  # after each round, as a run takes long
                atomic_write(options.json, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    lines = [
        (row.case, f"{row.images_per_second:.1f}", f"{row.ratio:.2f}×", f"{row.cpu_ms_per_image:.1f}",
         f"{statistics.median(row.start_seconds):.1f}", f"{statistics.median(row.seconds):.1f}",
         f"{row.whole_ratio:.2f}×")
        for row in rows
    ]  # fmt: skip
    first = rows[0].case
    print(f"{len(images)} images of {options.images}, medians of {options.rounds} interleaved rounds\n")
    head = ("case", "images a second", f"against {first}", "CPU ms an image", "first map, s", "all maps, s")
    print(table((*head, f"with the start, against {first}"), lines))


def main() -> None:
    """Run the command; bad input ends it with one line."""
    options = arguments()
    try:
        run(options)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    command.run(main)
