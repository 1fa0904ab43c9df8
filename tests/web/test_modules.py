"""The page's modules under Node: pixels, tiles, polygons and coordinates against torch, Pillow, rasterio and pyproj."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

WEB = Path(__file__).parents[2] / "web"
if shutil.which("node") is None:
    pytest.skip("Node.js is missing", allow_module_level=True)
if not (WEB / "node_modules" / "geotiff").is_dir():
    pytest.skip("npm packages are missing: run make page", allow_module_level=True)

EMPTY = {"rgb": [], "map": [], "polygons": [], "places": [], "areas": [], "pngs": [], "tiffs": [], "tiles": []}
RNG = np.random.default_rng(0)


def run(**cases: list) -> dict:
    """Return what the modules make of the cases."""
    command = ["node", str(WEB / "tests" / "modules.mjs")]
    ran = subprocess.run(command, input=json.dumps(EMPTY | cases), capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_pixels_are_resized_as_torch_and_pillow_do():
    shapes = [((50, 37), (224, 224)), ((500, 301), (224, 224)), ((224, 7), (224, 224)), ((90, 64), (31, 64))]
    images = [RNG.integers(0, 256, (h, w, 3), dtype=np.uint8) for (h, w), _ in shapes]
    maps = [RNG.random((h, w), dtype=np.float32) for (h, w), _ in shapes]
    cases = [{"width": w, "height": h, "to": (out_w, out_h)} for (h, w), (out_h, out_w) in shapes]
    found = run(
        rgb=[case | {"pixels": image.ravel().tolist()} for case, image in zip(cases, images, strict=True)],
        map=[case | {"pixels": m.ravel().tolist()} for case, m in zip(cases, maps, strict=True)],
    )
    for image, (_, size), pixels in zip(images, shapes, found["rgb"], strict=True):
        planes = torch.from_numpy(image).permute(2, 0, 1)[None]
        wanted = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        assert np.array_equal(np.array(pixels).reshape(*size, 3), wanted.numpy())
    for saliency, (_, (h, w)), values in zip(maps, shapes, found["map"], strict=True):
        wanted = np.asarray(Image.fromarray(saliency).resize((w, h), Image.Resampling.BILINEAR))
        assert np.abs(np.array(values).reshape(h, w) - wanted).max() < 1e-6


def hann_blend(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return the blend of tiles whose saliency is their pixels times their first column + 1."""
    height, width = pixels.shape
    total, weights = np.zeros(pixels.shape), np.zeros(pixels.shape)

    def starts(length: int) -> np.ndarray:
        last = max(length - size, 0)
        return np.rint(np.linspace(0, last, -(-last // (size // 2)) + 1)).astype(int)

    for y in starts(height):
        for x in starts(width):
            place = np.s_[y : y + size, x : x + size]
            h, w = pixels[place].shape
            weight = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (h, w)))
            total[place] += weight * pixels[place] * (x + 1)
            weights[place] += weight
    return total / weights


@pytest.mark.parametrize(
    ("shape", "sizes"), [((50, 61), [16]), ((33, 70), [16, 32, 64]), ((8, 40), [16]), ((9, 9), [16])]
)
def test_tiles_are_blended_by_hann_weights(shape, sizes):
    pixels = RNG.random(shape)
    case = {"pixels": pixels.ravel().tolist(), "width": shape[1], "height": shape[0], "sizes": sizes}
    found = np.array(run(tiles=[case])["tiles"][0]).reshape(shape)
    wanted = np.mean([hann_blend(pixels, size) for size in sizes], axis=0)
    assert np.abs(found / wanted - 1).max() < 1e-5


def test_polygons_equal_those_of_gdal():
    features = pytest.importorskip("rasterio.features", reason="rasterio is missing: requirements-scenes.txt")
    shapely = pytest.importorskip("shapely", reason="shapely is missing: requirements-scenes.txt")
    masks = [(RNG.random((30, 40)) < share).astype(np.uint8) for share in (0.2, 0.5, 0.8)]
    cases = [{"mask": mask.ravel().tolist(), "width": 40, "height": 30} for mask in masks]
    for mask, found in zip(masks, run(polygons=cases)["polygons"], strict=True):
        ours = [shapely.geometry.shape(feature["geometry"]) for feature in found["features"]]
        wanted = [shapely.geometry.shape(s) for s, value in features.shapes(mask, connectivity=4) if value]
        assert all(polygon.is_valid and polygon.exterior.is_ccw for polygon in ours)
        assert [p.area for p in ours] == [f["properties"]["pixels"] for f in found["features"]]
        assert {p.normalize().wkt for p in ours} == {p.normalize().wkt for p in wanted}


def test_coordinates_and_areas_equal_those_of_proj():
    pyproj = pytest.importorskip("pyproj", reason="pyproj is missing: requirements-scenes.txt")
    utm = [[166022.0, 1000.0], [500000.0, 5000000.0], [833978.0, 9000000.0], [412345.6, 2345678.9]]
    mercator = [[-1e7, 8e6], [1234567.8, -2345678.9]]
    systems = {32601: utm, 32633: utm, 32760: utm, 25832: utm, 26910: utm, 3857: mercator}
    found = run(places=[{"code": code, "points": points} for code, points in systems.items()])["places"]
    for (code, points), places in zip(systems.items(), found, strict=True):
        to_degrees = pyproj.Transformer.from_crs(code, 4326, always_xy=True)
        wanted = np.array([to_degrees.transform(*point) for point in points])
        gap = np.array(places) - wanted
        gap[:, 0] = (gap[:, 0] + 180) % 360 - 180
        assert np.abs(gap).max() < 1e-8, code  # a millimeter
    ring = [[15.0, 45.0], [15.002, 45.0005], [15.0015, 45.002], [14.999, 45.001], [15.0, 45.0]]
    wanted, _ = pyproj.Geod(ellps="WGS84").polygon_area_perimeter(*zip(*ring, strict=True))
    assert run(areas=[ring, ring[::-1]])["areas"] == [pytest.approx(wanted, rel=1e-5), pytest.approx(-wanted, rel=1e-5)]


def test_png_files_of_every_kind(tmp_path):
    image = Image.fromarray(RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8))
    alpha = image.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(image.size))
    kinds = {"rgb": image, "rgba": alpha, "la": alpha.convert("LA"), "l": image.convert("L"), "bit": image.convert("1")}
    kinds |= {f"palette{n}": image.quantize(n) for n in (2, 4, 16, 256)}
    for name, kind in kinds.items():
        kind.save(tmp_path / f"{name}.png")
    paths = sorted(tmp_path.iterdir())
    for path, pixels in zip(paths, run(pngs=[str(path) for path in paths])["pngs"], strict=True):
        with Image.open(path) as wanted:
            own = wanted if wanted.mode != "RGBA" else Image.fromarray(np.asarray(wanted)[..., :3])
            assert np.array_equal(np.array(pixels).reshape(13, 17, 3), np.asarray(own.convert("RGB"))), path.name


