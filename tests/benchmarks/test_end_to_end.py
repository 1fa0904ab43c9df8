"""benchmarks/end_to_end.py: whole commands, each with its maps counted, ratios over the first case."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import end_to_end, released_path
from inference.backends import open_backend
from inference.maps import gray_map
from models.weights import save_weights
from tests.helpers import picture, small_network

REMBG = """#!/bin/sh
[ "$1 $2 $3 $4" = "p -m u2netp -om" ] || exit 3
mkdir -p "$6" && for image in "$5"/*; do cp "$image" "$6"/; done
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images, two of them with one name in two folders."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "more").mkdir()
    for number, name in enumerate(("a.png", "b.png", "more/a.png")):
        picture(70, 60, seed=number).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    save_weights(path, small_network("mobilenetv2_035").detector)
    return path


def rembg(folder: Path, text: str = REMBG) -> Path:
    """A program that takes rembg's arguments."""
    path = folder / "rembg"
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_all_cases_make_all_maps(
    images: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands run; their times are replaced, since three images may take no longer than one."""
    real = end_to_end.run_once
    monkeypatch.setattr(end_to_end, "run_once", lambda *given: (real(*given) and float(given[2]), 0.5 * given[2]))
    command = ["end_to_end", "--images", str(images), "--cases", "small:torch", "rembg", "--rounds", "1"]
    command += ["--weights", f"small={network}", "--rembg", str(rembg(tmp_path)), "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", command)
    end_to_end.main()
    ours, theirs = json.loads((tmp_path / "out.json").read_text())
    assert (ours["case"], ours["images"], ours["ratio"]) == ("small:torch", 3, 1)
    assert (ours["seconds"], ours["start_seconds"], theirs["cpu_seconds"]) == ([3.0], [1.0], [1.5])
    assert "| small:torch | " in capsys.readouterr().out


def test_figures_are_medians_over_rounds_of_all_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that take 1 s to start and, for an image more, 0.1 s and 0.05 s; and a slow round."""
    ran = []

    def run(case: str, line: list[str], images: int, output: Path) -> tuple[float, float]:
        ran.append((case, *line))
        seconds = 1 + (images - 1) * (0.1 if case == "a" else 0.05) + 7 * (len(ran) > 8)
        return seconds, 2 * seconds

    monkeypatch.setattr(end_to_end, "run_once", run)
    commands = {case: ([f"{case} one"], [f"{case} every"]) for case in "ab"}
    *_, (a, b) = found = list(end_to_end.measure(commands, 11, 3, tmp_path))
    assert [len(rows[0].seconds) for rows in found] == [1, 2, 3]
    assert ran == [("a", "a one"), ("a", "a every"), ("b", "b one"), ("b", "b every")] * 3
    assert (a.images_per_second, b.images_per_second) == pytest.approx((10, 20))
    assert (a.cpu_ms_per_image, b.cpu_ms_per_image) == pytest.approx((200, 100))
    assert (a.ratio, b.ratio, b.whole_ratio) == pytest.approx((1, 2, 2 / 1.5))
    monkeypatch.setattr(end_to_end, "run_once", lambda *_: (1.0, 1.0))
    with pytest.raises(ValueError, match="case a: 11 images take no longer than one"):
        next(end_to_end.measure(commands, 11, 1, tmp_path))


def test_a_commands_seconds(tmp_path: Path) -> None:
    script = "import time; time.sleep(0.2); start = time.process_time()\nwhile time.process_time() < start + 0.2: pass"
    line = ["sh", "-c", f"mkdir {tmp_path}/maps && touch {tmp_path}/maps/a.png && {sys.executable} -c '{script}'"]
    seconds, cpu = end_to_end.run_once("spin", line, 1, tmp_path / "maps")
    assert seconds > cpu > 0.2
    assert seconds > 0.4
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("nothing:torch", "case nothing:torch: no weights of nothing; known are lite2, strong, small and rembg"),
        ("small:later", "case small:later: later is no exported file and none of released, torch, auto"),
        ("rembg", "rembg: 0 of 1 maps, exit status 1: broken"),
    ],
)
def test_what_fails_is_one_line(
    case: str, reason: str, images: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = rembg(tmp_path, "#!/bin/sh\necho broken >&2\nexit 1\n")
    command = ["end_to_end", "--images", str(images), "--cases", case, "--weights", f"small={network}"]
    monkeypatch.setattr(sys, "argv", [*command, "--rembg", str(program)])
    with pytest.raises(SystemExit) as end:
        end_to_end.main()
    assert reason in str(end.value)
    assert "\n" not in str(end.value)


def test_rembg_that_is_not_installed(images: Path) -> None:
    with pytest.raises(ValueError, match="no such command; pip install"):
        end_to_end.command_of("rembg", {}, "/nowhere/rembg", images, images)


def test_the_released_path_makes_the_maps_of_getsmaps(network: Path, tmp_path: Path) -> None:
    """At the network's own size, so that no resize differs."""
    (tmp_path / "images").mkdir()
    image = picture(96, 64)
    image.save(tmp_path / "images" / "one.png")
    released_path.main(str(network), str(tmp_path / "images"), str(tmp_path / "maps"))
    released = np.asarray(Image.open(tmp_path / "maps" / "one.png")).astype(int)
    ours = np.asarray(gray_map(open_backend("torch", network, "cpu")(np.array(image)[None])[0])).astype(int)
    assert released.shape == ours.shape == (128, 192)
    assert np.abs(released - ours).max() <= 1
    assert released.std() > 5
