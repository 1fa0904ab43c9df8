"""Streamed objects are those of the whole array by scipy and rasterio; files hold them with areas on the ellipsoid."""

import numpy as np
import pytest
import scipy.ndimage

from inference.scenes.components import find_components
from inference.scenes.polygons import PolygonWishes, check_polygon_file, write_polygons

rasterio = pytest.importorskip("rasterio")
pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")
pyproj = pytest.importorskip("pyproj")
features = pytest.importorskip("rasterio.features")
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
Affine = pytest.importorskip("rasterio.transform").Affine

UTM = Affine(0.5, 0, 500_000, 0, -0.5, 5_500_000)
DEGREES = Affine(5e-6, 0, 11.5, 0, -5e-6, 48.1)


def blobs(seed: int, density: float, smooth: float, shape: tuple[int, int] = (150, 130)) -> np.ndarray:
    """H×W uint8 whose values of 128 and more are objects of every kind: holes, spirals, dots; some 255 (nodata)."""
    noise = np.random.default_rng(seed).random(shape)
    smoothed = scipy.ndimage.gaussian_filter(noise, smooth) if smooth else noise
    ranks = smoothed.ravel().argsort().argsort().reshape(shape) / smoothed.size
    levels = np.clip((ranks - (1 - density)) * 120 + 128, 0, 254).astype(np.uint8)
    levels[noise > 0.995] = 255
    return levels


def expected_objects(levels: np.ndarray) -> list[tuple]:
    """(pixels, mean, maximum, polygon) of the whole array's objects, sorted."""
    mask = (levels >= 128) & (levels != 255)
    labels, count = scipy.ndimage.label(mask)
    polygons = {int(label): shapely.geometry.shape(outline) for outline, label in features.shapes(labels, mask=mask)}
    index = np.arange(1, count + 1)
    means, maxima = (f(levels, labels, index) for f in (scipy.ndimage.mean, scipy.ndimage.maximum))
    sizes = np.bincount(labels.ravel())[1:]
    return sorted(
        ((int(sizes[i]), float(means[i]), float(maxima[i]), polygons[i + 1]) for i in range(count)), key=order
    )


def order(each: tuple) -> tuple:
    return *each[:3], shapely.normalize(each[3]).wkt


SPIRAL = np.zeros((41, 41), np.uint8)
for _k in range(0, 20, 4):
    SPIRAL[_k, _k : 41 - _k] = SPIRAL[_k : 41 - _k, 40 - _k] = 200
    SPIRAL[40 - _k, _k : 41 - _k] = SPIRAL[_k + 2 : 41 - _k, _k] = 200


@pytest.mark.parametrize("rows", [1, 7, 64, 150])
@pytest.mark.parametrize("levels", [
    blobs(0, 0.3, 2), blobs(1, 0.55, 0), blobs(2, 0.6, 1), blobs(3, 0.02, 0), SPIRAL,
    np.zeros((9, 5), np.uint8), np.full((9, 5), 200, np.uint8), np.full((1, 300), 200, np.uint8),
])  # fmt: skip
def test_streamed_objects_are_those_of_the_whole_array(levels, rows):
    strips = ((top, levels[top : top + rows]) for top in range(0, len(levels), rows))
    found = []
    for component in find_components(strips, 128, 255):
        exterior, *holes = component.rings()
        polygon = shapely.Polygon(exterior, holes)
        assert polygon.is_valid
        found.append((component.pixels, component.mean, component.maximum, polygon))
    expected = expected_objects(levels)
    assert len(found) == len(expected)
    for ours, theirs in zip(sorted(found, key=order), expected, strict=True):
        assert ours[:3] == pytest.approx(theirs[:3])
        assert ours[3].equals(theirs[3])


def test_small_components_are_left_out_also_across_strips():
    levels = blobs(4, 0.4, 1)
    strips = ((top, levels[top : top + 10]) for top in range(0, len(levels), 10))
    sizes = sorted(component.pixels for component in find_components(strips, 128, 255, least=30))
    assert sizes == [each[0] for each in expected_objects(levels) if each[0] >= 30]


@pytest.fixture
def map_file(tmp_path):
    def written(levels: np.ndarray, crs: str | None, transform: Affine, dtype: str = "uint8"):
        path = tmp_path / "map.tif"
        values = levels if dtype == "uint8" else np.where(levels == 255, np.nan, levels / np.float32(255))
        nodata = 255 if dtype == "uint8" else np.nan
        profile = {"driver": "GTiff", "count": 1, "height": len(levels), "width": levels.shape[1], "nodata": nodata}
        with rasterio.open(path, "w", **profile, crs=crs, transform=transform, dtype=dtype) as target:
            target.write(values.astype(dtype), 1)
        return path

    return written