def test_tiff_files_of_every_kind(tmp_path):
    image = Image.fromarray(RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8))
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"):
        image.save(tmp_path / f"{compression}.tif", compression=compression)
    image.quantize(64).save(tmp_path / "palette.tif")
    image.convert("L").save(tmp_path / "gray.tif")
    alpha = image.copy()
    alpha.putalpha(255)
    alpha.save(tmp_path / "alpha.tif")
    Image.fromarray(np.asarray(image.convert("L"))).save(tmp_path / "white.tif", tiffinfo={262: 0})
    paths = sorted(tmp_path.iterdir())
    found = run(tiffs=[{"path": str(path), "choice": None} for path in paths])["tiffs"]
    for path, read in zip(paths, found, strict=True):
        with Image.open(path) as wanted:
            pixels = np.asarray(wanted.convert("RGB"))
        assert "problem" not in read, (path.name, read)
        assert np.array_equal(np.array(read["rgb"]).reshape(pixels.shape), pixels), path.name


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_bands_ranges_and_nodata_of_a_tiff_file(tmp_path):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is missing: requirements-scenes.txt")
    values = RNG.integers(200, 3000, (4, 20, 30)).astype(np.float64)
    values[:, :5, :5] = -9999
    choice = {"bands": [3, 2, 1], "range": [200, 3000]}
    cases, wanted = [], np.clip(np.rint((values[[2, 1, 0]] - 200) * 255 / 2800), 0, 255).transpose(1, 2, 0)
    wanted[:5, :5] = 0
    for kind in ("int16", "float32", "int32"):
        for interleave in ("pixel", "band"):
            path = tmp_path / f"{kind}-{interleave}.tif"
            profile = {"driver": "GTiff", "width": 30, "height": 20, "count": 4, "nodata": -9999, "dtype": kind}
            with rasterio.open(path, "w", **profile, interleave=interleave) as file:
                file.write(values.astype(kind))
            cases.append({"path": str(path), "choice": choice})
    path = cases[0]["path"]
    cases += [
        {"path": path, "choice": wrong} for wrong in (None, choice | {"bands": [5, 1, 1]}, choice | {"range": [5, 5]})
    ]
    *found, automatic, band, span = run(tiffs=cases)["tiffs"]
    for case, read in zip(cases, found, strict=False):
        assert np.abs(np.array(read["rgb"]).reshape(20, 30, 3) - wanted).max() <= 1, case["path"]
        valid = np.ones((20, 30))
        valid[:5, :5] = 0
        assert np.array_equal(np.array(read["valid"]).reshape(20, 30), valid), case["path"]
    there = values[:3][:, values[0] != -9999]
    assert automatic["raster"]["range"] == pytest.approx(np.quantile(there, [0.02, 0.98]), abs=5)
    assert "becomes black" in automatic["notices"][0]
    assert "bands 1 to 4" in band["problem"]
    assert "range is empty" in span["problem"]
