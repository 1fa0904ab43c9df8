"""The page in headless Chromium: its maps, its sentences, its files, and no request to anywhere else."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.io import jpeg_pixels, open_image, read_pixels
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
    "animated.png": "the first frame is used",
    "animated.webp": "the first frame is used",
    "broken.png": "broken",
    "cmyk.jpg": "CMYK",
    "cut.tif": "cannot be decoded",
    "dark.png": "as if they had 11 or 12 bits",
    "deep.png": "16 bits a channel",
    "empty.png": "is empty",
    "head.jpg": "broken",
    "huge.png": "up to 40 million",
    "short.jpg": "ends early",
    "text.txt": "not an image",
}
CONTROLS = ["choose", "overlay", "threshold", "colors", "stretch", "tiles", "provider"]


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
    samples[0].save(folder / "turned.webp", exif=exif, icc_profile=profile, lossless=True)


def swapped_profile() -> bytes:
    """Return a color profile whose red and blue a browser would exchange, if it applied it."""
    from PIL import ImageCms

    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = data.index(b"rXYZ"), data.index(b"bXYZ")
    data[red : red + 4], data[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(data)


def write_odd(folder: Path) -> None:
    """Write files that deserve a sentence."""
    folder.mkdir()
    image = Image.open(WEB / "samples" / "tanks.jpg").convert("RGB")
    for suffix in ("gif", "png", "webp"):
        image.save(folder / f"animated.{suffix}", save_all=True, append_images=[image.rotate(90)])
    image.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 8).save(folder / "dark.png")
    (folder / "empty.png").write_bytes(b"")
    image.save(folder / "broken.png")
    whole = (folder / "broken.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "huge.png").write_bytes(whole[:16] + (30000).to_bytes(4, "big") * 2 + whole[24:])
    jpeg = (WEB / "samples" / "tanks.jpg").read_bytes()
    (folder / "short.jpg").write_bytes(jpeg[:9000])
    (folder / "head.jpg").write_bytes(jpeg[:20])
    (folder / "text.txt").write_text("no image")
    image.save(folder / "cut.tif", compression="tiff_lzw")
    tiff = (folder / "cut.tif").read_bytes()
    (folder / "cut.tif").write_bytes(tiff[:200] + bytes(len(tiff) // 2) + tiff[200 + len(tiff) // 2 :])


def write_large(folder: Path) -> None:
    """Write two photographs of 1600×1200 pixels."""
    folder.mkdir()
    for index, name in enumerate(("island", "stadium")):
        Image.open(WEB / "samples" / f"{name}.jpg").resize((1600, 1200)).save(folder / f"{index}.jpg")


def write_geotiff(path: Path) -> None:
    """Write 16 bits and four bands (blue, green, red, another) of 200 to 3000, in UTM zone 33 north, meters.

    The corner is (500000, 5000000). Band by band, compressed by ZSTD where rasterio is installed.
    """
    with Image.open(WEB / "samples" / "tanks.jpg") as image:
        red, green, blue = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    bands = np.stack([blue, green, red, red]).astype(np.float64) / 255 * 2800 + 200
    rasterio = pytest.importorskip("rasterio", reason="rasterio is missing: requirements-scenes.txt")
    profile = {"driver": "GTiff", "count": 4, "dtype": "uint16", "compress": "zstd", "crs": 32633}
    transform = rasterio.Affine(1, 0, 500000, 0, -1, 5000000)
    height, width = red.shape
    with rasterio.open(path, "w", width=width, height=height, transform=transform, **profile) as file:
        file.write(np.rint(bands).astype(np.uint16))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Run the page once over all files; return the folder and what the page said."""
    folder = tmp_path_factory.mktemp("page")
    write_images(folder / "images")
    write_odd(folder / "odd")
    write_large(folder / "large")
    write_geotiff(folder / "deep.tif")
    Image.open(folder / "large" / "1.jpg").crop((200, 100, 900, 600)).save(folder / "tiled.png")
    command = ["node", str(WEB / "tests" / "page.test.mjs"), str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout.splitlines()[-1])
    assert "stopped" not in result, result
    print(result["times"])
    return folder, result


@pytest.fixture(scope="module")
def network():
    """Return the page's network: H×W×3 uint8 pixels of any size to 448×448 saliency."""
    session = ort.InferenceSession(ROOT / "site" / "model.onnx")

    def saliency(image: Image.Image) -> np.ndarray:
        pixels, _ = read_pixels(image, (224, 224))
        return session.run(["saliency"], {"image": pixels[None]})[0][0]

    return saliency


def gap(path: Path, wanted: np.ndarray) -> int:
    """Return the greatest difference in gray levels between a saved map and another."""
    with Image.open(path) as found:
        assert found.mode == "L"
        return np.abs(np.asarray(found).astype(int) - wanted).max()


def test_maps_equal_those_of_getsmaps(seen, network):
    folder, _ = seen
    for path in sorted((folder / "images").iterdir()):
        pixels = jpeg_pixels(path)
        image = open_image(path) if pixels is None else Image.fromarray(pixels)
        wanted = np.asarray(gray_map(network(image)))
        assert gap(folder / "saved" / f"{path.name}.png", wanted) <= 1, path.name


def test_unusual_files_get_a_sentence(seen):
    assert set(seen[1]["odd"]) == set(ODD)
    for name, words in ODD.items():
        assert words in seen[1]["odd"][name], (name, seen[1]["odd"][name])


def test_every_setting_changes_what_is_shown(seen):
    _, said = seen
    assert " ms (WebAssembly, 1 thread" in said["sample"]
    assert said["layers"] == 8
    assert said["stretchShows"]
    assert said["clips"] == [0, 100, 50]