@pytest.mark.parametrize(("suffix", "crs", "transform", "dtype"), [
    (".gpkg", "EPSG:32632", UTM, "uint8"), (".fgb", "EPSG:4326", DEGREES, "float32"),
    (".geojson", "EPSG:3857", Affine(0.5, 0, 1e6, 0, -0.5, 7e6), "uint8"),
    (".geojson", "EPSG:32632", UTM @ Affine.rotation(30), "uint8"), (".gpkg", "EPSG:4326", DEGREES, "uint8"),
])  # fmt: skip
def test_files_hold_the_objects(map_file, tmp_path, suffix, crs, transform, dtype, monkeypatch):
    monkeypatch.setattr("inference.scenes.output.STRIP_PIXELS", 130 * 16)
    levels, path = blobs(5, 0.3, 2), tmp_path / f"objects{suffix}"
    count = write_polygons(map_file(levels, crs, transform, dtype), path, PolygonWishes(0.5, 1.1))
    found = pyogrio.raw.read(path)
    meta, _, geometry, fields = found
    assert pyproj.CRS(meta["crs"]) == pyproj.CRS("EPSG:4326" if suffix == ".geojson" else crs)
    values = dict(zip(meta["fields"], fields, strict=True))
    polygons = shapely.from_wkb(geometry)
    lonlat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    geod, to_degrees = pyproj.CRS(crs).get_geod(), pyproj.Transformer.from_crs(meta["crs"], "EPSG:4326", always_xy=True)
    kept = 0
    for pixels, mean, maximum, polygon in expected_objects(levels):
        placed = shapely.transform(polygon, lambda xy: np.array([transform @ point for point in xy.tolist()]))
        if suffix == ".geojson":
            placed = shapely.transform(placed, lambda xy: np.stack(lonlat.transform(*xy.T), axis=1))
        area = abs(geod.geometry_area_perimeter(
            shapely.transform(placed, lambda xy: np.stack(to_degrees.transform(*xy.T), axis=1))
        )[0])  # fmt: skip
        if area < 1.1:
            continue
        kept += 1
        distance = shapely.distance(polygons, placed.representative_point())
        i = int(distance.argmin())
        tolerance = 1e-9 if pyproj.CRS(meta["crs"]).is_geographic else 1e-6
        assert polygons[i].symmetric_difference(placed).area <= 1e-3 * placed.area + tolerance**2
        assert values["area_m2"][i] == pytest.approx(area, rel=1e-3)
        assert values["pixels"][i] == pixels
        assert (values["mean"][i], values["max"][i]) == pytest.approx((mean / 255, maximum / 255), abs=1e-6)
    assert kept == count
    assert len(polygons) == count
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_projected_areas_agree_with_the_pixels(map_file, tmp_path):
    write_polygons(map_file(blobs(6, 0.3, 2), "EPSG:32632", UTM), tmp_path / "o.gpkg", PolygonWishes(0.5, 0))
    meta, _, _, fields = pyogrio.raw.read(tmp_path / "o.gpkg")
    values = dict(zip(meta["fields"], fields, strict=True))
    assert np.allclose(values["area_m2"], values["pixels"] * 0.25, rtol=2e-3)  # UTM's scale squared is 0.9992


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
def test_no_crs_no_objects_and_the_same_bytes(map_file, tmp_path, suffix):
    path, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    raster = map_file(blobs(7, 0.3, 2), None, Affine.identity())
    for target in (path, again):
        write_polygons(raster, target, PolygonWishes(0.5, 30))
    assert path.read_bytes() == again.read_bytes()
    meta, _, geometry, fields = pyogrio.raw.read(path)
    values = dict(zip(meta["fields"], fields, strict=True))
    assert values["pixels"].min() >= 30
    assert np.allclose(shapely.area(shapely.from_wkb(geometry)), values["pixels"])
    assert write_polygons(map_file(np.zeros((9, 9), np.uint8), "EPSG:32632", UTM), path, PolygonWishes()) == 0
    assert len(pyogrio.raw.read(path)[2]) == 0


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.gpkg, \.geojson"):
        check_polygon_file(tmp_path / "objects.shp")
