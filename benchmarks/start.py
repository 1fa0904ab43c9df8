"""Time how long commands take to start: every command's --help, and getsmaps.py's first map.

    python -m benchmarks.start [--rounds 5]

Each command runs once unmeasured, so that its files are in memory. The network is converted for OpenVINO before.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from utils.files import temporary_folder

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("benchmarks", "compute_results", "datasets", "inference", "tools", "training")
WAYS = {
    "torch": ["--backend", "torch"],
    "auto": [],
    "fast": ["--fast"],
    "onnxruntime": ["--weights", "weights/lite2_eorssd_int8.onnx", "--backend", "onnxruntime"],
}
"""Options of getsmaps.py for the first map."""
IMAGE = "datasets/sample/test-images/0045.jpg"


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.start", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: give a whole number from 1")
    return options


def commands() -> list[tuple[str, ...]]:
    """Return the arguments of Python that run each command: a file, or -m and a module."""
    found: list[tuple[str, ...]] = [("train.py",), ("getsmaps.py",)]
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        if "command.run(" in path.read_text():
            name = path.relative_to(ROOT).as_posix().removesuffix(".py").removesuffix("/__main__")
            found.append(("-m", name.replace("/", ".")))
    return found


def seconds_of(line: list[str]) -> tuple[float, float]:
    """Run Python with these arguments; return wall and CPU seconds. Raise ValueError if it fails."""
    start, before = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, *line], cwd=ROOT, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, os.times()
    if done.returncode:
        raise ValueError(f"{' '.join(line)}: {(done.stderr.strip().splitlines() or ['it says nothing'])[-1]}")
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Measure and print."""
    rounds = arguments().rounds
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        run = ["getsmaps.py", "--input", IMAGE, "--output", str(folder)]
        lines = {" ".join(line) + " --help": [*line, "--help"] for line in commands()}
        lines |= {f"first map, {way}": [*run, *options] for way, options in WAYS.items()}
        try:
            seconds_of([*run, "--backend", "openvino"])
            taken = {name: [seconds_of(line) for _ in range(rounds + 1)][1:] for name, line in lines.items()}
        except ValueError as error:
            sys.exit(f"error: {error}")
    print(f"medians of {rounds} runs\n\n| command | seconds | CPU seconds |\n| --- | ---: | ---: |")
    for name, each in taken.items():
        wall, cpu = (statistics.median(column) for column in zip(*each, strict=True))
        print(f"| `{name}` | {wall:.2f} | {cpu:.2f} |")


if __name__ == "__main__":
    command.run(main)
