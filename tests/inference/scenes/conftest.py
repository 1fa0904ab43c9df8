"""Fixtures of the tests of scenes: rasters, and the command in this process."""

import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inference.backends import open_backend
from tests.helpers import ROOT

rasterio = pytest.importorskip("rasterio")
for package in ("pyogrio", "pyarrow", "pyproj", "shapely"):
    pytest.importorskip(package)


def colorful(height: int, width: int, seed: int = 0) -> np.ndarray:
    """3×H×W uint8 of soft blobs."""
    cells = (max(height // 12, 2), max(width // 12, 2), 3)
    coarse = np.random.default_rng(seed).integers(0, 256, cells, dtype=np.uint8)
    return np.moveaxis(np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)), 2, 0)


@pytest.fixture
def scene(tmp_path) -> Callable[..., Path]:
    """Writes a raster of soft blobs, or given bands, to `name` with more of its profile."""

    def written(height: int = 100, width: int = 150, name: str = "scene.tif", **profile: Any) -> Path:
        bands = profile.pop("bands", None)
        bands = colorful(height, width, profile.pop("seed", 0)) if bands is None else bands
        keys: dict[str, Any] = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "dtype": bands.dtype}
        keys |= {"width": bands.shape[2], "photometric": "RGB" if len(bands) > 2 else "MINISBLACK"}
        keys |= {"crs": "EPSG:32632", "transform": rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_500_000)}
        mask, gcps, rpcs = (profile.pop(key, None) for key in ("mask", "gcps", "rpcs"))
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            warnings.simplefilter("ignore")
            with rasterio.open(path, "w", **(keys | profile)) as target:
                target.write(bands)
                if mask is not None:
                    target.write_mask(mask)
                if gcps:
                    target.gcps = gcps, rasterio.CRS.from_epsg(4326)
                if rpcs:
                    target.rpcs = rpcs
        return path

    return written


class PlainNetwork:
    """Stands for a network where what it computes does not matter: each pixel's gray beside the mean of the window."""

    name, precision, device, input_size = "torch", "fp32", torch.device("cpu"), (64, 96)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        gray = pixels.mean(axis=-1, dtype=np.float32) / np.float32(255)
        saliency = np.clip(gray - gray.mean(axis=(1, 2), keepdims=True) + np.float32(0.5), 0, 1)
        return saliency.repeat(2, axis=1).repeat(2, axis=2)


@pytest.fixture
def getsmaps(small_weights, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs getsmaps.py in this process by a plain or a small network of 64×96 inputs, or the shipped one.

    Returns (status, stdout, stderr).
    """
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # which the script changes
    plain = PlainNetwork()

    def run(*arguments: object, network: str = "plain") -> tuple[int, str, str]:
        opened = (lambda *_: plain) if network == "plain" else open_backend
        monkeypatch.setattr("inference.scenes.network.open_backend", opened)
        weights = () if network == "shipped" else ("--weights", small_weights)
        command = ["getsmaps.py", *weights, "--threads", 1, "--backend", "torch", *arguments]
        monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        status: int | str | None = 0
        try:
            runpy.run_path(str(ROOT / "getsmaps.py"), run_name="__main__")
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return (1, out, err + status) if isinstance(status, str) else (status or 0, out, err)

    return run


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    """Bands and blocks as small as the windows allow, so that small scenes have several."""
    monkeypatch.setattr("inference.scenes.windows.BLOCK_SIDE", (40, 70))
