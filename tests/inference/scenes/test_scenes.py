"""Maps of whole scenes: blended as by hand, georeferenced as their source, the same after any interruption."""

import errno
import os
import re
import shutil
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from datasets.io import read_pixels
from inference.distributed import ProcessGroup
from inference.scenes.engine import make_bands
from inference.scenes.job import Job, Wishes
from inference.scenes.network import SceneNetwork
from inference.scenes.output import write_cog
from inference.scenes.windows import make_grid
from inference.scenes.work import Work
from tests.inference.scenes.conftest import PlainNetwork, colorful

rasterio = pytest.importorskip("rasterio")
cog_validate = pytest.importorskip("rio_cogeo").cog_validate
pyogrio = pytest.importorskip("pyogrio")
Affine = rasterio.Affine
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

INPUT = (64, 96)
SMALL = ("--context", "60,96", "--batch-size", 4)


def read_map(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def blended_by_hand(pixels: np.ndarray, contexts: list[float], overlap: float) -> np.ndarray:
    """H×W saliency of H×W×3 pixels: on the whole array, every window by itself, in float64."""
    network = PlainNetwork()
    grid = make_grid((pixels.shape[0], pixels.shape[1]), contexts, overlap, 1.0, INPUT)
    fused = np.zeros(pixels.shape[:2])
    for scale in grid.scales:
        height, width = scale.shape
        hann = np.outer(*(np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 for side in (height, width)))
        total, weight = np.zeros(pixels.shape[:2]), np.zeros(pixels.shape[:2])
        for row in scale.rows.starts:
            for column in scale.columns.starts:
                place = np.s_[row : row + height, column : column + width]
                view = read_pixels(Image.fromarray(np.ascontiguousarray(pixels[place])), INPUT)[0]
                saliency = Image.fromarray(network(view[None])[0]).resize((width, height), Image.Resampling.BILINEAR)
                total[place] += np.asarray(saliency) * hann
                weight[place] += hann
        fused += total / weight / len(grid.scales)
    return fused


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_bands_and_blocks_give_the_whole_arrays_blend(scene, getsmaps, tmp_path, small_blocks, overlap):
    path = scene(190, 260)
    ask = ("--scene", "--input", path, "--output", tmp_path / "out", *SMALL, "--overlap", overlap)
    assert getsmaps(*ask, "--dtype", "float32")[0] == 0
    expected = blended_by_hand(np.moveaxis(colorful(190, 260), 0, 2), [60, 96], overlap)
    found = read_map(tmp_path / "out" / "scene.tif")
    assert expected.std() > 0.02
    assert np.abs(found - expected).max() < 1e-5
    assert getsmaps(*ask)[0] == 0
    levels = read_map(tmp_path / "out" / "scene.tif")
    assert np.abs(levels - np.minimum(np.floor(expected * 255), 254)).max() <= 1


def test_a_scene_of_one_window_has_the_map_of_an_image(scene, getsmaps, tmp_path):
    path = scene(128, 192)
    assert (
        getsmaps("--scene", "--input", path, "--output", tmp_path / "scenes", "--context", 192, network="small")[0] == 0
    )
    image = tmp_path / "image.png"
    Image.fromarray(np.moveaxis(colorful(128, 192), 0, 2)).save(image)
    assert getsmaps("--input", image, "--output", tmp_path / "maps", "--raw", "--size", "original")[0] == 0
    expected = np.asarray(Image.open(tmp_path / "maps" / "image.png"))
    assert np.array_equal(read_map(tmp_path / "scenes" / "scene.tif"), np.minimum(expected, 254))


CONTROL = [
    rasterio.control.GroundControlPoint(row, column, 11 + column / 1e4, 48 - row / 1e4, 0)
    for row, column in ((0, 0), (0, 600), (700, 0), (700, 600))
]
RPC = rasterio.rpc.RPC(
    height_off=100, height_scale=500, lat_off=48, lat_scale=0.1, line_off=350, line_scale=350, long_off=11,
    long_scale=0.1, samp_off=300, samp_scale=300, line_num_coeff=[0.0, 0, -1] + [0.0] * 17,
    line_den_coeff=[1.0] + [0.0] * 19, samp_num_coeff=[0.0, 1] + [0.0] * 18, samp_den_coeff=[1.0] + [0.0] * 19,
)  # fmt: skip


@pytest.mark.parametrize("place", [
    {},
    {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 11, 0, -1e-5, 48)},
    {"crs": "EPSG:3857", "transform": Affine.translation(1e6, 6e6) @ Affine.rotation(33) @ Affine.scale(2, -2)},
    {"transform": Affine(0.5, 0, 500_000, 0, 0.5, 5_500_000)},  # south-up
    {"transform": Affine(0.5, 0, 500_000, 0, -1, 5_500_000)},
    {"crs": None, "transform": Affine(0.5, 0, 0, 0, -0.5, 0)},
    {"crs": None, "transform": Affine.identity()},
    {"crs": None, "transform": Affine.identity(), "gcps": CONTROL},
    {"crs": None, "transform": Affine.identity(), "rpcs": RPC},
], ids=["utm", "degrees", "rotated", "south-up", "oblong", "no-crs", "nothing", "gcps", "rpcs"])  # fmt: skip
def test_the_georeference_is_the_sources(scene, getsmaps, tmp_path, place):
    path, target = scene(700, 600, **place), tmp_path / "out" / "scene.tif"
    status, _, err = getsmaps("--scene", "--input", path, "--output", tmp_path / "out", "--context", 600)
    assert status == 0, err
    with rasterio.open(path) as source, rasterio.open(target) as found:
        assert (found.crs, found.transform, found.shape) == (source.crs, source.transform, source.shape)
        assert [vars(point) | {"id": 0} for point in found.gcps[0]] == [vars(p) | {"id": 0} for p in source.gcps[0]]
        assert found.gcps[1] == source.gcps[1]
        assert found.rpcs == source.rpcs
        assert found.nodata == 255
        assert found.overviews(1) == [2]
        assert found.count == 1
    valid, problems, _ = cog_validate(target)
    assert valid, problems
    with Image.open(tmp_path / "out" / "scene_quicklook.png") as look:
        assert min(look.size) > 300


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask", "nan"])
def test_what_is_invalid_is_nodata_and_windows_without_valid_pixels_are_left_out(
    scene, getsmaps, tmp_path, small_blocks, kind
):
    hidden = np.zeros((150, 260), bool)
    hidden[:, :130] = hidden[100:, 200:] = True
    bands, profile = colorful(150, 260).copy(), {}
    if kind == "nodata":
        bands[:, hidden], profile["nodata"] = 7, 7
    elif kind == "nan":
        bands = np.where(hidden, np.nan, bands / np.float32(255)).astype(np.float32)
    elif kind == "alpha":
        bands, profile["alpha"] = np.concatenate([bands, np.where(hidden, 0, 255)[None].astype(np.uint8)]), "yes"
    else:
        profile["mask"] = np.where(hidden, 0, 255).astype(np.uint8)
    path = scene(bands=bands, **profile)
    with rasterio.open(path) as dataset:
        expected = dataset.dataset_mask() > 0 if kind != "nan" else ~hidden
    ask = (
        "--scene",
        "--input",
        path,
        "--output",
        tmp_path / "out",
        *SMALL,
        "--range",
        "0:1" if kind == "nan" else "0:255",
    )
    assert getsmaps(*ask)[0] == 0
    assert np.array_equal(read_map(tmp_path / "out" / "scene.tif") != 255, expected)
    assert getsmaps(*ask, "--dtype", "float32")[0] == 0
    assert np.array_equal(np.isfinite(read_map(tmp_path / "out" / "scene.tif")), expected)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (30, 40), (65, 97)])
