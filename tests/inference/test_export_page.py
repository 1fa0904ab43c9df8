"""docs/export.md: a client that is written from the page alone makes getsmaps.py's maps."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.export import exporter
from inference.export.header import INPUT, MAP, SALIENCY, Header
from tests.helpers import ROOT, picture, run_script

pytest.importorskip("onnxscript", reason="requirements-onnx.txt is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="requirements-onnx.txt is not installed")

PAGE = (ROOT / "docs" / "export.md").read_text()
SIZE = (64, 96)
CLIENT = '''
import json, sys
from pathlib import Path
import numpy, onnxruntime
from PIL import Image

def smaller(values, size, axis):
    """Resize along an axis by the page's rule: a triangle as wide as the factor, over pixel centers."""
    here = values.shape[axis]
    scale = here / size
    support = max(scale, 1.0)
    centers = (numpy.arange(size) + 0.5) * scale
    distance = numpy.abs(numpy.arange(here) + 0.5 - centers[:, None]) / support
    weights = numpy.maximum(1 - distance, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return numpy.moveaxis(numpy.tensordot(weights, values, (1, axis)), 0, axis)

def rgb(path):
    image = Image.open(path)
    image.seek(0)
    if image.mode.startswith("I;16"):
        high = (numpy.asarray(image) >> 8).astype(numpy.uint8)
        return numpy.stack([high] * 3, axis=-1)
    if image.mode in ("RGBA", "LA"):
        image = Image.merge(image.mode[:-1], image.split()[:-1])
    return numpy.asarray(image.convert("RGB"))

def stretched(values):
    least, greatest = values.min(), values.max()
    if greatest <= 0.25:
        return numpy.where(values < 0.25, 0, values)
    return values if least == greatest else (values - least) / (greatest - least)

network, images, output, own_size, raw = sys.argv[1:]
session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
assert about["format"] == "sral"
height, width = json.loads(about["input_size"])
for path in sorted(Path(images).iterdir()):
    pixels = rgb(path)
    rows, columns = pixels.shape[:2]
    small = smaller(smaller(pixels.astype(float), width, 1).round(), height, 0).round().clip(0, 255)
    saliency = session.run(["saliency"], {"image": small.astype(numpy.uint8)[None]})[0][0]
    if own_size == "original":
        saliency = smaller(smaller(saliency.astype(float), columns, 1), rows, 0)
    values = saliency if raw == "raw" else stretched(saliency)
    Image.fromarray((values.clip(0, 1) * 255).astype(numpy.uint8)).save(Path(output) / (path.stem + ".png"))
used = {name.partition(".")[0] for name in sys.modules}
assert not used & {"torch", "cv2", "models", "inference", "datasets", "utils"}, used
'''


@pytest.fixture(scope="module")
def network(small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "net.onnx"
    exporter.export(small_weights, "onnx", path, "one")
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several kinds and sizes; that of the network's size is not resized."""
    folder = tmp_path_factory.mktemp("images")
    picture(SIZE[1], SIZE[0]).save(folder / "exact.png")
    picture(300, 170, 1).save(folder / "larger.jpg")
    picture(60, 45, 2).save(folder / "smaller.bmp")
    picture(120, 90, 3).convert("L").save(folder / "gray.png")
    alpha = Image.fromarray(np.tile(np.arange(120, dtype=np.uint8), (90, 1)))
    Image.merge("RGBA", (*picture(120, 90, 4).split(), alpha)).save(folder / "alpha.png")
    deep = np.asarray(picture(110, 80, 5).convert("L")).astype(np.uint16) << 8
    Image.fromarray(deep + 77).save(folder / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(200, 130, 6).save(folder / "turned.jpg", exif=turned)
    return folder


@pytest.mark.parametrize("size", ["network", "original"])
@pytest.mark.parametrize("raw", ["raw", "stretched"])
def test_a_client_from_the_page_makes_getsmaps_maps(size, raw, network, images, tmp_path, monkeypatch):
    client, theirs, ours = tmp_path / "client.py", tmp_path / "theirs", tmp_path / "ours"
    client.write_text(CLIENT)
    theirs.mkdir()
    subprocess.run([sys.executable, client, network, images, theirs, size, raw], check=True, cwd=tmp_path)
    options = ["--weights", network, "--backend", "onnxruntime", "--input", images, "--output", ours, "--size", size]
    monkeypatch.setattr(sys, "argv", ["getsmaps.py", *map(str, options), *(["--raw"] if raw == "raw" else [])])
    run_script(ROOT / "getsmaps.py")
    names = sorted(path.name for path in ours.iterdir())
    assert names == sorted(path.name for path in theirs.iterdir())
    assert len(names) == 7
    for name in names:
        found, wanted = (np.asarray(Image.open(folder / name), int) for folder in (theirs, ours))
        assert found.shape == wanted.shape, name
        assert wanted.std() > 5, name
        if name == "exact.png":
            assert np.abs(found - wanted).max() <= 1
        assert np.abs(found - wanted).mean() < 0.6, name  # inputs differ by at most one gray level


def test_the_pages_client_makes_getsmaps_maps(network, images, tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    definitions: dict = {}
    exec(block.partition("\nsession = ")[0], definitions)
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    options = ["--weights", network, "--backend", "onnxruntime", "--input", images, "--output", tmp_path]
    monkeypatch.setattr(sys, "argv", ["getsmaps.py", *map(str, options), "--size", "original"])
    run_script(ROOT / "getsmaps.py")
    for name in ("exact.png", "larger.jpg", "smaller.bmp", "gray.png", "turned.jpg"):
        wanted = np.asarray(Image.open((tmp_path / name).with_suffix(".png")), int)
        found = np.asarray(definitions["saliency_map"](session, str(images / name)), int)
        assert np.abs(found - wanted).mean() < 0.6, name


def test_the_page_names_what_the_file_has(network):
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    kinds = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
    rows = re.findall(r"^\| (?:input|output) \| `(\w+)` \| [^|]+ \| (\w+) \|", PAGE, re.MULTILINE)
    assert set(rows) == {(each.name, kinds[each.type]) for each in (*session.get_inputs(), *session.get_outputs())}
    assert {name for name, _ in rows} == {INPUT, MAP, SALIENCY}
    table = PAGE.partition("| key | value | example |")[2].partition("\n\n")[0]
    keys = {key for row in table.splitlines() if row for key in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert keys == {"format", *(each.name for each in fields(Header))}
    assert keys == set(session.get_modelmeta().custom_metadata_map)
    shipped = onnxruntime.InferenceSession(ROOT / "weights" / "lite2_eorssd_int8.onnx")
    about = shipped.get_modelmeta().custom_metadata_map
    examples = dict(re.findall(r"^\| `(\w+)` \|.*\| `([^`…]+)` \|$", table, re.MULTILINE))
    assert {key: about[key] for key in examples} == examples
    assert json.loads(about["weights_sha256"]).startswith("4fddf057")
