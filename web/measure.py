"""Measure the built page: parity with getsmaps.py, time and memory, on images of a folder as PNG and as JPEG.

`python -m web.measure --images ../shared/data/ORSSD/train-images [--num-images 50]` after `make page`.

Parity is the difference in gray levels between the map that the page saves and the one that getsmaps.py writes. It is
printed for the page's own network file and for the default weights, which the page's 8-bit weights approximate.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from datasets.io import open_image, read_map

ROOT = Path(__file__).resolve().parent.parent
NETWORK = ROOT / "site" / "model.onnx"


def chosen(folder: Path, count: int) -> list[Path]:
    """Return `count` JPEG files of a folder, evenly spaced by name."""
    paths = sorted(folder.glob("*.jpg"))
    if len(paths) < count:
        sys.exit(
            f"error: {folder} has {len(paths)} JPEG files and {count} are needed: give another folder or --num-images"
        )
    return [paths[index * len(paths) // count] for index in range(count)]


def reference_maps(images: Path, output: Path, weights: list[str]) -> None:
    """Write the maps of getsmaps.py."""
    command = [sys.executable, str(ROOT / "getsmaps.py"), "--input", str(images), "--output", str(output), *weights]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)


def print_parity(name: str, page: Path, reference: Path) -> None:
    """Print a line of the parity table for each suffix."""
    for suffix in ("jpg", "png"):
        paths = sorted(page.glob(f"*.{suffix}.png"))
        gaps = [
            np.abs(read_map(path).astype(int) - read_map(reference / path.name.replace(f".{suffix}.png", ".png")))
            for path in paths
        ]
        pixels = np.concatenate([gap.ravel() for gap in gaps])
        differing, more = (pixels > 0).mean(), (pixels > 1).mean()
        print(
            f"{name:28} {suffix:4} n={len(paths)}  max {pixels.max():3}  mean {pixels.mean():.4f}"
            f"  over 0: {differing:.4%}  over 1: {more:.4%}"
        )


def print_times(found: dict) -> None:
    """Print times in milliseconds and memory in MB."""
    for key, title in (("first", "time to the first map"), ("warm", "one map, warm")):
        for threads, times in found[key].items():
            print(
                f"{title:22} threads={threads} n={len(times)} min {min(times)} ms  median {np.median(times):.0f} ms"
                f"  max {max(times)} ms"
            )
    print("memory of all browser processes after each ten images, MB:", *(f"{value:.0f}" for value in found["memory"]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the built page.")
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEG files")
    parser.add_argument("--num-images", type=int, default=50, metavar="N", help="images (default: %(default)s)")
    parser.add_argument("--parity-only", action="store_true", help="measure no times")
    options = parser.parse_args()
    if not (ROOT / "site" / "index.html").is_file():
        sys.exit("error: site/ is missing: run make page")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "jpg").mkdir()
        (folder / "images").mkdir()
        for path in chosen(options.images, options.num_images):
            shutil.copy(path, folder / "jpg" / path.name)
            shutil.copy(path, folder / "images" / path.name)
            open_image(path).save(folder / "images" / f"{path.stem}.png")
        command = ["node", str(ROOT / "web" / "tests" / "measure.mjs"), str(folder)]
        command += ["parity"] * options.parity_only
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        for name, weights in (("page's network", ["--weights", str(NETWORK)]), ("default weights", [])):
            reference_maps(folder / "jpg", folder / name, weights)
            print_parity(f"getsmaps.py, {name}", folder / "maps", folder / name)
        print_times(json.loads(ran.stdout))


if __name__ == "__main__":
    command.run(main)