def test_scenes_of_any_shape(scene, getsmaps, tmp_path, height, width):
    path = scene(height, width)
    status, _, err = getsmaps("--scene", "--input", path, "--output", tmp_path / "out", *SMALL, "--overlap", 0.9)
    assert status == 0, err
    assert read_map(tmp_path / "out" / "scene.tif").shape == (height, width)
    assert (read_map(tmp_path / "out" / "scene.tif") != 255).all()


def test_a_scene_without_valid_pixels_is_all_nodata(scene, getsmaps, tmp_path):
    path = scene(bands=np.zeros((3, 90, 120), np.uint16), nodata=0)
    status, _, err = getsmaps(
        "--scene", "--input", path, "--output", tmp_path / "out", *SMALL, "--polygons", tmp_path / "o.fgb"
    )
    assert status == 0, err
    assert (read_map(tmp_path / "out" / "scene.tif") == 255).all()
    assert len(pyogrio.raw.read(tmp_path / "o.fgb")[2]) == 0


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Killed(BaseException):
    """Ends a run where a kill would."""


class Steps:
    """Counts the steps that write something, and ends the run before a given one."""

    NAMES = (
        *(f"work.Work.{name}" for name in ("start", "begin_band", "write_map", "write_lower", "commit", "remove")),
        *(f"run.{name}" for name in ("write_cog", "write_polygons", "write_quicklook", "move_into_place")),
    )

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[str] = []
        self.last: int | None = None
        for name in self.NAMES:
            module, *owner, attribute = name.split(".")
            place = __import__(f"inference.scenes.{module}", fromlist=["x"])
            place = getattr(place, owner[0]) if owner else place
            monkeypatch.setattr(place, attribute, partial(self._step, attribute, getattr(place, attribute)))
            if owner:  # a partial is no method
                original = getattr(place, attribute)
                monkeypatch.setattr(place, attribute, lambda *a, _original=original, **k: _original(*a, **k))

    def _step(self, name: str, function, *arguments, **keywords):
        if self.last is not None and len(self.taken) >= self.last:
            raise Killed(name)
        self.taken.append(name)
        return function(*arguments, **keywords)

    def arm(self, last: int | None) -> None:
        self.taken, self.last = [], last


