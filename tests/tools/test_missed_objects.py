"""tools.missed_objects: recall by object against counts by hand, the table, and a run of the command."""

import numpy as np
import pytest

from models.weights import save_weights
from tests.helpers import small_network
from tools import missed_objects
from tools.missed_objects import SalientObject, named_files, objects_of, report


def test_recall_of_each_object():
    mask = np.zeros((100, 100), bool)
    mask[10:20, 10:30] = True
    mask[20:25, 30:40] = True  # touches the first by a corner: one object
    mask[60:90, 60:90] = True
    mask[99, 0] = True  # a speck
    one = np.zeros((100, 100))
    one[10:20, 10:30] = 0.9
    one[60:90, 60:75] = 0.51
    first, second = objects_of("a", mask, {"one": one, "none": np.full((100, 100), 0.5)})
    assert (first.share, second.share) == (0.025, 0.09)
    assert first.recall == {"one": pytest.approx(0.8), "none": 0}
    assert second.recall == {"one": pytest.approx(0.5), "none": 0}


def test_the_table_counts_by_size():
    found = [
        SalientObject("tiny", 0.001, {"a": 0.0, "b": 0.1}),
        SalientObject("large", 0.2, {"a": 0.1, "b": 0.9}),
        SalientObject("whole", 1.0, {"a": 1.0, "b": 0.5}),
    ]
    text = report(found, ["a", "b"])
    rows = [line.split() for line in text.splitlines()]
    assert rows[1][-3:] == ["1", "1", "1"]
    assert rows[4][-3:] == ["2", "1", "0"]
    assert text.splitlines()[-1] == "  large: 20.00% of the image; a 10%, b 90%"
    assert report(found[:1], ["a", "b"]).endswith("no object is missed by one network and found by another")


@pytest.mark.parametrize("texts", [["a=x"], ["a=x", "a=y"], ["x", "b=y"], ["=x", "b=y"]])
def test_names_are_checked(texts):
    with pytest.raises(ValueError, match="--weights "):
        named_files(texts)


def test_the_command(trained_run, tmp_path, capsys):
    other, best = tmp_path / "other.safetensors", trained_run / "best.safetensors"
    save_weights(other, small_network("lcnet_035", (64, 64)))
    missed_objects.main([str(trained_run), "--weights", f"one={best}", f"other={other}"])
    assert capsys.readouterr().out.startswith("2 objects in 2 validation images\n")
    wide = tmp_path / "wide.safetensors"
    save_weights(wide, small_network("lcnet_035", (64, 96)))
    with pytest.raises(SystemExit, match="its maps are 128×192"):
        missed_objects.main([str(trained_run), "--weights", f"a={other}", f"b={wide}"])
