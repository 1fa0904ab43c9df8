"""The page in headless Chromium: its maps, its sentences, its files, and no request to anywhere else."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from datasets.io import read_pixels
from inference.maps import gray_map

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ort = pytest.importorskip("onnxruntime")
for needed, reason in (
    (shutil.which("node"), "Node.js is missing"),
    (Path(CHROMIUM).is_file(), f"{CHROMIUM} is missing"),
    ((WEB / "node_modules" / "playwright-core").is_dir(), "npm packages are missing: run make page"),
    ((ROOT / "site" / "single.html").is_file(), "site/ is missing: run make page"),
):
    if not needed:
        pytest.skip(reason, allow_module_level=True)

ODD = {
    "animated.gif": "the first frame is used",
    "broken.png": "broken",
    "cmyk.jpg": "CMYK",
    "deep.png": "16 bits a channel",
    "empty.png": "is empty",
    "huge.png": "up to 40 million",
    "short.jpg": "ends early",
    "text.txt": "not an image",
}


def write_images(folder: Path) -> None:
    """Write images whose pixels a browser would change: alpha, EXIF orientation, a color profile, a palette."""
    folder.mkdir()
    samples = [Image.open(path).convert("RGB") for path in sorted((WEB / "samples").glob("*.jpg"))]
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = swapped_profile()
    samples[0].save(folder / "plain.png")
    samples[0].save(folder / "turned.jpg", exif=exif, quality=90)
    samples[1].save(folder / "profile.jpg", icc_profile=profile, quality=85, subsampling=0)
    samples[1].save(folder / "tagged.png", icc_profile=profile)
    clear = samples[2].convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "alpha.png")
    samples[3].quantize(64).save(folder / "palette.png")
    samples[4].convert("L").save(folder / "gray.jpg")
    samples[4].crop((0, 0, 200, 97)).save(folder / "small.jpg")


def swapped_profile() -> bytes:
    """Return a color profile whose red and blue a browser would exchange, if it applied it."""
    from PIL import ImageCms

    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = data.index(b"rXYZ"), data.index(b"bXYZ")
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


def write_odd(folder: Path) -> None:
    folder.mkdir()
    image = Image.open(WEB / "samples" / "tanks.jpg").convert("RGB")
    image.save(folder / "animated.gif", save_all=True, append_images=[image.rotate(90)])
    image.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    (folder / "empty.png").write_bytes(b"")
    image.save(folder / "broken.png")
    whole = (folder / "broken.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "huge.png").write_bytes(whole[:16] + (30000).to_bytes(4, "big") * 2 + whole[24:])
    (folder / "short.jpg").write_bytes((WEB / "samples" / "tanks.jpg").read_bytes()[:9000])
    (folder / "text.txt").write_text("no image")


def write_geotiff(path: Path) -> None:
    """Write a GeoTIFF in UTM zone 33 north: corner (500000, 5000000), pixels of one meter."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33550], tags[33922] = (1.0, 1.0, 0.0), (0.0, 0.0, 0.0, 500000.0, 5000000.0, 0.0)
    tags.tagtype[33550] = tags.tagtype[33922] = 12
    tags[34735] = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)
    tags.tagtype[34735] = 3
    Image.open(WEB / "samples" / "tanks.jpg").convert("RGB").save(path, tiffinfo=tags)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Run the page once over all files; return the folder and what the page said."""
    folder = tmp_path_factory.mktemp("page")
    write_images(folder / "images")
    write_odd(folder / "odd")
    write_geotiff(folder / "utm.tif")
    command = ["node", str(WEB / "tests" / "page.test.mjs"), str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout.splitlines()[-1])
    assert "stopped" not in result, result
    return folder, result


def test_maps_equal_those_of_getsmaps(seen):
    folder, _ = seen
    session = ort.InferenceSession(ROOT / "site" / "model.onnx")
    for path in sorted((folder / "images").iterdir()):
        pixels, _ = read_pixels(path, (224, 224))
        wanted = gray_map(session.run(["saliency"], {"image": pixels[None]})[0][0])
        with Image.open(folder / "maps" / f"{path.stem}_map.png") as found:
            assert found.mode == "L"
            gap = np.abs(np.asarray(found).astype(int) - np.asarray(wanted))
        assert gap.max() <= 1, f"{path.name}: {gap.max()} levels"


def test_unusual_files_get_a_sentence(seen):
    for name, words in ODD.items():
        assert words in seen[1]["odd"][name], (name, seen[1]["odd"][name])


def test_controls(seen):
    folder, said = seen
    assert " ms (WebAssembly" in said["sample"]
    assert " ms (WebAssembly" in said["tiles"]
    assert said["clip"] in ("inset(0px)", "inset(0px 0px 0px 0%)")
    assert "Cancelled" in said["cancelled"]
    assert said["overflow"] <= 0
    size = Image.open(WEB / "samples" / "island.jpg").size
    mask, cutout = Image.open(folder / "mask"), Image.open(folder / "cutout")
    assert mask.size == cutout.size == size
    assert mask.mode == "L"
    assert cutout.mode == "RGBA"
    features = json.loads((folder / "polygons").read_text())["features"]
    assert sum(feature["properties"]["pixels"] for feature in features) == (np.asarray(mask) == 255).sum()


def test_polygons_of_a_geotiff_are_in_degrees(seen):
    points = np.concatenate(
        [
            np.array(feature["geometry"]["coordinates"][0])
            for feature in json.loads((seen[0] / "geo").read_text())["features"]
        ]
    )
    assert (np.abs(points - [15.002, 45.152]) < 0.004).all(), points[:3]


def test_works_offline_and_from_a_single_file(seen):
    assert "is ready" in seen[1]["offline"]
    assert " ms (WebAssembly" in seen[1]["single"]


def test_nothing_goes_wrong_and_nothing_leaves(seen):
    assert seen[1]["faults"] == []
