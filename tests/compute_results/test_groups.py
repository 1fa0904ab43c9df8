"""Features of masks, groups of images and their scores."""

import numpy as np
import pytest

from compute_results.groups import BUILT_IN, Grouping, Request, breakdown, built_in_groupings, read_groupings
from compute_results.mask_features import MaskFeatures, describe_mask
from compute_results.protocols import PROTOCOLS
from compute_results.result import Gathered, ImageScores, Scores
from compute_results.scoring import load_protocol


def test_a_mask_is_described():
    mask = np.zeros((40, 100), dtype=np.uint8)
    mask[10:20, 50:60] = 129
    mask[20:22, 60:62] = 255  # touches the first at a corner
    mask[30, 92] = 255
    mask[0, 0] = 128  # not foreground
    found = describe_mask(mask)
    assert found == MaskFeatures(share=105 / 4000, objects=2, border=7 / 40)
    assert describe_mask(np.zeros((5, 9), np.uint8)) == MaskFeatures(0, 0, None)
    assert describe_mask(np.full((5, 9), 255, np.uint8)) == MaskFeatures(1, 1, 0)


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (MaskFeatures(0, 0, None), ("empty", "none", "empty")),
        (MaskFeatures(0.0099, 1, 0), ("< 1 %", "1", "touches")),
        (MaskFeatures(0.01, 2, 0.01), ("1–5 %", "2–3", "< 5 %")),
        (MaskFeatures(0.05, 4, 0.05), ("5–20 %", "4–9", "5–15 %")),
        (MaskFeatures(0.2, 9, 0.15), ("5–20 %", "4–9", "5–15 %")),
        (MaskFeatures(0.21, 10, 0.16), ("> 20 %", "≥ 10", "> 15 %")),
    ],
)
def test_built_in_groups_have_the_limits_that_they_name(features, labels):
    found = built_in_groupings({"a": features})
    assert found == [Grouping(name, {label: ["a"]}) for name, label in zip(BUILT_IN, labels, strict=True)]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


STEMS = {"Set": [f"{number}" for number in range(8)]}


def test_every_column_of_a_csv_groups_images(tmp_path):
    lines = ["0,ship,1.5", "1,ship,0.5", "2, plane ,", "3,,1.5", "99,car,3"]
    path = write(tmp_path / "g.csv", "\ufeffstem,class,gsd\n" + "\n".join(lines))
    classes, resolutions = read_groupings(path, STEMS)["Set"]
    rest = ["4", "5", "6", "7"]
    assert classes.groups == {
        "plane": ["2"], "ship": ["0", "1"], "(no value)": ["3"], "(not in the file)": rest
    }  # fmt: skip
    assert list(resolutions.groups.items()) == [
        ("0.5", ["1"]), ("1.5", ["0", "3"]), ("(no value)", ["2"]), ("(not in the file)", rest)
    ]  # fmt: skip


def test_many_numbers_are_cut_at_their_quartiles(tmp_path):
    stems = [f"{number}" for number in range(100)]
    path = write(tmp_path / "g.csv", "stem,gsd\n" + "\n".join(f"{stem},{int(stem) / 10}" for stem in stems))
    groups = read_groupings(path, {"Set": stems})["Set"][0].groups
    assert [len(members) for members in groups.values()] == [25] * 4
    assert list(groups) == ["0–2.475", "2.475–4.95", "4.95–7.425", "7.425–9.9"]


def test_a_line_can_be_for_one_data_set(tmp_path):
    path = write(tmp_path / "g.csv", "dataset,stem,class\nA,0,ship\nB,0,plane\nB,1,ship\n")
    found = read_groupings(path, {"A": ["0"], "B": ["0", "1"], "C": ["0"]})
    assert {name: [g.groups for g in groupings] for name, groupings in found.items()} == {
        "A": [{"ship": ["0"]}],
        "B": [{"plane": ["0"], "ship": ["1"]}],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no columns in its first line: it needs stem"),
        ("name,class\n0,a\n", "has name, class in its first line: it needs stem"),
        ("stem\n0\n", "it needs stem and a column to group by"),
        ("stem,class\n0,a\n0,b\n", "names 0 of Set twice"),
        ("stem,class\n0.png,a\n", "names none of the images: its column stem must hold names like 0"),
        ("stem,class\n0,a,b,c\n", "has 4 cells in row 2: it needs 2"),
        ('stem,class\n0,"a\n', "is not CSV in UTF-8"),
        ("stem,class,class\n0,a,b\n", "two columns of the same name"),
        ("stem,size\n0,a\n", "two groupings called size"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path, text, message):
    path = write(tmp_path / "g.csv", text)
    with pytest.raises(ValueError, match=r"--groups") as error:
        Request(["size", str(path)], STEMS)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_too_many_names_are_refused(tmp_path):
    stems = [f"{number}" for number in range(70)]
    path = write(tmp_path / "g.csv", "stem,file\n" + "\n".join(f"{stem},f{stem}" for stem in stems))
    with pytest.raises(ValueError, match="70 different values in file: at most 60"):
        read_groupings(path, {"Set": stems})


@pytest.mark.parametrize("protocol", ["authors", "field"])
def test_a_group_has_the_figures_of_its_images_alone(protocol):
    rng, module = np.random.default_rng(0), load_protocol(protocol)
    masks = [(rng.random((20, 20)) < 0.3).astype(np.uint8) * 255 for _ in range(6)]
    images: dict[str, ImageScores] = {
        f"{index}": module.score_image(mask // 2 + rng.integers(0, 99, mask.shape, dtype=np.uint8), mask)
        for index, mask in enumerate(masks)
    }
    gathered = Gathered(PROTOCOLS[protocol].curves)
    for stem, image in images.items():
        if stem != "5":  # a method without a map of it
            gathered.add(stem, image)
    scores = Scores(protocol, ["Set"], {("A", "Set"): module.summarize(gathered)})
    rows = breakdown(
        scores, {"Set": [Grouping("half", {"low": ["0", "1", "2"], "high": ["3", "4", "5"], "no": ["5"]})]}
    )
    assert [(row.group, row.stems) for row in rows] == [("low", ["0", "1", "2"]), ("high", ["3", "4"]), ("no", [])]
    for row in rows[:2]:
        alone = module.summarize({stem: images[stem] for stem in row.stems})
        assert row.figures == pytest.approx(alone.figures, abs=1e-6)
    assert rows[2].figures == {}
