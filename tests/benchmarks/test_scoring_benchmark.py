"""The scoring benchmark on tiny pairs: every row is there, and the library's row runs the library's classes."""

import argparse
from pathlib import Path

import numpy as np
import py_sod_metrics
import pytest
from PIL import Image

from benchmarks import interleaved, scoring
from compute_results.protocols import field, pysodmetrics
from tests.helpers import binary


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("test-images", "test-labels", "maps"):
        (tmp_path / name).mkdir()
        for index in range(3):
            mask = np.roll(binary(), index, axis=1)
            Image.fromarray(mask).save(tmp_path / name / f"{index}.{'jpg' if name == 'test-images' else 'png'}")
    return tmp_path


def test_every_row_is_there(root, monkeypatch):
    monkeypatch.setattr(interleaved, "MIN_SECONDS", 0)
    seen = []
    original = field.score_image

    def score_image(*arguments):
        seen.append(field.WeightedFmeasure)
        return original(*arguments)

    monkeypatch.setattr(field, "score_image", score_image)
    options = argparse.Namespace(
        dataset="ORSSD", root=root, maps=[f"A={root}/maps", f"B={root}/maps"], num_images=2, rounds=1
    )
    with pytest.warns(UserWarning, match="200 expected"):
        text = scoring.report(options)
    lines = text.splitlines()
    assert lines[0] == "2 images of ORSSD, 2 methods, 1 rounds, one process."
    assert len(lines) == 4 + 7
    assert all(float(line.split(" | ")[1]) > 0 for line in lines[4:])
    assert set(seen) == {py_sod_metrics.WeightedFmeasure, pysodmetrics.WeightedFmeasure}