def test_a_run_that_is_killed_anywhere_is_resumed_to_the_same_bytes(
    scene, getsmaps, tmp_path, small_blocks, monkeypatch
):
    path, output = scene(330, 150), tmp_path / "out"
    ask = ("--scene", "--input", path, "--output", output, *SMALL, "--polygons", output / "objects.gpkg")
    steps = Steps(monkeypatch)
    assert getsmaps(*ask)[0] == 0
    expected, every = outputs(output), steps.taken
    assert sorted(expected) == ["objects.gpkg", "scene.tif", "scene_quicklook.png"]
    bands = every.count("commit")
    assert bands > 4
    for last in [*range(0, len(every) - 6, 13), *range(len(every) - 5, len(every), 2)]:
        shutil.rmtree(output)
        steps.arm(last)
        with pytest.raises(Killed):
            getsmaps(*ask)
        finished = steps.taken.count("commit")
        assert (output / "scene.tif").exists() == (steps.taken.count("move_into_place") == 2)
        steps.arm(None)
        assert getsmaps(*ask, "--resume")[0] == 0
        assert outputs(output) == expected, every[last]
        assert steps.taken.count("commit") == bands - finished  # nothing that was finished is made again


def test_processes_share_the_bands(scene, getsmaps, tmp_path, small_blocks):
    """Another process makes the lower bands first, as in a launch of two."""
    path, alone, shared = scene(330, 150), tmp_path / "alone", tmp_path / "shared"
    ask = ("--scene", "--input", path, *SMALL, "--dtype", "float32")
    assert getsmaps(*ask, "--output", alone)[0] == 0
    network = PlainNetwork()
    job = Job.of(str(path), Wishes(context=(60, 96), dtype="float32"), INPUT)
    work = Work(shared, job.grid, "float32")
    work.start({}, False)
    for own in ([3, 4, 5], [0, 1, 2]):
        make_bands(job, work, own, network, 4, lambda _: None)
    assert work.unfinished() == []
    assert not np.array_equal(work.rows(job.grid.area(3, 0)), read_map(alone / "scene.tif")[192:256])
    work.join_bands()
    write_cog(work, str(path), shared / "map.tif")
    assert (shared / "map.tif").read_bytes() == (alone / "scene.tif").read_bytes()
    assert [path.name for path in shared.iterdir() if path.suffix == ".raw"] == ["map.raw"]


def test_another_job_is_not_resumed(scene, getsmaps, tmp_path, small_blocks, monkeypatch):
    path, output = scene(330, 150), tmp_path / "out"
    ask = ("--scene", "--input", path, "--output", output, *SMALL)
    steps = Steps(monkeypatch)
    steps.arm(20)
    with pytest.raises(Killed):
        getsmaps(*ask)
    steps.arm(None)
    status, _, err = getsmaps(*ask, "--resume", "--overlap", 0.3)
    assert status == 1
    assert "overlap 0.5, not 0.3" in err.splitlines()[-1]
    assert getsmaps(*ask, "--overlap", 0.3)[0] == 0  # starts over


