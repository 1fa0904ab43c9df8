"""Every bash and Python block of the documentation runs, in the order of its page, on tiny data.

A comment before a block says why it does not run:

    <!-- not run: needs a GPU -->

`<!-- no block runs: … -->` says so for a page's other blocks. `<!-- file: iou.py -->` writes the block to that file and
does not run it. Each page has a folder of its own that looks like the repository, with made data in data/, mine/,
maps/, archive/ and scene.tif.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.documentation_commands import write_commands
from tests.helpers import ROOT

FOLDERS = ("docs", "weights", "examples")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(page.relative_to(ROOT)) for f in FOLDERS for page in (ROOT / f).rglob("*.md")),
)
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<marker>not run|file): (?P<text>[^\n]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>bash|python)\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
NONE = re.compile(r"^<!-- no block runs: (.+) -->$", re.MULTILINE)
WRITTEN = ("data", "datasets", "runs", "maps", "scores", "demo", "site", "site-docs", "out")
LIMIT = 240
"""Seconds that a block may take."""


@dataclass
class Block:
    """A fenced block of a page: its first line's number, its language, its marker and what the marker says."""

    line: int
    language: str
    code: str
    marker: str | None
    text: str | None


def blocks(page: str) -> list[Block]:
    """Return a page's bash and Python blocks."""
    text = (ROOT / page).read_text()
    none = NONE.search(text)
    return [
        Block(
            text.count("\n", 0, found.start("language")) + 2,
            found["language"],
            re.sub(rf"^{found['indent']}", "", found["code"], flags=re.MULTILINE),
            found["marker"] or ("not run" if none else None),
            found["text"] or (none and none[1]),
        )
        for found in BLOCK.finditer(text)
    ]


def small_copy(source: Path, target: Path, kind: str) -> None:
    """Write an image or mask of the sample set at 96×96, or a blurred mask as a saliency map."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as picture:
        small = picture.resize((96, 96), Image.Resampling.NEAREST if kind == "mask" else Image.Resampling.BILINEAR)
        (small.filter(ImageFilter.GaussianBlur(3)) if kind == "map" else small).save(target)


def make_data(root: Path) -> None:
    """Make data/, mine/, maps/, archive/, scene.tif and a small datasets/sample of the sample set's images."""
    sample = ROOT / "datasets" / "sample"
    images = sorted((sample / "train-images").iterdir()) + sorted((sample / "test-images").iterdir())
    masks = sorted((sample / "train-labels").iterdir()) + sorted((sample / "test-labels").iterdir())
    pairs = iter(zip(images, masks, strict=True))

    def pair(image: str, mask: str) -> None:
        of_image, of_mask = next(pairs)
        small_copy(of_image, root / f"{image}{of_image.suffix}", "image")
        small_copy(of_mask, root / f"{mask}.png", "mask")

    for name in ("ORSSD", "EORSSD"):
        for split, stems in {
            "train": ("0001", "0002", "0003", "0006", "0007", "0009", "0011", "0055"),
            "test": ("0005", "0008", "0014"),
        }.items():
            for stem in stems:
                pair(f"data/{name}/{split}-images/{stem}", f"data/{name}/{split}-labels/{stem}")
    for split in ("train", "test"):
        for number in range(4):
            pair(f"data/Harbors/{split}/rgb/{number}", f"data/Harbors/{split}/objects/{number}")
    for number in range(6):
        pair(f"mine/images/{number}", f"mine/masks/{number}")
    for number in range(3):
        pair(f"mine/val_images/v{number}", f"mine/val_masks/v{number}")
    shutil.copytree(root / "mine/val_images", root / "archive")
    for method in (
        "ORSSD", "HFANet_R", "SDNet", "light_orssd", "lite2_eorssd", "strong_eorssd", "A", "B", "C", "D",
    ):  # fmt: skip
        for mask in (root / "data/ORSSD/test-labels").iterdir():
            small_copy(mask, root / "maps" / method / mask.name, "map")
    for mask in sorted((sample / "test-labels").iterdir())[:3]:
        small_copy(mask, root / "maps/sample" / f"{mask.stem}.png", "map")
    make_scene(root / "scene.tif", images[0])
    make_sample(root / "datasets")


def make_sample(folder: Path) -> None:
    """Make the folder datasets/ with a smaller sample set: six training and three test pairs."""
    folder.mkdir()
    for entry in (ROOT / "datasets").iterdir():
        if entry.name not in ("sample", "__pycache__"):
            (folder / entry.name).symlink_to(entry)
    for split, count in {"train": 6, "test": 3}.items():
        for kind in ("images", "labels"):
            for file in sorted((ROOT / "datasets" / "sample" / f"{split}-{kind}").iterdir())[:count]:
                small_copy(
                    file, folder / "sample" / f"{split}-{kind}" / file.name, "mask" if kind == "labels" else "image"
                )


