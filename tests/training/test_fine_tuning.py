"""Fine-tuning on one's own images, by the real command: the start's scores, own validation, several sets, resuming."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from tests.helpers import small_run
from training import trainer
from training.config import parse
from training.find_data import find_data

PLAIN = ("--super_resolution=false", "--guidance=false")


def trained(pairs: Path, folder: Path, *more: str) -> int:
    return train.train(small_run(pairs, folder, *PLAIN, *more))


def rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "log.csv").open()))


def own_validation(pairs: Path, folder: Path) -> tuple[str, str]:
    """Two validation pairs, mirrored, so that they are no training image byte for byte."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(2):
        for source, target in (("train-images", "images"), ("train-labels", "masks")):
            with Image.open(next((pairs / source).glob(f"{number:04}.*"))) as image:
                image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / target / f"{number:04}.png")
    return f"--data.val_images={folder}/images", f"--data.val_masks={folder}/masks"


@pytest.fixture(scope="module")
def first(training_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs."""
    run = tmp_path_factory.mktemp("fine") / "first"
    assert trained(training_pairs, run, "--epochs=2") == 0
    return run


def test_the_start_of_a_fine_tuning_is_scored(first, training_pairs, tmp_path, capsys):
    own = own_validation(training_pairs, tmp_path / "own")
    weights = f"--weights={first}/last.safetensors"
    with pytest.warns(UserWarning, match="2 validation images: scores of fewer than 20 vary by chance"):
        assert trained(training_pairs, tmp_path / "run", weights, *own, "--epochs=1") == 0
    said = capsys.readouterr().out
    assert "7 training and 2 validation images" in said  # nothing is held out beside one's own validation
    start, after = rows(tmp_path / "run")
    assert (start["epoch"], start["total"], after["epoch"]) == ("0", "", "1")
    finished = json.loads((tmp_path / "run" / "finished.json").read_text())
    assert finished["start"]["Sm"] == pytest.approx(float(start["Sm"]), abs=1e-6)
    assert f"start, {first}/last.safetensors: Fbeta" in said
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().Tags()
    assert {"validation/Sm", "validation/MAE", "epoch/total"} <= set(board["scalars"])
    assert "epoch/epoch" not in board["scalars"]
    assert board["images"] == ["validation/images"]
    assert trained(training_pairs, tmp_path / "scored", weights, *own, "--epochs=0") == 0  # only scores
    assert [float(row["Sm"]) for row in rows(tmp_path / "scored")] == [float(start["Sm"])]


def test_a_fine_tuning_that_gains_nothing_says_so(first, training_pairs, tmp_path):
    worse = (f"--weights={first}/last.safetensors", "--epochs=1", "--optimizer.lr=1e-12", "--best_by=MAE")
    with pytest.warns(UserWarning, match=r"no epoch is better than the start: .*last\.safetensors is the best"):
        assert trained(training_pairs, tmp_path / "run", *worse) == 0


def test_a_validation_image_that_is_trained_on_is_refused(training_pairs, tmp_path):
    own = own_validation(training_pairs, tmp_path / "own")
    shutil.copy(training_pairs / "train-images" / "0003.jpg", tmp_path / "own" / "images" / "0009.jpg")
    shutil.copy(training_pairs / "train-labels" / "0003.png", tmp_path / "own" / "masks" / "0009.png")
    settings = small_run(training_pairs, tmp_path / "run", *own).settings.data
    with pytest.raises(ValueError, match=r"1 images of data.val_images .*0009.jpg is 0003\).* --data.exclude 0003$"):
        find_data(settings)
    training, validation = find_data(small_run(training_pairs, tmp_path, *own, "--data.exclude", "0003").settings.data)
    assert [len(training), len(validation)] == [6, 3]
    same = [f"--data.val_images={training_pairs}/train-images", f"--data.val_masks={training_pairs}/train-labels"]
    with pytest.raises(ValueError, match=r"7 images of data\.val_images are training images too"):
        find_data(small_run(training_pairs, tmp_path, *same).settings.data)
    with pytest.raises(ValueError, match="set both to folders, or neither"):
        parse(own[:1])


def test_several_sets_are_trained_on_at_once(training_pairs, tmp_path):
    other = tmp_path / "farm"
    own_validation(training_pairs, other)
    (other / "images").rename(other / "fields")
    more = ["--data.more", f"ORSSD={training_pairs}", f"{other}/fields:{other}/masks"]
    settings = small_run(training_pairs, tmp_path / "run", *more, "--data.exclude", "0001", "ORSSD/0002").settings
    with pytest.warns(UserWarning, match="ORSSD"):  # its published count
        training, validation = find_data(settings.data)
    stems = {pair.stem for pair in [*training, *validation]}
    assert {"0000", "ORSSD/0000", "fields/0000"} <= stems
    assert not {"0001", "ORSSD/0002"} & stems
    assert len(stems) == 7 + 7 + 2 - 2
    sides = [{pair.stem.removeprefix("ORSSD/") for pair in part if "fields" not in pair.stem} for part in
             (training, validation)]  # fmt: skip
    assert not sides[0] & sides[1]  # ORSSD's are the first set's byte for byte, and stay on their side
    start = small_run(training_pairs, tmp_path / "run", *more, *PLAIN, "--epochs=1", f"--data.cache={tmp_path}/cache")
    with pytest.warns(UserWarning, match="ORSSD"):
        assert train.train(start) == 0
    for wrong in ("nowhere:masks", "farm", "ORSI=nowhere"):
        with pytest.raises((OSError, ValueError), match=r"NAME=DIR|nowhere|unknown data set"):
            find_data(small_run(training_pairs, tmp_path, "--data.more", wrong).settings.data)


def test_a_run_is_resumed_by_its_folder(first, tmp_path, capsys):
    run = shutil.copytree(first, tmp_path / "moved")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    assert train.train(parse(["--resume", str(run)])) == 0
    assert f"{run} is finished (2 epochs): nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"} == before
    with pytest.warns(UserWarning, match=r"epochs: 2 -> 3: from here on the learning rate is that of a run of 3 "):
        assert train.train(parse(["--resume", str(run), "--epochs=3"])) == 0
    assert "from epoch 3, step 1, at learning rate 0.000" in capsys.readouterr().out
    found = rows(run)
    assert [row["epoch"] for row in found] == ["1", "2", "3"]
    assert json.loads((run / "finished.json").read_text())["epochs"] == 3
    for arguments, says in (
        (["--resume", str(tmp_path / "none")], "it is no run of train.py"),
        (["--resume", str(run), "--output=x"], "leave --output out"),
    ):
        with pytest.raises(SystemExit, match=says):
            parse(arguments)
    with pytest.raises(ValueError, match="other settings"):
        train.train(parse(["--resume", str(run), "--epochs=4", "--optimizer.lr=1"]))


@pytest.mark.parametrize("form", [["--resume", "RUN"], ["--resume=RUN"]])
def test_a_configuration_beside_resume_is_kept(tmp_path, form):
    (tmp_path / "c.yaml").write_text("epochs: 7\n")
    start = parse(["--config", str(tmp_path / "c.yaml"), *form, "--seed=3"])
    assert (start.settings.epochs, start.settings.output, start.settings.seed, start.resume) == (7, "RUN", 3, True)


def test_without_a_terminal_an_epoch_says_where_it_is(training_pairs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trainer, "LINE_EVERY", 0.0)
    assert trained(training_pairs, tmp_path / "run", "--epochs=1") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch 1/1, step 1/2: ")]
    assert len(lines) == 1
    assert "images/s, " in lines[0]
    assert lines[0].endswith(" left")
