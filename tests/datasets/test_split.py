"""Validation parts are fair, and depend on the seed and the stems alone."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from datasets.catalog import Pair, pair_folders
from datasets.split import leave_out, split_validation
from training.data_config import DataConfig
from training.find_data import find_data


def write(path: Path, gray: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 3), gray).save(path)


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    """Thirty pairs, of which 3, 4 and 5 have the same image, and so have 10 and 20."""
    same = {4: 3, 5: 3, 20: 10}
    for number in range(30):
        write(tmp_path / "im" / f"{number:02d}.bmp", same.get(number, number))
        write(tmp_path / "gt" / f"{number:02d}.png")
    return pair_folders(tmp_path / "im", tmp_path / "gt")


def test_pairs_left_out(pairs: list[Pair]) -> None:
    assert leave_out(pairs, []) == pairs
    assert [pair.stem for pair in leave_out(pairs, ["00", "29"])] == [f"{number:02d}" for number in range(1, 29)]
    with pytest.raises(ValueError, match=r"^30, 31: no pair of that stem .* to leave out$"):
        leave_out(pairs, ["31", "00", "30"])


def test_validation_part_depends_on_the_seed_alone(pairs: list[Pair]) -> None:
    training, validation = split_validation(pairs, 0.2, seed=7)
    assert sorted(training + validation, key=lambda pair: pair.stem) == pairs
    assert len(validation) == 6
    assert training == sorted(training, key=lambda pair: pair.stem)
    shuffled = random.Random(1).sample(pairs, len(pairs))
    assert split_validation(shuffled, 0.2, seed=7) == (training, validation)
    assert any(split_validation(pairs, 0.2, seed)[1] != validation for seed in range(3))


def test_identical_images_stay_on_one_side(pairs: list[Pair]) -> None:
    together = 0
    for seed in range(40):
        _, validation = split_validation(pairs, 0.3, seed)
        held_out = {int(pair.stem) for pair in validation}
        assert 8 <= len(held_out) <= 9
        for group in ({3, 4, 5}, {10, 20}):
            assert group <= held_out or not group & held_out
            together += group <= held_out
    assert 8 < together < 60  # they are held out at times


def test_validation_fractions_at_the_edges(pairs: list[Pair]) -> None:
    assert split_validation(pairs, 0, seed=1) == (pairs, [])
    assert [len(part) for part in split_validation(pairs, 0.001, seed=1)] == [29, 1]
    assert [len(part) for part in split_validation(pairs[:2], 0.99, seed=1)] == [1, 1]
    for fraction in (-0.1, 1, 1.5):
        with pytest.raises(ValueError, match="at least 0 and below 1"):
            split_validation(pairs, fraction, seed=1)
    for few in (pairs[:1], pairs[3:6]):
        with pytest.raises(ValueError, match="too few"):
            split_validation(few, 0.5, seed=1)


@pytest.fixture
def forty(tmp_path: Path) -> list[Pair]:
    for number in range(40):
        write(tmp_path / "forty" / f"{number:02d}.bmp", number)
        write(tmp_path / "forty-masks" / f"{number:02d}.png")
    return pair_folders(tmp_path / "forty", tmp_path / "forty-masks")


def test_excluding_a_pair_moves_no_other(forty: list[Pair]) -> None:
    training, validation = split_validation(forty, 0.25, seed=0)
    assert len(validation) == 10
    for pair in forty:
        parts = split_validation(forty, 0.25, 0, [pair.stem])
        assert parts == ([p for p in training if p != pair], [p for p in validation if p != pair])
    few = [pair.stem for pair in training[:9] + validation[:4]]
    assert split_validation(forty, 0.25, 0, few) == (training[9:], validation[4:])
    with pytest.raises(ValueError, match="all pairs of the validation part are excluded"):
        split_validation(forty, 0.25, 0, [pair.stem for pair in validation])
    with pytest.raises(ValueError, match=r"^nine: no pair of that stem"):
        split_validation(forty, 0, 0, ["nine"])


def test_a_run_with_another_exclude_validates_by_the_same_pairs(forty: list[Pair], tmp_path: Path) -> None:
    data = DataConfig(
        dataset="folders", images=str(tmp_path / "forty"), masks=str(tmp_path / "forty-masks"), validation=0.25
    )
    *_, training, validation = find_data(data)
    *_, fewer, validating = find_data(replace(data, exclude=(training[3].stem, validation[5].stem)))
    assert (fewer, validating) == (training[:3] + training[4:], validation[:5] + validation[6:])


def test_removing_or_adding_a_pair_moves_one_other_at_most(forty: list[Pair]) -> None:
    held_out = set(split_validation(forty, 0.25, seed=0)[1])
    for pair in forty:
        rest = [other for other in forty if other != pair]
        assert len(held_out.symmetric_difference(split_validation(rest, 0.25, seed=0)[1]) - {pair}) <= 1
