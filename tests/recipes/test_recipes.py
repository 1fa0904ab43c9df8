"""recipes/: every command of the shipped networks' recipes is one that train.py and the tools accept."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers import ROOT
from training.config import differences, parse, plain

RECORDER = f"""#!{sys.executable} -IS
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
"""


TRAINED = """
if "--output" in sys.argv and "train.py" in sys.argv:
    from pathlib import Path
    run = Path(sys.argv[sys.argv.index("--output") + 1])
    run.mkdir(parents=True, exist_ok=True)
    scores = {"0": "0.91", "1": "0.93", "2": "0.92"}
    (run / "log.csv").write_text("epoch,Fbeta,MAE,Sm\\n1,0.9,0.01,0.94\\n2,0.9,0.01," + scores[run.name[-1]] + "\\n")
    if run.name[-1] != os.environ.get("UNFINISHED"):
        (run / "finished.json").touch()
"""
"""Added to the recorder: train.py leaves a run whose last epoch is best with seed 1."""


@pytest.fixture
def run_recipe(tmp_path):
    """Run a recipe with a program that records in place of Python; returns how it ended, and its calls."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    recorder, calls = tmp_path / "python", tmp_path / "calls"

    def run(name, **variables):
        recorder.write_text(RECORDER + TRAINED)
        recorder.chmod(0o755)
        environment = os.environ | {"PYTHON": str(recorder), "CALLS": str(calls)} | variables
        done = subprocess.run([tmp_path / "recipes" / f"{name}.sh"], env=environment, capture_output=True, text=True)
        return done, [json.loads(line) for line in calls.read_text().splitlines()]

    return run


@pytest.mark.parametrize("recipe", ["lite2_eorssd", "strong_eorssd"])
def test_every_command_parses(recipe, run_recipe):
    done, calls = run_recipe(recipe)
    assert done.returncode == 0, done.stderr
    network, seeds = recipe.partition("_")[0], ("0", "1", "2")
    made = set()
    for command, *arguments in calls:
        if command == "train.py":
            start = parse(arguments)
            assert start.resume
            assert start.settings.batch_size == 16
            assert not start.settings.super_resolution
            assert start.settings.data.exclude == ("0003", "0009", "0011", "0055")
            read = list(filter(None, [start.settings.weights]))
            written = [f"{start.settings.output}/last.safetensors"]
        else:
            assert (arguments[0], arguments[2], arguments[4]) == ("tools.prune", "--output", "--half")
            read, written = arguments[1:2], arguments[3:4]
        assert made.issuperset(read)  # each file is made before it is read
        made.update(written)
    trained = [call[call.index("--output") + 1] for call in calls if call[0] == "train.py"]
    assert len(trained) == 9  # three stages, three seeds
    assert {f"runs/{network}_{seed}" for seed in seeds} <= set(trained)
    best = f"runs/{network}_1/last.safetensors"
    assert calls[-1] == ["-m", "tools.prune", best, "--output", f"runs/{recipe}.safetensors", "--half"]
    assert done.stdout.splitlines()[-1] == f"the highest validation Sm of the last epoch: 0.93 runs/{network}_1"


def test_no_network_is_chosen_before_all_are_trained(run_recipe):
    done, calls = run_recipe("strong_eorssd", UNFINISHED="2")
    assert done.returncode == 1
    assert done.stderr.startswith("runs/strong_2 is not finished")
    assert not any("tools.prune" in call for call in calls)
    done, _ = run_recipe("strong_eorssd", SEEDS="2")
    assert done.returncode == 0, done.stderr