def test_saved_files_agree_with_one_another(seen):
    folder, said = seen
    with Image.open(WEB / "samples" / "island.jpg") as image:
        pixels = np.asarray(image)
    levels, mask, cutout = (np.asarray(Image.open(folder / "saved" / name)) for name in ("map", "mask", "cutout"))
    assert levels.shape == mask.shape == pixels.shape[:2]
    assert np.array_equal(mask, np.where(levels >= 100, 255, 0))
    assert np.array_equal(cutout[..., 3], np.where(mask, levels, 0))
    assert np.abs(cutout[..., :3].astype(int) - pixels).max() <= 1
    features = json.loads((folder / "saved" / "polygons").read_text())["features"]
    assert sum(feature["properties"]["pixels"] for feature in features) == (mask == 255).sum()
    assert sorted(said["quick"]) == [
        f"island_{kind}" for kind in ("cutout.png", "map.png", "mask.png", "polygons.geojson")
    ]


def test_tiles_of_two_sizes_are_blended(seen, network):
    folder, said = seen
    image = Image.open(folder / "tiled.png").convert("RGB")
    width, height = image.size
    wanted = np.zeros((height, width))
    for tile in (320, 640):
        total, weights = np.zeros((2, height, width))
        h, w = min(tile, height), min(tile, width)
        weight = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (h, w)))
        rows, columns = (
            np.rint(np.linspace(0, n - side, -(-(n - side) // (tile // 2)) + 1)).astype(int)
            for n, side in ((height, h), (width, w))
        )
        for y in rows:
            for x in columns:
                seen_there = Image.fromarray(network(image.crop((x, y, x + w, y + h))))
                total[y : y + h, x : x + w] += weight * np.asarray(seen_there.resize((w, h), Image.Resampling.BILINEAR))
                weights[y : y + h, x : x + w] += weight
        wanted += total / weights / 2
    assert gap(folder / "saved" / "tiled", np.trunc(wanted * 255)) <= 1
    assert " ms (WebAssembly" in said["tiles"]


def test_tiles_can_be_cancelled_and_overtaken(seen):
    _, said = seen
    assert " of " in said["progress"]
    assert " s left" in said["progress"]
    assert said["cancelled"] == ["Cancelled. The earlier map is kept.", "320,640", True]
    assert said["changed"] == [said["changed"][0], "448"]
    assert said["changed"][0].startswith("700×500 pixels in ")
    assert said["overtaken"].startswith("1600×1200 pixels in ")
    assert "Compute 75 tiles" in said["offer"]
    assert said["accepted"] == "320,640"


def test_bands_and_range_of_a_geotiff(seen, network):
    folder, said = seen
    assert "16-bit unsigned pixels" in said["range"]
    assert said["automatic"] is False
    with Image.open(WEB / "samples" / "tanks.jpg") as image:
        wanted = np.asarray(gray_map(network(image.convert("RGB"))))
    assert gap(folder / "saved" / "deep", wanted) <= 1
    assert "bands 1 to 4" in said["wrongBand"]
    assert " ms (" in said["mended"]


def test_polygons_of_a_geotiff_are_in_degrees(seen):
    features = json.loads((seen[0] / "saved" / "geo").read_text())["features"]
    assert features
    points = np.concatenate([np.array(feature["geometry"]["coordinates"][0]) for feature in features])
    assert (np.abs(points - [15.002, 45.152]) < 0.004).all(), points[:3]
    for feature in features:  # on UTM's central meridian a pixel of one meter covers 1 / 0.9996² of a square meter
        pixels, area = feature["properties"]["pixels"], feature["properties"]["area_m2"]
        assert area == pytest.approx(pixels / 0.9996**2, rel=1e-3)


def test_drop_and_paste(seen):
    for way in ("drop", "paste"):
        assert seen[1][way].startswith("200×97 pixels in ")
        assert "Drop an image file." in seen[1]["dropText"]
        assert "Copy an image" in seen[1]["pasteText"]


def test_memory_does_not_grow_over_ten_images(seen):
    first, second = seen[1]["memory"]
    assert second - first < 60, seen[1]["memory"]


def test_access(seen):
    _, said = seen
    assert said["unnamed"] == said["light"] == said["dark"] == said["tab"]["unseen"] == []
    assert said["overflow"] <= 0
    assert said["motion"] == "0s"
    assert not set(CONTROLS) - {name.replace("layer", "overlay") for name in said["tab"]["reached"]}
    assert " ms (" in said["enter"]
    assert said["arrow"] == "Result: map"


def test_works_offline_with_threads_and_from_a_single_file(seen):
    _, said = seen
    assert "is ready" in said["offline"][0]
    assert " ms (WebAssembly" in said["offline"][1]
    assert said["isolated"]
    assert " ms (WebAssembly" in said["single"]
    assert said["singleSaved"] > 10000


def test_webgpu_falls_back_visibly(seen):
    line, remark, provider = seen[1]["fallback"]
    assert "WebAssembly" in line
    assert "WebGPU does not work here" in remark
    assert provider == "wasm"


def test_first_visit_transfers_ten_megabytes_at_most(seen):
    sent = seen[1]["sent"]
    assert sum(sent.values()) < 10e6, sent
    large = {path: size for path, size in sent.items() if size > 2e6}
    assert all(size < 5e6 for size in large.values()), large  # none of them twice


def test_nothing_goes_wrong_and_nothing_leaves(seen):
    assert seen[1]["faults"] == []