def make_scene(path: Path, picture: Path) -> None:
    """Write an image as a georeferenced scene, where rasterio is installed."""
    rasterio = pytest.importorskip(
        "rasterio", reason="rasterio is not installed: pip install -r requirements-scenes.txt"
    )
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB").resize((224, 224))).transpose(2, 0, 1)
    where = rasterio.transform.from_origin(500000, 5000000, 0.5, 0.5)
    profile = {"driver": "GTiff", "width": 224, "height": 224, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(path, "w", crs="EPSG:32632", transform=where, **profile) as file:
        file.write(pixels)


def make_encoders(folder: Path) -> None:
    """Write the encoder weights that configurations start from, at random."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.save(timm.create_model("mobilenetv2_100").state_dict(), folder / "mobilenet_v2-b0353104.pth")
    save_file(timm.create_model("efficientnet_lite2").state_dict(), folder / "efficientnet_lite2.safetensors")


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


@dataclass
class Runner:
    """Runs pages, each in a new folder."""

    folder: Path
    data: Path
    address: Path

    def page(self, page: str) -> list[str]:
        """Run a page's blocks; return what failed."""
        place = self.folder / page.replace("/", "_").removesuffix(".md")
        place.mkdir()
        for entry in ROOT.iterdir():
            if not entry.name.startswith(".") and entry.name not in WRITTEN:
                (place / entry.name).symlink_to(entry)
        shutil.copytree(self.data, place, symlinks=True, dirs_exist_ok=True)
        commands = self.folder / f"{place.name}.bin"
        commands.mkdir()
        write_commands(commands, self.address, free_port(), shutil.which("make") or "")
        failures = []
        for number, block in enumerate(blocks(page)):
            if block.marker == "file":
                (place / str(block.text)).write_text(block.code)
            elif block.marker is None and (output := self.run(block, place, commands, number)):
                failures.append(f"{page}:{block.line}\n{block.code}{output}")
        return failures

    def run(self, block: Block, place: Path, commands: Path, number: int) -> str | None:
        """Run a block in a folder; return its output if it fails."""
        words = ["bash", "-euo", "pipefail", "-c", block.code]
        if block.language == "python":
            (place / f"block_{number}.py").write_text(block.code)
            words = ["python", f"block_{number}.py"]
        environment = os.environ | {
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "PYTHON": str(commands / "python"),
            "PYTHONPATH": str(place),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "SRAL_CACHE": str(self.folder / "cache"),
        }
        log = place / f"block_{number}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                words,
                cwd=place,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                status = process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return f"took longer than {LIMIT} s"
        return log.read_text()[-3000:] if status else None


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    folder, data = tmp_path_factory.mktemp("pages"), tmp_path_factory.mktemp("data")
    make_data(data)
    make_encoders(data / "data")
    address = folder / "socket"
    words = [sys.executable, str(ROOT / "tests" / "documentation_commands.py"), str(address)]
    server = subprocess.Popen(words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while not address.exists():
        assert server.poll() is None, "the server of commands ended"
        time.sleep(0.05)
    yield Runner(folder, data, address)
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def failures(runner: Runner, request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """What failed, by page: the pages that were chosen, two at a time."""
    chosen = [
        item.callspec.params["page"] for item in request.session.items if item.name.startswith("test_blocks_run[")
    ]
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(chosen, threads.map(runner.page, chosen), strict=True))


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.marker != "not run" for block in blocks(page))])
def test_blocks_run(page: str, failures: dict[str, list[str]]) -> None:
    assert not failures[page], "\n\n".join(failures[page])


def test_counts(capsys: pytest.CaptureFixture[str]) -> None:
    every = [block for page in PAGES for block in blocks(page)]
    skipped = [block for block in every if block.marker == "not run"]
    files = [block for block in every if block.marker == "file"]
    with capsys.disabled():
        run = len(every) - len(skipped) - len(files)
        print(
            f"\ndocumentation: {run} blocks run, {len(files)} written to files that others use, {len(skipped)} not run"
        )
    assert all(block.text and len(block.text) >= 8 for block in skipped)


@pytest.mark.parametrize(
    "line",
    [
        "python getsmaps.py --input datasets/sample/test-images --output maps/x --no-such-option",
        "python train.py --config configs/no_such_file.yaml --output runs/x",
        "python -m tools.no_such_tool",
        "python examples/no_such_file.py",
        "pip install -r requirements-nothing.txt",
        "make nothing",
    ],
)
def test_what_does_not_exist_fails(line: str, runner: Runner, tmp_path: Path) -> None:
    if line.startswith("make") and not shutil.which("make"):
        pytest.skip("make is not installed")
    for entry in ROOT.iterdir():
        if entry.name not in WRITTEN or entry.name == "datasets":
            (tmp_path / entry.name).symlink_to(entry)
    commands = runner.folder / "bin"
    if not commands.exists():
        commands.mkdir()
        write_commands(commands, runner.address, free_port(), shutil.which("make") or "")
    assert runner.run(Block(1, "bash", line, None, None), tmp_path, commands, 0)