def test_the_ablation_scores_the_test_split_only_after_all_trainings(tmp_path):
    recorder, calls = tmp_path / "python", tmp_path / "calls"
    failing = 'if "tools.sweep" in sys.argv and os.environ.get("UNFINISHED"): sys.exit(1)\n'
    printing = 'if "--print-output" in sys.argv: print(os.environ["RUNS"])\n'
    recorder.write_text(RECORDER + printing + failing)
    recorder.chmod(0o755)
    environment = os.environ | {"PYTHON": str(recorder), "CALLS": str(calls), "RUNS": str(tmp_path)}
    script = ROOT / "recipes" / "sral_ablation.sh"
    stopped = subprocess.run([script], env=environment | {"UNFINISHED": "1"})
    assert stopped.returncode
    assert "--test" not in calls.read_text()
    for seed in (0, 1):
        (tmp_path / "asrd" / f"seed_{seed}" / "weights").mkdir(parents=True)
    (tmp_path / "asrd" / "seed_0" / "finished.json").touch()
    calls.unlink()
    subprocess.run([script], env=environment, check=True)
    asked = [json.loads(line) for line in calls.read_text().splitlines()]
    tools = [call[1] for call in asked]
    assert tools == [
        "tools.ablation", "tools.sweep", "tools.inspect_sr", "tools.gradient_analysis", "tools.sweep", "tools.ablation",
    ]  # fmt: skip
    assert ["--test" in call for call in asked] == [False, False, False, False, True, True]
    calls.unlink()
    subprocess.run([script], env=environment | {"JOBS": "0"}, check=True)
    asked = [json.loads(line) for line in calls.read_text().splitlines()]
    sweeps = [call for call in asked if call[1] == "tools.sweep"]
    assert ["--score-only" in call for call in sweeps] == [True]  # nothing is trained


def test_the_trial_of_a_teacher_differs_from_the_recipe_by_the_teacher_alone(run_recipe):
    _, recipe_calls = run_recipe("lite2_eorssd")
    done, calls = run_recipe("taught_eorssd")
    assert done.returncode == 0, done.stderr
    calls = calls[len(recipe_calls) :]
    maps = calls[0]
    assert maps[:3] == ["getsmaps.py", "--weights", "runs/strong_eorssd.safetensors"]

    def stage_3(recorded, runs):
        found = [parse(call[1:]).settings for call in recorded if call[0] == "train.py"]
        return [settings for settings in found if settings.output == f"{runs}_{settings.seed}"]

    pairs = list(zip(stage_3(recipe_calls, "runs/lite2"), stage_3(calls, "runs/taught"), strict=True))
    assert len(pairs) == 3
    for recipe, taught in pairs:
        assert taught.data.teacher_maps == (maps[maps.index("--output") + 1],)
        changed = {line.partition(":")[0] for line in differences(recipe, plain(taught))}
        assert changed == {"data.teacher_maps"}  # the output is free


def test_test_splits_are_scored_once_all_runs_are_finished(run_recipe, tmp_path):
    run_recipe("lite2_eorssd")
    run_recipe("strong_eorssd", UNFINISHED="2")
    (tmp_path / "calls").write_text("")
    done, calls = run_recipe("score_eorssd")
    assert (done.returncode, calls) == (1, [])
    assert done.stderr.startswith("runs/strong_2 is not finished")
    run_recipe("strong_eorssd")
    (tmp_path / "calls").write_text("")
    done, calls = run_recipe("score_eorssd")
    assert done.returncode == 0, done.stderr
    written = {call[call.index("--output") + 1] for call in calls if call[0] == "getsmaps.py"}
    read = {maps.partition("=")[2] for call in calls if "--maps" in call for maps in call if "=runs/maps" in maps}
    assert written == read
    assert len(written) == 2 * 2 * 4  # sets, networks, three seeds and the chosen one mirrored
    assert calls[-1][1] == "tools.seed_table"
    assert calls[-1][-2:] == ["ORSSD=runs/scores/ORSSD", "EORSSD=runs/scores/EORSSD"]
    _, calls = run_recipe("score_eorssd", SETS="ORSSD")
    assert calls[-1][-2:] == ["--scores", "ORSSD=runs/scores/ORSSD"]