def test_two_runs_do_not_make_the_same_map(scene, getsmaps, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    with FileLock(output / ".scene.unfinished.lock"):
        status, _, err = getsmaps("--scene", "--input", scene(), "--output", output, *SMALL)
    assert status == 1
    assert "another run" in err.splitlines()[-1]
    assert not (output / ".scene.unfinished").exists()


@pytest.mark.parametrize(("happens", "said"), [("changed", "was changed"), ("removed", "was removed")])
def test_a_source_that_changes_midway_is_one_line(scene, getsmaps, tmp_path, small_blocks, monkeypatch, happens, said):
    path, output, commit = scene(330, 150), tmp_path / "out", Work.commit

    def changing(work: Work, band: int, look: np.ndarray) -> None:
        commit(work, band, look)
        if band == 1 and happens == "removed":
            path.unlink()
        elif band == 1:
            path.write_bytes(path.read_bytes() + b" ")

    monkeypatch.setattr(Work, "commit", changing)
    status, _, err = getsmaps("--scene", "--input", path, "--output", output, *SMALL)
    assert status == 1
    assert said in err.splitlines()[-1]
    assert "Traceback" not in err
    assert [each.name for each in output.iterdir()] == [".scene.unfinished"]


def test_a_full_disk_is_one_line_and_the_run_can_be_resumed(scene, getsmaps, tmp_path, small_blocks, monkeypatch):
    path, output, write, left = scene(330, 150), tmp_path / "out", os.pwrite, [200]

    def filling(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", filling)
        status, _, err = getsmaps("--scene", "--input", path, "--output", output, *SMALL)
    assert status == 1
    assert re.fullmatch(r"error: .*No space left on device.*--resume.*", err.splitlines()[-1])
    assert not (output / "scene.tif").exists()
    assert getsmaps("--scene", "--input", path, "--output", output, *SMALL, "--resume")[0] == 0


def test_folders_and_lists_and_a_broken_scene(scene, getsmaps, tmp_path):
    scene(70, 100, "scenes/a.tif"), scene(90, 120, "scenes/below/b.tif", seed=1)
    folder = tmp_path / "scenes"
    (folder / "broken.tif").write_text("no raster")
    (folder / "notes.txt").write_text("no list")
    ask = ("--scene", *SMALL, "--polygons", tmp_path / "objects.geojson", "--min-area", 0)
    status, out, err = getsmaps(*ask, "--input", folder, "--output", tmp_path / "out")
    assert status == 1
    assert "skipped" in err
    assert "broken.tif cannot be read" in err
    assert len(out.splitlines()) == 2
    names = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert names == ["a.tif", "a_quicklook.png", "below/b.tif", "below/b_quicklook.png"]
    assert (tmp_path / "objects_a.geojson").exists()
    assert (tmp_path / "objects_below_b.geojson").exists()
    listing = tmp_path / "list.txt"
    listing.write_text("scenes/a.tif\n\nscenes/below/b.tif\n")
    assert getsmaps(*ask, "--input", listing, "--output", tmp_path / "listed")[0] == 0
    assert read_map(tmp_path / "listed" / "b.tif").tobytes() == read_map(tmp_path / "out" / "below" / "b.tif").tobytes()
    before = (tmp_path / "listed" / "a.tif").stat().st_mtime_ns
    status, out, _ = getsmaps(*ask, "--input", listing, "--output", tmp_path / "listed", "--resume")
    assert status == 0
    assert out.count("was there") == 2
    assert (tmp_path / "listed" / "a.tif").stat().st_mtime_ns == before
    (tmp_path / "objects_a.geojson").unlink()
    status, out, _ = getsmaps(*ask, "--input", listing, "--output", tmp_path / "listed", "--resume")
    assert "objects_a.geojson" in out  # a finished map's polygons are made without the network
    assert (tmp_path / "objects_a.geojson").exists()


def test_contexts_in_meters_are_measured_on_the_ground(scene, getsmaps, tmp_path):
    utm, degrees = scene(300, 300), scene(
        300, 300, "degrees.tif", crs="EPSG:4326", transform=Affine(1e-5, 0, 11, 0, -1e-5, 60)
    )  # fmt: skip
    ask = ("--scene", "--output", tmp_path / "out", "--context-m", "30,60", "--overlap", 0)
    assert "context 60×40, 120×80 pixels (30, 60 m)" in getsmaps(*ask, "--input", utm)[2]
    # At 60° north, 1e-5° is 1.114 m northward and 0.558 m eastward.
    assert "context 54×18, 108×36 pixels (30.1, 60.3 m)" in getsmaps(*ask, "--input", degrees)[2]
    plain = scene(300, 300, "plain.tif", crs=None, transform=Affine.identity())
    status, _, err = getsmaps(*ask, "--input", plain)
    assert status == 1
    assert "--gsd" in err.splitlines()[-1]
    assert "context 60×40, 120×80 pixels" in getsmaps(*ask, "--input", plain, "--gsd", 0.5)[2]


@pytest.mark.parametrize(("options", "said"), [
    (["--context", "60", "--context-m", "30"], "either --context"), (["--context", "a"], "positive numbers"),
    (["--context", "9000"], "gdal_translate"), (["--overlap", "1"], "--overlap"), (["--threshold", "0"], "--threshold"),
    (["--min-area", "-1"], "--min-area"), (["--polygons", "o.shp"], "gpkg"), (["--bands", "1,2"], "3,2,1"),
    (["--range", "9:1"], "200:3000"), (["--size", "network"], "--size"), (["--gsd", "0"], "positive"),
    (["--bands", "1,2,9"], "no band 9"),
])  # fmt: skip
def test_what_does_not_go_is_one_line(scene, getsmaps, tmp_path, options, said):
    status, out, err = getsmaps("--scene", "--input", scene(), "--output", tmp_path / "out", *options)
    assert status in (1, 2)
    assert out == ""
    assert said in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_scene_options_need_scene_and_scenes_need_input(getsmaps, tmp_path):
    for options in (["--context", "60"], ["--polygons", "o.gpkg"], ["--dtype", "float32"]):
        status, _, err = getsmaps("--input", tmp_path, "--output", tmp_path / "out", *options)
        assert status == 2
        assert "goes with --scene" in err
    status, _, err = getsmaps("--scene", "--dataset", "sample", "--root", tmp_path, "--output", tmp_path / "out")
    assert status == 2
    assert "--scene takes --input" in err


def test_the_scene_itself_is_not_overwritten(scene, getsmaps, tmp_path):
    path = scene()
    before = path.read_bytes()
    status, _, err = getsmaps("--scene", "--input", path, "--output", path.parent)
    assert status == 1
    assert "would overwrite" in err
    assert path.read_bytes() == before
    assert getsmaps("--scene", "--input", path, "--output", path.parent, "--suffix", "_saliency", *SMALL)[0] == 0
    assert (path.parent / "scene_saliency.tif").exists()


def test_augmentation_works_on_scenes(scene, getsmaps, tmp_path):
    path = scene(90, 120)
    mirrored = scene(bands=colorful(90, 120)[:, :, ::-1], name="mirrored.tif")
    for each in (path, mirrored):
        assert (
            getsmaps(
                "--scene", "--input", each, "--output", tmp_path / "out", *SMALL, "--tta", "mirror", network="small"
            )[0]
            == 0
        )
    maps = [read_map(tmp_path / "out" / name).astype(int) for name in ("scene.tif", "mirrored.tif")]
    assert np.abs(maps[0] - maps[1][:, ::-1]).max() <= 2
    assert np.ptp(maps[0]) > 5


def test_scenes_have_their_own_network_and_scales(scene, getsmaps, tmp_path):
    pixels = np.full((900, 900, 3), (90, 110, 80), np.uint8)
    pixels[400:470, 300:520] = 240
    path = scene(bands=np.moveaxis(pixels, 2, 0))
    status, _, said = getsmaps("--scene", "--input", path, "--output", tmp_path / "out", network="shipped")
    assert status == 0
    assert "lite2_scenes.safetensors" in said
    assert "context 448, 640 pixels" in said
    saliency = read_map(tmp_path / "out" / "scene.tif")
    inside = np.zeros(saliency.shape, bool)
    inside[400:470, 300:520] = True
    assert saliency[inside].mean() > 127
    assert saliency[~inside].mean() < 25


def test_the_fastest_installed_backend_is_taken(small_weights, monkeypatch):
    opened: list[str | None] = []

    def recording(name: str | None, *_: object) -> PlainNetwork:
        opened.append(name)
        if name == "onnxruntime":
            raise ValueError("cannot convert it")
        return PlainNetwork()

    monkeypatch.setattr("inference.scenes.network.open_backend", recording)
    options = {"host_file": None, "weights": small_weights, "device": "cpu", "threads": 1, "batch_size": 1, "tta": None}

    def open_all(missing: tuple[str, ...] = (), **more: object) -> list[str | None]:
        opened.clear()
        monkeypatch.setattr("inference.scenes.network._is_installed", lambda package: package not in missing)
        SceneNetwork(Namespace(**options, **({"backend": None, "precision": None} | more)), ProcessGroup())
        return opened.copy()

    assert open_all() == ["openvino"]
    assert open_all(("openvino",)) == ["onnxruntime", "torch"]
    assert open_all(("openvino", "onnx")) == ["torch"]
    assert open_all(("openvino",), precision="bf16") == ["torch"]
    assert open_all(backend="compile") == ["compile"]
