"""getsmaps.py on small pictures: its maps are those computed by hand, and every bad input is one clear line."""

import re
import runpy
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import PartialState
from PIL import Image

from datasets.catalog import images_at
from datasets.io import read_pixels
from inference.backends.eager import TorchEager
from inference.distributed import ProcessGroup
from inference.maps import gray_map, stretched, truncated
from models.weights import LITE2, save_weights
from tests.helpers import ROOT, cpu_computes_in, small_network
from utils.devices import find_device

HEIGHT, WIDTH = 64, 96  # of the small network's input


def picture(path: Path, width: int = 120, height: int = 90, seed: int = 0, mode: str = "RGB") -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(path)
    return path


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder with four images in three folders, and what is none."""
    folder = tmp_path / "pictures"
    picture(folder / "a.jpg", seed=1)
    picture(folder / "b.c.png", 61, 200, seed=2, mode="RGBA")
    picture(folder / "ships" / "a.PNG", 97, 65, seed=3, mode="L")
    picture(folder / "ships" / "far" / "d.bmp", 40, 40, seed=4)
    picture(folder / ".hidden.png")
    (folder / "notes.txt").write_text("no image")
    return folder


MAPS = ["a.png", "b.c.png", "ships/a.png", "ships/far/d.png"]


@pytest.fixture
def getsmaps(small_weights, monkeypatch, capsys):
    """Runs the script in this process: (exit status, stdout, stderr)."""
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which the script changes

    def run(*arguments: object, weights: Path | None = small_weights) -> tuple[int, str, str]:
        command = ["getsmaps.py", *(["--weights", weights] if weights else []), *arguments]
        monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        status: int | str | None = 0
        try:
            runpy.run_path(str(ROOT / "getsmaps.py"), run_name="__main__")
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return (1, out, err + status) if isinstance(status, str) else (status, out, err)

    return run


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def saliency_by_hand(image: Path) -> np.ndarray:
    """The finest map of the whole training network on the image, 2H×2W in [0, 1], computed by torch alone.

    Its pixels are those that the script reads, which are Pillow's or a gray level beside them.
    """
    network = small_network()
    pixels = read_pixels(image, (HEIGHT, WIDTH))[0]
    view = Image.open(image).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    assert np.abs(pixels - np.asarray(view).astype(int)).max() <= 1
    rgb = (pixels.astype(np.float32) / 255 - np.float32([0.5, 0.4, 0.3])) / np.float32([0.3, 0.2, 0.25])
    rgb = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None]
    with torch.no_grad():
        return torch.sigmoid(network(rgb, torch.zeros_like(rgb))["logits1"])[0, 0].numpy()


def assert_is(path: Path, expected: np.ndarray) -> None:
    """The file is `expected` in [0, 1], truncated to gray levels; where a product is next to a whole number it may be
    the level beside."""
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        levels = np.asarray(image).astype(int)
    difference = np.abs(levels - np.floor(expected.astype(np.float64) * 255))
    assert levels.shape == expected.shape
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def stretch(saliency: np.ndarray) -> np.ndarray:
    return (saliency - saliency.min()) / (saliency.max() - saliency.min())


def test_the_command_writes_the_maps_of_a_folder(pictures, tmp_path, small_weights):
    output = tmp_path / "maps"
    command = [sys.executable, "getsmaps.py", "--weights", small_weights, "--input", pictures, "--output", output]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"4 images to .*maps: [\d.]+ s, [\d.]+ images per second on cpu in fp32 by torch; "
        r"alone: reading \d+, network \d+, writing \d+ images per second; "
        r"bound by \w+; the network waited for images \d+% of the time(; faster.*)?\n",
        done.stdout,
    )
    assert "\r" not in done.stderr  # a log gets no bar
    assert files_below(output) == MAPS
    for image, target in zip(("a.jpg", "b.c.png", "ships/a.PNG", "ships/far/d.bmp"), MAPS, strict=True):
        saliency = saliency_by_hand(pictures / image)
        assert saliency.shape == (2 * HEIGHT, 2 * WIDTH)
        assert saliency.std() > 0.05
        assert_is(output / target, stretch(saliency))


def test_test_time_augmentation(pictures, tmp_path, getsmaps):
    image, mirrored = pictures / "ships" / "far" / "d.bmp", tmp_path / "mirrored.png"
    Image.open(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
    for mode in ("mirror", "eight"):
        output, maps = tmp_path / mode, []
        for each in (image, mirrored):
            assert getsmaps("--input", each, "--output", output, "--raw", "--tta", mode)[0] == 0
            maps.append(np.asarray(Image.open(output / f"{each.stem}.png")).astype(int))
        assert np.abs(maps[0] - maps[1][:, ::-1]).max() <= 2  # the resized image's mirror image may differ by a level
        assert maps[0].std() > 5


def test_without_weights_the_light_network_makes_the_maps(pictures, tmp_path, getsmaps):
    ask = ("--input", pictures / "a.jpg", "--output")
    assert getsmaps(*ask, tmp_path / "default", weights=None)[0] == 0
    assert getsmaps(*ask, tmp_path / "named", weights=LITE2)[0] == 0
    maps = [np.asarray(Image.open(tmp_path / folder / "a.png")) for folder in ("default", "named")]
    assert maps[0].shape == (448, 448)
    assert np.array_equal(*maps)


def test_raw_and_original_size_and_suffix_and_one_image(pictures, tmp_path, getsmaps):
    image = pictures / "ships" / "a.PNG"
    saliency = saliency_by_hand(image)
    ask = ("--input", image, "--output", tmp_path, "--suffix")
    assert getsmaps(*ask, "_raw", "--raw")[0] == 0
    assert_is(tmp_path / "a_raw.png", saliency)
    assert getsmaps(*ask, "_ASRNet_YCbCr_final", "--size", "original")[0] == 0
    own_size = np.asarray(Image.fromarray(saliency).resize((97, 65), Image.Resampling.BILINEAR))
    assert_is(tmp_path / "a_ASRNet_YCbCr_final.png", stretch(own_size))


def test_a_pruned_file_and_any_batch_give_the_same_maps(pictures, tmp_path, getsmaps):
    pruned = tmp_path / "pruned.safetensors"
    save_weights(pruned, small_network().detector)
    getsmaps("--input", pictures, "--output", tmp_path / "one")
    getsmaps("--input", pictures, "--output", tmp_path / "two", "--batch-size", 3, "--device", "cpu", weights=pruned)
    for name in MAPS:
        one, two = (np.asarray(Image.open(tmp_path / folder / name)).astype(int) for folder in ("one", "two"))
        assert np.abs(one - two).max() <= 1


@pytest.mark.skipif(not cpu_computes_in("bf16"), reason="this CPU has no bfloat16")
def test_bf16_is_the_same_map_but_for_its_rounding(pictures, tmp_path, getsmaps):
    ask = ("--input", pictures / "a.jpg", "--raw", "--output", tmp_path)
    assert getsmaps(*ask, "--precision", "bf16")[0] == 0
    difference = np.asarray(Image.open(tmp_path / "a.png")) - 255 * saliency_by_hand(pictures / "a.jpg")
    assert np.abs(difference).mean() < 3
    assert np.abs(difference).max() > 0.999  # else it ran in fp32


def test_openvino_writes_the_same_maps(pictures, tmp_path, getsmaps):
    pytest.importorskip("openvino", reason="requirements-openvino.txt is not installed")
    pytest.importorskip("onnxscript", reason="requirements-openvino.txt is not installed")
    status, out, _ = getsmaps("--input", pictures, "--output", tmp_path, "--raw", "--backend", "openvino")
    assert status == 0
    assert "on cpu in fp32 by openvino; alone: " in out
    assert [name for name in files_below(tmp_path) if not name.startswith("pictures/")] == MAPS
    for image, target in zip(("a.jpg", "b.c.png", "ships/a.PNG", "ships/far/d.bmp"), MAPS, strict=True):
        assert_is(tmp_path / target, saliency_by_hand(pictures / image))


@pytest.mark.parametrize(("backend", "package"), [("openvino", "openvino"), ("onnxruntime", "onnxruntime")])
def test_a_backend_that_is_not_installed_stops_it(backend, package, pictures, tmp_path, getsmaps, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # importing it is an error now
    said = one_line(*getsmaps("--input", pictures, "--output", tmp_path / "maps", "--backend", backend))
    assert f"{package} cannot be imported" in said
    assert "pip install -r requirements-" in said
    assert not (tmp_path / "maps").exists()


def test_a_network_that_cannot_run_stops_it_before_anything_is_written(pictures, tmp_path, getsmaps, monkeypatch):
    def run(self: TorchEager, pixels: np.ndarray) -> np.ndarray:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(TorchEager, "run", run)
    said = one_line(*getsmaps("--input", pictures, "--output", tmp_path / "maps", "--batch-size", 3))
    assert "a batch of 3 does not fit into the GPU's memory" in said
    assert not (tmp_path / "maps").exists()


def test_threads_are_those_that_were_asked_for(pictures, tmp_path, getsmaps):
    before = torch.get_num_threads()
    try:
        assert getsmaps("--input", pictures / "a.jpg", "--output", tmp_path, "--threads", before + 1)[0] == 0
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_a_list_is_relative_to_its_folder(pictures, tmp_path, getsmaps):
    elsewhere = picture(tmp_path / "more" / "far" / "x.jpg")
    picture(tmp_path / "more" / "near" / "y.jpg")
    listing = pictures / "some.txt"
    listing.write_text(f"ships/far/d.bmp\n\nb.c.png\n{elsewhere}\n../more/near/y.jpg\n")
    assert getsmaps("--input", listing, "--output", tmp_path / "maps")[0] == 0
    assert files_below(tmp_path / "maps") == ["b.c.png", "far/x.png", "near/y.png", "ships/far/d.png"]


def test_a_data_set_by_name(tmp_path, getsmaps):
    for stem in ("0001", "0002"):
        picture(tmp_path / "ORSSD" / "test-images" / f"{stem}.jpg")
    picture(tmp_path / "ORSSD" / "train-images" / "0003.jpg")
    ask = ("--dataset", "orssd", "--root", tmp_path, "--output")
    with pytest.warns(UserWarning, match=r"ORSSD test: 2 found in .*, 200 expected"):
        assert getsmaps(*ask, tmp_path / "test")[0] == 0
    assert files_below(tmp_path / "test") == ["0001.png", "0002.png"]
    with pytest.warns(UserWarning, match=r"ORSSD train: 1 found in .*, 600 expected"):
        assert getsmaps(*ask, tmp_path / "train", "--split", "train")[0] == 0
    assert files_below(tmp_path / "train") == ["0003.png"]


def test_broken_images_are_reported_and_the_rest_is_written(pictures, tmp_path, getsmaps):
    whole = (pictures / "a.jpg").read_bytes()
    (pictures / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (pictures / "text.png").write_text("no image at all")
    status, out, err = getsmaps("--input", pictures, "--output", tmp_path / "maps", "--batch-size", 1)
    assert status == 1
    assert files_below(tmp_path / "maps") == MAPS
    assert "4 images to" in out
    assert "error: 2 of 6 images have no map" in err
    for name in ("cut.jpg", "text.png"):
        assert re.search(rf"skipped: .*{name} cannot be read", err)


def test_a_run_without_a_map_rates_no_stage(pictures, tmp_path, getsmaps):
    (tmp_path / "text.png").write_text("no image at all")
    status, out, _ = getsmaps("--input", tmp_path / "text.png", "--output", tmp_path / "maps")
    assert status == 1
    assert out.startswith("0 images to ")
    assert "alone" not in out


def test_listed_images_that_are_not_there_are_reported(pictures, tmp_path, getsmaps):
    (pictures / "list.txt").write_text("a.jpg\ngone.jpg\n")
    status, _, err = getsmaps("--input", pictures / "list.txt", "--output", tmp_path / "maps")
    assert status == 1
    assert re.search(r"skipped: .*gone.jpg is not there", err)
    assert files_below(tmp_path / "maps") == ["a.png"]


def test_an_empty_map_is_made_again(pictures, tmp_path, getsmaps):
    """A power failure can leave a file empty that had not reached the disk."""
    output = tmp_path / "maps"
    output.mkdir()
    (output / "a.png").touch()
    status, out, _ = getsmaps("--input", pictures, "--output", output, "--resume")
    assert status == 0
    assert "4 images to" in out
    assert Image.open(output / "a.png").size == (2 * WIDTH, 2 * HEIGHT)


def test_fast_chooses_the_precision(pictures, tmp_path, getsmaps):
    ask = ("--input", pictures / "a.jpg", "--output", tmp_path, "--fast")
    status, out, _ = getsmaps(*ask)
    assert status == 0
    assert f"on cpu in {'bf16' if cpu_computes_in('bf16') else 'fp32'} by torch" in out
    assert "--fast chooses backend and precision" in one_line(*getsmaps(*ask, "--precision", "bf16"))


def test_resume_keeps_what_is_there(pictures, tmp_path, getsmaps):
    output = tmp_path / "maps"
    output.mkdir()
    (output / "a.png").write_text("kept")
    status, out, _ = getsmaps("--input", pictures, "--output", output, "--resume")
    assert status == 0
    assert "3 images to" in out
    assert "(1 more were there)" in out
    assert (output / "a.png").read_text() == "kept"
    assert files_below(output) == MAPS
    assert getsmaps("--input", pictures, "--output", output)[0] == 0
    assert Image.open(output / "a.png").size == (2 * WIDTH, 2 * HEIGHT)


def test_an_output_inside_the_input_is_not_read(pictures, getsmaps):
    for _ in range(2):
        assert getsmaps("--input", pictures, "--output", pictures / "maps")[0] == 0
        assert files_below(pictures / "maps") == MAPS


def test_help_and_a_wrong_option_do_not_wait_for_torch(getsmaps, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it is an error now
    for module in [name for name in sys.modules if name.split(".")[0] in ("inference", "models", "datasets", "utils")]:
        monkeypatch.delitem(sys.modules, module)
    status, out, _ = getsmaps("--help", weights=None)
    assert (status, "--tta" in out) == (0, True)
    assert "give either --input" in one_line(*getsmaps("--output", tmp_path))


def one_line(status: int, out: str, err: str) -> str:
    """The error line of a command that stopped before it did anything."""
    assert status in (1, 2)
    assert out == ""
    assert "Traceback" not in err
    return err.strip().splitlines()[-1]


def test_two_images_with_one_map_stop_it_before_anything_is_written(pictures, tmp_path, getsmaps):
    picture(pictures / "ships" / "a.jpg")
    said = one_line(*getsmaps("--input", pictures, "--output", tmp_path / "maps"))
    assert str(pictures / "ships" / "a.PNG") in said
    assert str(pictures / "ships" / "a.jpg") in said
    assert not (tmp_path / "maps").exists()


def test_an_image_is_never_overwritten(pictures, tmp_path, getsmaps):
    before = (pictures / "b.c.png").read_bytes()
    said = one_line(*getsmaps("--input", pictures / "b.c.png", "--output", pictures))
    assert "b.c.png would be overwritten by a map" in said
    (tmp_path / "link").symlink_to(pictures)
    assert "is --input too" in one_line(*getsmaps("--input", pictures, "--output", tmp_path / "link"))
    assert (pictures / "b.c.png").read_bytes() == before


def test_a_map_that_cannot_be_written_is_named_and_the_others_are_made(pictures, tmp_path, getsmaps):
    (tmp_path / "maps" / "ships" / "a.png").mkdir(parents=True)
    status, _, err = getsmaps("--input", pictures, "--output", tmp_path / "maps")
    assert status == 1
    assert "Traceback" not in err
    assert "ships/a.png cannot be written: Is a directory" in err
    assert "error: 1 of 4 images have no map, see above" in err.splitlines()[-1]
    assert set(files_below(tmp_path / "maps")) == set(MAPS) - {"ships/a.png"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("--output OUT", "give either --input PATH or --dataset"),
        ("--output OUT --input IN --dataset ORSSD --root IN", "give either --input PATH or --dataset"),
        ("--output OUT --dataset ORSSD", "--dataset needs --root"),
        ("--output OUT --input IN --split test", "go with --dataset"),
        ("--output OUT --dataset DOTA --root IN", "unknown data set 'DOTA'"),
        ("--output OUT --dataset ORSSD --root IN", "no known layout"),
        ("--output OUT --input IN --batch-size 0", "must be at least 1"),
        ("--output OUT --input IN --suffix a/b", "part of a file name"),
        ("--output OUT --input IN --size 300", "invalid choice"),
        ("--output OUT --input IN --tta all", "invalid choice"),
        ("--output OUT --input IN --symmetries mirror", "--symmetries is now --tta: use --tta mirror"),
        ("--output OUT --input IN --batch 4", "unrecognized arguments: --batch 4"),
        ("--output OUT --input IN --device tpu", "choose auto, cpu, cuda, cuda:N or mps"),
        ("--output OUT --input IN --device cuda", "finds no GPU"),
        ("--output OUT --input IN --device cpu --precision fp16", "needs a GPU"),
        ("--output OUT --input IN --device auto --precision fp16", "needs a GPU"),
        ("--output OUT --input IN --precision int8", "is for exported networks"),
        ("--output OUT --input IN --threads 0", "give at least 1"),
        ("--output OUT --input IN --backend tensorrt", "choose auto, torch, "),
        ("--output OUT --input IN --backend cudagraphs", "finds no GPU"),
        ("--output OUT --input IN --backend cudagraphs --device cpu", "runs on a CUDA GPU"),
        ("--output OUT --input IN --backend openvino --device cuda", "runs on the CPU"),
        ("--output OUT --input IN --backend torch --weights IN/nowhere.xml", "is for the backend openvino"),
        ("--output OUT --input IN/nowhere", "is not there"),
        ("--output OUT --input IN/nowhere.jpg", "is not there"),
        ("--output OUT --input IN/empty", "no images in it"),
        ("--output OUT --input IN/empty.txt", "no images in it"),
        ("--output OUT --input IN/film.avi", "neither an image"),
        ("--output IN/notes.txt --input IN", "is a file: give a folder"),
        ("--output OUT --input IN --weights IN/nowhere.safetensors", "no such file"),
        ("--output OUT --input IN --weights IN/a.jpg", "not a safetensors file"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, why, pictures, tmp_path, getsmaps, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (pictures / "empty").mkdir()
    (pictures / "empty.txt").write_text("\n")
    (pictures / "film.avi").write_bytes(bytes(range(256)))
    places = {"OUT": str(tmp_path / "maps"), "IN": str(pictures)}
    parts = [re.sub("^(OUT|IN)", lambda found: places[found[1]], part) for part in arguments.split()]
    assert why in one_line(*getsmaps(*parts))
    assert not (tmp_path / "maps").exists()


def test_spaces_around_a_listed_name_may_be_part_of_it(pictures):
    picture(pictures / " a .jpg")
    (pictures / "spaces.txt").write_text(" a .jpg\n\tb.c.png \n")
    assert [stem for stem, _ in images_at(pictures / "spaces.txt")] == [" a ", "b.c"]


def test_a_list_names_an_image_once(pictures):
    (pictures / "twice.txt").write_text("a.jpg\nships/../a.jpg\n")
    with pytest.raises(ValueError, match="would write the same map, a"):
        images_at(pictures / "twice.txt")


def test_links_that_lead_in_a_circle_are_followed_once(pictures):
    (pictures / "ships" / "round").symlink_to(pictures)
    assert [stem for stem, _ in images_at(pictures)] == ["a", "b.c", "ships/a", "ships/far/d"]


def test_the_released_rule():
    low = np.float32([[0.1, 0.2499], [0.25, 0.0]])
    assert np.array_equal(stretched(low), np.float32([[0, 0], [0.25, 0]]))
    assert np.array_equal(truncated(stretched(low)), np.uint8([[0, 0], [63, 0]]))  # 63.75 is cut off
    high = np.float32([[0.2, 0.3], [0.4, 0.6]])
    assert np.array_equal(truncated(stretched(high)), np.uint8([[0, 63], [127, 255]]))
    assert np.array_equal(truncated(high), np.uint8([[51, 76], [102, 153]]))


@pytest.mark.parametrize(("value", "level"), [(0.0, 0), (0.1, 0), (0.25, 63), (0.3, 76), (1.0, 255)])
def test_a_constant_map_stays_finite(value, level):
    saliency = np.full((4, 5), value, np.float32)
    assert np.unique(np.asarray(gray_map(saliency))).tolist() == [level]


def test_a_map_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        gray_map(np.float32([[0.5, np.nan]]))


def test_two_processes_write_what_one_writes(pictures, tmp_path, small_weights, getsmaps):
    """With broken images in both parts and maps that are there already: each image once, one voice, one total."""
    for number in range(9):
        picture(pictures / f"n{number}.png", seed=number)
    for name in ("a.jpg", "ships/far/d.bmp"):
        (pictures / name).write_bytes((pictures / name).read_bytes()[:500])
    ask = ["--input", pictures, "--batch-size", 2, "--device", "cpu", "--resume", "--output"]
    for folder in (tmp_path / "one", tmp_path / "two"):
        for name in ("n0.png", "n4.png"):
            picture(folder / name, 5, 5, mode="L")
    assert getsmaps(*ask, tmp_path / "one")[0] == 1
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "getsmaps.py"]
    command = [str(part) for part in (*launcher, "--weights", small_weights, *ask, tmp_path / "two")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(
        r"9 images to .*two \(2 more were there\): .* on cpu in fp32 by torch, 2 processes; alone: .*\n", done.stdout
    )
    assert "process 2 of 2" not in done.stderr
    assert done.stderr.count("error: 2 of 11 images have no map") == 1
    for name in ("a.jpg", "d.bmp"):
        assert len(re.findall(rf"skipped: .*{name} cannot be read", done.stderr)) == 1
    assert len(files_below(tmp_path / "one")) == 11
    assert files_below(tmp_path / "two") == files_below(tmp_path / "one")
    for name in files_below(tmp_path / "one"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_parts_are_whole_batches_without_duplicates_or_gaps(size, count):
    processes = ProcessGroup()
    for length in range(40):
        parts = []
        for index in range(count):
            state = SimpleNamespace(num_processes=count, process_index=index)
            state.split_between_processes = partial(PartialState.split_between_processes, state)
            vars(processes).update(count=count, _state=state)
            parts.append(processes.shard(range(length), size))
        assert [item for part in parts for item in part] == list(range(length))
        assert all(part[0] % size == 0 for part in parts if part)
        batches = [-(-len(part) // size) for part in parts]
        assert max(batches) - min(batches) <= 1


def test_a_process_alone_needs_no_accelerate(pictures, tmp_path, getsmaps, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)  # importing it is an error now
    assert getsmaps("--input", pictures, "--output", tmp_path / "maps")[0] == 0


def test_processes_that_nobody_launched_are_told(pictures, tmp_path, getsmaps, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    said = one_line(*getsmaps("--input", pictures, "--output", tmp_path / "maps"))
    assert "MASTER_ADDR" in said
    assert "unset WORLD_SIZE" in said


def test_each_process_has_its_own_gpu(monkeypatch):
    assert find_device("cpu", 1) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("auto") == torch.device("cuda")
    assert [find_device("auto", process) for process in (0, 1)] == [torch.device("cuda", 0), torch.device("cuda", 1)]
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert (find_device("auto", 0), find_device("cuda", 0)) == (torch.device("cpu"), torch.device("cuda", 0))
    with pytest.raises(ValueError, match=r"3 or more processes share 2 GPU\(s\)"):
        find_device("cuda", 2)
