"""The drawings: the committed files are what the code draws, with the network's sizes."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from PIL import Image

from models.config import SRALConfig
from models.sral import build_sral
from tests.helpers import ROOT
from tools.drawings import method
from tools.drawings.__main__ import DRAWINGS, PICTURES
from tools.drawings.curves import LOG, PANELS


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_committed_drawing_is_current(name):
    assert (ROOT / "docs" / name).read_text() == DRAWINGS[name]().svg(), "run python -m tools.drawings"


@pytest.mark.parametrize("name", PICTURES)
def test_the_committed_picture_is_current(name):
    committed, painted = Image.open(ROOT / "docs" / name), PICTURES[name]()
    assert committed.size == painted.size, "run python -m tools.drawings"
    assert committed.width >= 2 * 820  # sharp at a README's width, 830 pixels
    found, wanted = (np.asarray(image.convert("RGB"), int) for image in (committed, painted))
    assert np.abs(found - wanted).mean() < 3, (
        "run python -m tools.drawings"
    )  # compression, and other machines' rounding


def test_the_curves_are_those_of_the_log():
    header, *rows = LOG.read_text().splitlines()
    assert set(PANELS) < set(header.split(","))
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, 101))


@pytest.mark.parametrize("name", DRAWINGS)
def test_texts_are_legible_and_inside(name):
    drawing = ET.fromstring((ROOT / "docs" / name).read_text())
    width = float(drawing.get("width"))
    assert width <= 830  # a README's
    texts = [node for node in drawing.iter() if node.tag.endswith("}text")]
    assert len(texts) > 20
    for text in texts:
        size, x = float(text.get("font-size")), float(text.get("x"))
        assert size >= 12
        half = len(text.text) * size * 0.55 / (2 if text.get("text-anchor") == "middle" else 1)
        assert x + half <= width, text.text


def test_sizes_are_those_of_the_network():
    with torch.device("meta"):
        network = build_sral(SRALConfig()).train()
        rgb, ycbcr = torch.zeros(2, 3, 224, 224), torch.zeros(2, 3, 224, 224)
        found = network.detector(rgb)
        logits = [network.detector.tsdd.head(found["decoded"][0])]
        logits += [head(each) for head, each in zip(network.coarse_heads, found["decoded"][1:], strict=True)]
        outputs = network(rgb, ycbcr)

    def text(tensor):
        return "×".join(map(str, tensor.shape[1:]))

    assert tuple(map(text, found["features"])) == method.FEATURES
    assert tuple(map(text, found["decoded"])) == method.DECODED
    assert tuple(map(text, logits)) == method.LOGITS
    assert text(found["context"]) == method.CONTEXT
    assert text(rgb) == method.INPUT
    assert text(outputs["logits1"]) == method.OUTPUT
    assert {text(outputs[name]) for name in ("sr_image", "sr_features", "fused")} == {method.COLOR}
    drawn = (ROOT / "docs" / "method.svg").read_text()
    assert set(re.findall(r"\d+×\d+×\d+", drawn)) >= {*method.FEATURES, *method.DECODED, *method.LOGITS, method.COLOR}
