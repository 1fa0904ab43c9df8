"""tools.sweep: lists of runs, what is skipped and resumed, failures, signals, the table; the real commands once."""

import csv
import json
import os
import shutil
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.stats import ttest_ind, ttest_rel

from tests.helpers import run_script
from tools.sweep import main, sweep_of
from tools.sweep_runner import COMMANDS, environments
from tools.sweep_table import holm, markdown, summarize
from training.config import dump, parse

Commands = dict[str, list[str]]

# Stands in for train.py: leaves what a run leaves, and says in calls.txt how it was called. A seed has it do otherwise.
STAND_IN = """
import json, os, pathlib, signal, sys, time

def option(name):
    return next((word.partition("=")[2] for word in reversed(sys.argv) if word.startswith(f"--{name}=")), None)

run, seed = pathlib.Path(option("output")), int(option("seed"))
shared = run.parent.parent
with (shared / "calls.txt").open("a") as calls:
    print(json.dumps([run.parent.name, seed, sys.argv[1:], os.environ.get("CUDA_VISIBLE_DEVICES")]), file=calls)
print("training", flush=True)
if seed == 13:
    print("\\rstep 1\\rstep 2", end="\\n\\n")
    sys.exit("error: the data are not there")
if seed == 14:
    sys.exit(0)
if seed == 15:  # killed, its worker goes on
    worker = os.fork() or time.sleep(60)
    (run / "worker").write_text(str(worker))
    os.kill(os.getpid(), signal.SIGKILL)
if seed == 20:  # waits for a signal, saves, and ends as train.py does
    def stop(number, frame):
        (run / "saved").write_text(f"{number} {(run / 'saved').exists()}")
        time.sleep(0.2)
        sys.exit(128 + number)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    (run / "waiting").write_text(str(os.getpgid(0) == os.getpid()))
    time.sleep(60)
if seed == 30:  # waits until another runs beside it
    (run / "here").touch()
    until = time.monotonic() + 20
    while len(list(shared.glob("*/seed_30/here"))) < 2:
        if time.monotonic() > until:
            sys.exit("error: alone")
        time.sleep(0.01)
best = {"Fbeta": 0.8 + 0.01 * seed, "MAE": 0.05 - 0.001 * seed, "Sm": 0.9 + 0.01 * seed, "epoch": 2}
if "--super_resolution=false" in sys.argv:
    best = {name: value - 0.5 if name == "Sm" else value for name, value in best.items()}
if option("data.validation") == "0":
    best = {"epoch": 2}
finished = {"epochs": 2, "best": best, "seconds": 90.0, "seed": seed}
(run / "new.json").write_text(json.dumps(finished))
(run / "new.json").rename(run / "finished.json")  # whole at once, as train.py does: the table may be written meanwhile
"""

SCORING_STAND_IN = """
import json, pathlib, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
out = pathlib.Path(given["--output"])
method, maps = given["--maps"].split("=", 1)
if not pathlib.Path(maps, "map.png").is_file():
    sys.exit("error: no maps")
figures = {"Fbeta": 1, "MAE": 0.01, "Sm": 0.95} if given["--protocol"] == "authors" else {"Sm": 0.75, "wF": 0.5}
out.mkdir(parents=True)
result = {"method": method, "dataset": given["--dataset"], "images": 200} | figures
(out / "new.json").write_text(json.dumps({"protocol": given["--protocol"], "results": [result]}))
(out / "new.json").rename(out / "scores.json")
"""

MAPS_STAND_IN = """
import pathlib, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert given["--weights"].endswith("best.safetensors") and sys.argv[-1] == "--resume"
pathlib.Path(given["--output"]).mkdir(parents=True)
pathlib.Path(given["--output"], "map.png").touch()
"""


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> Commands:
    """Commands that take a fraction of a second."""
    folder = tmp_path_factory.mktemp("commands")
    commands = {}
    for name, text in {"train": STAND_IN, "maps": MAPS_STAND_IN, "scores": SCORING_STAND_IN}.items():
        (folder / f"{name}.py").write_text(text)
        commands[name] = [sys.executable, "-I", "-S", str(folder / f"{name}.py")]
    return commands


@pytest.fixture
def config(tmp_path) -> Path:
    """A config file named quick."""
    path = tmp_path / "quick.yaml"
    path.write_text("epochs: 7\nencoder_weights: none\noptimizer: {lr: 0.5}\n")
    return path


def _list(tmp_path: Path, **changes) -> list[str]:
    """The options that name a list of two configurations; a change to None leaves a key out."""
    config = tmp_path / "quick.yaml"
    content = {
        "output": f"{tmp_path}/table",
        "seeds": [1, 2],
        "common": {"epochs": 2, "optimizer.momentum": 0.5},
        "runs": {
            "plain": {"config": f"{config}", "super_resolution": False, "guidance": False},
            "sral": {"config": f"{config}", "optimizer": {"lr": 0.25}, "detector.head_channels": [8, 8]},
        },
    }
    content = {key: value for key, value in (content | changes).items() if value is not None}
    (tmp_path / "list.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return ["--list", f"{tmp_path}/list.yaml"]


def _run(options: list[str], commands: Commands) -> int:
    with pytest.raises(SystemExit) as stop:
        main(options, commands)
    if isinstance(stop.value.code, str):
        raise AssertionError(stop.value.code)
    return stop.value.code


def _refused(options: list[str], commands: Commands) -> str:
    """The one line with which the command refuses."""
    with pytest.raises(SystemExit) as stop:
        main(options, commands)
    message = stop.value.code
    assert isinstance(message, str)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def _calls(output: Path) -> list[list]:
    path = output / "calls.txt"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _csv(output: Path) -> dict[tuple[str, str, str, str], dict[str, str]]:
    rows = csv.DictReader((output / "table.csv").open())
    return {(row["configuration"], row["scored"], row["protocol"], row["figure"]): row for row in rows}


def _finish(run: Path, options: list[str]) -> None:
    """Give a finished run the record that train.py would have left."""
    (run / "config.yaml").write_text(dump(parse(options).settings))


def test_each_configuration_runs_with_each_seed(config, tmp_path, stand_ins):
    output = tmp_path / "table"
    assert _run([*_list(tmp_path), "--", "--optimizer.power=0.5"], stand_ins) == 0
    calls = _calls(output)
    assert [call[:2] for call in calls] == [[name, seed] for seed in (1, 2) for name in ("plain", "sral")]
    for name, seed, options, _ in calls:
        start = parse(options)
        assert start.resume
        assert (start.settings.output, start.settings.seed) == (f"{output}/{name}/seed_{seed}", seed)
        # common goes over the config file, a run's own settings over both
        assert (start.settings.epochs, start.settings.encoder_weights) == (2, "none")
        assert (start.settings.optimizer.momentum, start.settings.optimizer.power) == (0.5, 0.5)
        assert start.settings.super_resolution == start.settings.guidance == (name == "sral")
        assert start.settings.optimizer.lr == (0.25 if name == "sral" else 0.5)
        assert (start.settings.detector.head_channels == (8, 8)) == (name == "sral")
    assert (output / "sral" / "seed_2" / "output.log").read_text() == "training\n"


def test_config_files_and_options_without_a_list(config, tmp_path, stand_ins):
    output = tmp_path / "out"
    assert _run(["--configs", f"{config}", "--seeds", "4", "5", "--output", f"{output}"], stand_ins) == 0
    assert [call[:2] for call in _calls(output)] == [["quick", 4], ["quick", 5]]


def test_options_replace_what_the_list_says(config, tmp_path, stand_ins):
    output = tmp_path / "other"
    assert _run([*_list(tmp_path), "--seeds", "9", "--output", f"{output}"], stand_ins) == 0
    assert [call[:2] for call in _calls(output)] == [["plain", 9], ["sral", 9]]


def test_finished_runs_are_skipped_and_others_resumed(config, tmp_path, stand_ins, capsys):
    output, options = tmp_path / "table", _list(tmp_path)
    assert _run(options, stand_ins) == 0
    first = _calls(output)
    for name, seed, given, _ in first:
        _finish(output / name / f"seed_{seed}", given)
    table = (output / "table.md").read_bytes()

    (output / "plain" / "seed_2" / "finished.json").unlink()
    (output / "plain" / "seed_2" / "checkpoints").mkdir()
    (output / "plain" / "seed_2" / "checkpoints" / "step_00000003.safetensors").touch()
    (output / "sral" / "seed_1" / "finished.json").unlink()
    capsys.readouterr()
    main([*options, "--dry-run"], stand_ins)
    said = [line.split(":")[0].split() for line in capsys.readouterr().out.splitlines()]
    assert said == [["skip", "plain", "seed", "1"], ["run", "sral", "seed", "1"], ["resume", "plain", "seed", "2"],
                    ["skip", "sral", "seed", "2"]]  # fmt: skip
    assert _calls(output) == first

    assert _run(options, stand_ins) == 0
    assert _calls(output)[len(first) :] == [first[1], first[2]]
    said = capsys.readouterr().out
    assert "plain seed 1: skipped, finished, 1.5 min of training: Fβ 0.8100  MAE 0.0490  Sm 0.4100 in epoch 2" in said
    assert "plain seed 2: resumed" in said
    assert "sral seed 1: started" in said
    assert (output / "table.md").read_bytes() == table


def test_a_finished_run_with_other_settings_stops_everything(tmp_path, stand_ins):
    output, options = tmp_path / "table", _list(tmp_path, seeds=[1], runs={"plain": {}})
    assert _run(options, stand_ins) == 0
    _finish(output / "plain" / "seed_1", _calls(output)[0][2])
    more = [*options, "--seeds", "1", "2"]
    said = _refused([*more, "--", "--optimizer.clip=3", "--data.workers=1"], stand_ins)
    assert f"{output}/plain/seed_1 is finished with other settings: optimizer.clip: 0.0 -> 3.0; choose" in said
    assert len(_calls(output)) == 1
    assert _run([*more, "--", "--data.workers=1"], stand_ins) == 0  # this changes no weights
    assert len(_calls(output)) == 2


def test_a_failed_run_is_reported_and_the_others_go_on(tmp_path, stand_ins, capsys):
    output = tmp_path / "table"
    assert _run(_list(tmp_path, seeds=[1, 13, 14, 15, 2], runs={"plain": {}}), stand_ins) == 1
    said = capsys.readouterr()
    for line in (
        f"plain seed 13: failed: exit status 1: error: the data are not there ({output}/plain/seed_13/output.log)",
        "plain seed 14: failed: train.py ended without finishing the run (",
        "plain seed 15: failed: killed by SIGKILL: training (",
        "plain seed 2: finished, 1.5 min",
    ):
        assert line in said.out
    assert said.err == "some runs failed: the same command continues\n"
    worker = Path("/proc", (output / "plain" / "seed_15" / "worker").read_text())
    assert not worker.is_dir() or "zombie" in (worker / "status").read_text()
    assert _csv(output)["plain", "validation", "authors", "Sm"]["n"] == "2"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_running_commands(config, tmp_path, stand_ins, number, capsys):
    output = tmp_path / "table"
    runs = [output / name / "seed_20" for name in ("plain", "sral")]

    def send() -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until and not all((run / "waiting").exists() for run in runs):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    outside = signal.signal(number, usual)  # a shell's background jobs ignore Ctrl-C, as what they start does
    try:
        thread = threading.Thread(target=send)
        thread.start()
        status = _run([*_list(tmp_path), "--seeds", "20", "1", "--jobs", "2"], stand_ins)
        thread.join()
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, outside)
    assert status == 128 + number
    assert [(run / "saved").read_text() for run in runs] == [f"{number.value} False"] * 2
    assert [(run / "waiting").read_text() for run in runs] == ["True"] * 2  # Ctrl-C comes through this command alone
    assert len(_calls(output)) == 2
    said = capsys.readouterr()
    assert "sral seed 20: stopped" in said.out
    assert said.err == "stopped: the same command continues\n"


def test_jobs_run_at_once_each_on_its_gpu(config, tmp_path, stand_ins, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert _run([*_list(tmp_path), "--seeds", "30", "--jobs", "2"], stand_ins) == 0
    assert sorted(call[3] for call in _calls(tmp_path / "table")) == ["5", "7"]
    assert environments(3)[2] == {"CUDA_VISIBLE_DEVICES": "5"}
    assert environments(1) == [{}]


def test_jobs_share_the_threads_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environments(3) == [{"OMP_NUM_THREADS": "2"}] * 3
    assert environments(20)[0] == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environments(2)[0] == {"OMP_NUM_THREADS": "5"}


def test_table(config, tmp_path, stand_ins, capsys):
    output = tmp_path / "table"
    seeds = [1, 2, 6]
    assert _run([*_list(tmp_path, seeds=seeds)], stand_ins) == 0
    values = {"sral": 0.9 + 0.01 * np.array(seeds), "plain": 0.4 + 0.01 * np.array(seeds)}
    rows = _csv(output)
    for name, expected in values.items():
        row = rows[name, "validation", "authors", "Sm"]
        assert row["n"] == "3"
        assert float(row["mean"]) == pytest.approx(expected.mean())
        assert float(row["sd"]) == pytest.approx(expected.std(ddof=1))
    row = rows["sral", "validation", "authors", "Sm"]
    assert float(row["gain"]) == pytest.approx(0.5)
    assert (row["pairs"], float(row["p"]) < 1e-9) == ("3", True)  # the stand-in's gain has no spread
    assert rows["plain", "validation", "authors", "Sm"]["gain"] == ""
    mae = rows["sral", "validation", "authors", "MAE"]
    assert (float(mae["gain"]), mae["p"]) == (0, "")  # equal runs: no test
    text = (output / "table.md").read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    compared = ["gain in Sm", "from", "to", "pairs", "p"]
    assert lines[0] == ["configuration", "seeds", "Fβ ↑", "MAE ↓", "Sm ↑", "baseline", *compared]
    same = ["3", "0.8300 ± 0.0265", "0.0470 ± 0.0026"]
    assert lines[2] == ["plain", *same, "0.4300 ± 0.0265", *["–"] * 6]
    assert lines[3][:-1] == ["sral", *same, "0.9300 ± 0.0265 \\*", "plain", *["+0.5000"] * 3, "3"]
    tex = (output / "table.tex").read_text()
    assert r"plain & 3 & 0.8300 $\pm$ 0.0265 & 0.0470 $\pm$ 0.0026 & 0.4300 $\pm$ 0.0265 & -- &" in tex
    assert r"configuration & seeds & $F_\beta$ $\uparrow$ & MAE $\downarrow$ & Sm $\uparrow$ & baseline &" in tex
    assert "0.9300 $\\pm$ 0.0265$^*$" in tex
    for said in ("from plain over the common seeds", "paired t-test, with Holm's correction over all metrics and rows"):
        assert said in text
    assert text in capsys.readouterr().out


def _scores(**runs: dict[int, float]) -> pd.DataFrame:
    rows = [(name, seed, "ORSSD", "field", "Sm", value) for name, of in runs.items() for seed, value in of.items()]
    return pd.DataFrame(rows, columns=["configuration", "seed", "scored", "protocol", "figure", "value"])


def test_gains_are_tested_over_the_seeds_that_both_have():
    """Runs of one seed share their starting weights, so a gain that every seed has counts beside a large spread."""
    base = {1: 0.80, 2: 0.90, 3: 0.85, 4: 0.70}
    new = {3: 0.863, 1: 0.811, 2: 0.912, 9: 0.1}  # seed 9 has no partner
    row = summarize(_scores(base=base, new=new), {"base": "base", "new": "base"}).iloc[1]
    # by hand: differences 0.011, 0.012, 0.013; mean 0.012, sd 0.001; t = 0.012 / (0.001 / √3) with 2 degrees of freedom
    assert (row.n, row.pairs) == (4, 3)
    assert row.gain == pytest.approx(0.012)
    margin = 4.302653 * 0.001 / 3**0.5  # the 97.5 % quantile of t with 2 degrees of freedom
    assert (row.low, row.high) == pytest.approx((0.012 - margin, 0.012 + margin), rel=1e-6)
    assert row.p == pytest.approx(ttest_rel([0.811, 0.912, 0.863], [0.80, 0.90, 0.85]).pvalue)
    assert row.p == pytest.approx(0.0023, abs=1e-4)
    assert row.p_holm == row.p < 0.01 < ttest_ind(list(new.values())[:3], list(base.values())[:3]).pvalue


def test_one_pair_has_no_p_value():
    rows = summarize(_scores(a={1: 0.8, 2: 0.7}, b={2: 0.75, 3: 0.7}, c={3: 0.7}), dict.fromkeys("abc", "a"))
    assert rows.gain.iloc[1] == pytest.approx(0.05)
    assert rows.pairs.iloc[1] == 1
    assert rows[["low", "high", "p", "p_holm"]].isna().all(axis=None)
    assert rows.gain.isna().tolist() == [True, False, True]  # c shares no seed with a
    assert "| b" in markdown(rows, dict.fromkeys("abc", "a"))


def test_holms_correction():
    p = pd.Series([0.04, 0.01, np.nan, 0.03])
    np.testing.assert_allclose(holm(p), [0.06, 0.03, np.nan, 0.06])  # 3 × 0.01, 2 × 0.03, and not below that
    assert holm(pd.Series([0.6, 0.9])).tolist() == [1, 1]


def test_p_values_are_corrected_over_one_table():
    rng = np.random.default_rng(0)
    runs = {name: dict(enumerate(0.8 + 0.01 * rng.standard_normal(5))) for name in "abcd"}
    scores = _scores(**runs)
    both = pd.concat([scores, scores.assign(protocol="authors")])
    rows = summarize(both, dict.fromkeys("abcd", "a"))
    for _, of in rows.groupby("protocol"):
        np.testing.assert_allclose(of.p_holm, holm(of.p))
        assert of.p.notna().sum() == 3


def test_gains_are_against_each_rows_own_baseline(config, tmp_path, stand_ins):
    off = {"super_resolution": False, "guidance": False}
    runs = {"a": {**off}, "b": {}, "c": {**off, "baseline": "c"}, "d": {"baseline": "c"}, "e": {"baseline": "b"}}
    assert _run(_list(tmp_path, seeds=[1, 2, 6], runs=runs), stand_ins) == 0
    rows = _csv(tmp_path / "table")
    found = {name: rows[name, "validation", "authors", "Sm"] for name in runs}
    gains = {name: row["gain"] and round(float(row["gain"]), 6) for name, row in found.items()}
    assert gains == {"a": "", "b": 0.5, "c": "", "d": 0.5, "e": 0.0}
    assert [row["baseline"] for row in found.values()] == ["a", "a", "c", "c", "b"]
    text = (tmp_path / "table" / "table.md").read_text()
    assert " c | +0.5000 |" in " ".join(text.split())
    assert "from the named baseline over the common seeds" in text
    refused = _refused(_list(tmp_path, runs={"a": {}, "b": {"baseline": "z"}}), stand_ins)
    assert "run b: its baseline 'z' is none of a, b" in refused


def test_every_list_is_a_plan(root):
    files = sorted((root / "configs" / "lists").glob("*.yaml"))
    assert files
    for file in files:
        sweep, _ = sweep_of(["--list", str(file)])
        for options in sweep.configurations.values():
            parse(options)
        assert set(sweep.baselines.values()) <= set(sweep.configurations)


def test_table_of_one_seed_and_without_validation(config, tmp_path, stand_ins, capsys):
    runs = {"a": {}, "b": {"data": {"validation": 0}}}
    assert _run(_list(tmp_path, seeds=[1], runs=runs), stand_ins) == 0
    text = (tmp_path / "table" / "table.md").read_text()
    cells = " ".join(text.split())
    assert "| a | 1 | 0.8100 | 0.0490 | 0.9100 | – |" in cells
    assert "| b | 0 | – | – | – | – |" in cells
    assert "b seed 1: finished, 1.5 min of training: not validated" in capsys.readouterr().out
    row = _csv(tmp_path / "table")["a", "validation", "authors", "Sm"]
    assert (row["sd"], row["p"]) == ("", "")


def test_test_splits_are_scored_once(tmp_path, stand_ins, capsys):
    output, data = tmp_path / "table", tmp_path / "ORSSD"
    data.mkdir()
    options = _list(tmp_path, runs={"sral": {}})
    assert _run(options, stand_ins) == 0
    for name, seed, given, _ in _calls(output):
        _finish(output / name / f"seed_{seed}", given)
    options = [*options, "--test", f"ORSSD={data}"]
    main([*options, "--dry-run"], stand_ins)
    assert capsys.readouterr().out.count("score   ") == 2
    assert _run(options, stand_ins) == 0
    assert len(_calls(output)) == 2  # nothing was trained again
    rows = _csv(output)
    assert [rows["sral", "ORSSD", "authors", "Fbeta"][key] for key in ("n", "mean", "sd")] == ["2", "1.0", "0.0"]
    assert rows["sral", "ORSSD", "field", "wF"]["mean"] == "0.5"
    assert "ORSSD, test split (protocol field)" in (output / "table.md").read_text()
    assert not list(output.rglob("*.tmp"))
    capsys.readouterr()
    assert _run(options, stand_ins) == 0  # the stand-ins would fail to make their folders again
    assert "skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "options", "says"),
    [
        ({"seeds": None}, [], "give seeds"),
        ({"output": None}, [], "give output"),
        ({"runs": None}, [], "--configs FILE ... or as runs in a --list"),
        ({}, ["--configs", "quick.yaml"], "either as --configs FILE"),
        ({"seeds": [1, 1]}, [], "seeds 1 1: give each once"),
        ({"seeds": ["one"]}, [], "seeds"),
        ({"seeds": [-1]}, [], "seeds"),
        ({"seads": [1]}, [], "list.yaml: seads: unknown key; the keys are output, seeds, runs, common, test"),
        (
            {"runs": {"a": "quick.yaml"}},
            [],
            "list.yaml: runs.a: found 'quick.yaml'; input should be a valid dictionary",
        ),
        ({"seeds": [True]}, [], "list.yaml: seeds.0: found True"),
        ({"test": {"ORSSD": 5}}, [], "list.yaml: test.ORSSD: found 5; input should be a valid string"),
        ({}, ["--test", "ORSSD"], "'ORSSD' is not NAME=DIR"),
        ({}, ["--seed", "3"], "unrecognized arguments: --seed"),
        ({"runs": {"a/b": {}}}, [], "run 'a/b': the name becomes a folder"),
        ({"runs": {"a": {"optimiser.lr": 1}}}, [], "run a: "),
        ({"runs": {"a": {"epochs": "many"}}}, [], "run a: "),
        ({"runs": {"a": {"config": "nothing.yaml"}}}, [], "nothing.yaml"),
        ({"runs": {"a": {"super_resolution": False}}}, [], "run a: guidance reads"),
        ({"runs": {"a": {"seed": 3}}}, [], "run a: seed cannot be set"),
        ({"common": {"output": "x"}}, [], "output cannot be set"),
        ({"test": {"ORSSD": "nowhere"}}, [], "test set ORSSD: there is no folder nowhere"),
        ({}, ["--jobs", "0"], "jobs"),
        ({}, ["--", "--seed=3"], "--seed=3 after --"),
        ({}, ["--", "--epoch=3"], "--epoch=3"),
        ({}, ["--", "--dry-run"], "put it before --"),
    ],
)
def test_what_cannot_be_is_one_line(config, tmp_path, stand_ins, changes, options, says):
    assert says in _refused([*_list(tmp_path, **changes), *options], stand_ins)
    assert not (tmp_path / "table").exists()


def test_a_name_given_twice_is_refused(config, tmp_path, stand_ins):
    path = tmp_path / "list.yaml"
    path.write_text("seeds: [1]\noutput: out\nruns:\n  a: {}\n  a: {epochs: 3}\n")
    assert "'a' is there twice" in _refused(["--list", f"{path}"], stand_ins)
    files = ["--configs", f"{config}", "elsewhere/quick.yaml", "--seeds", "1", "--output", "out"]
    assert "two files of one name" in _refused(files, stand_ins)


def test_the_real_commands(root, training_pairs, tmp_path, monkeypatch, capsys):
    data = tmp_path / "set"
    for kind, name in (("images", "0000.jpg"), ("labels", "0000.png")):
        (data / f"test-{kind}").mkdir(parents=True)
        shutil.copy(training_pairs / f"train-{kind}" / name, data / f"test-{kind}")
    small = {
        "detector": {"encoder": "mobilenetv2_035", "width": 8, "head_channels": [8, 8], "input_size": [64, 64]},
        "asrd": {"shallow_channels": 8, "fuse_channels": [8, 8, 8], "up_channels": [8, 8, 8]},
        "data": {"root": f"{training_pairs}", "validation": 0.3, "workers": 0, "cache": f"{tmp_path}/cache"},
        "encoder_weights": "none", "device": "cpu", "batch_size": 2, "epochs": 1,
    }  # fmt: skip
    monkeypatch.chdir(root)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # train.py sets its own
    options = [*_list(tmp_path, seeds=[1], common=small, runs={"sral": {}}), "--test", f"RSSOD={data}"]
    sweep, _ = sweep_of(options)
    [planned] = sweep.all_runs
    # In this process, as the commands are given: each would import torch for seconds in one of its own.
    for command in planned.commands_left(sweep.test, COMMANDS):
        monkeypatch.setattr(sys, "argv", command[1:])
        run_script(command[1])
    run = planned.folder
    finished = (run / "finished.json").stat()
    capsys.readouterr()
    assert _run(options, COMMANDS) == 0
    assert "sral seed 1: skipped, finished" in capsys.readouterr().out
    assert (run / "finished.json").stat().st_mtime_ns == finished.st_mtime_ns

    rows = _csv(tmp_path / "table")
    best = json.loads((run / "finished.json").read_text())["best"]
    assert float(rows["sral", "validation", "authors", "Sm"]["mean"]) == best["Sm"]
    for protocol, figures in (("authors", 3), ("field", 9)):
        scored = json.loads((run / "scores" / "RSSOD" / protocol / "scores.json").read_text())["results"][0]
        found = {figure: row for (_, name, by, figure), row in rows.items() if (name, by) == ("RSSOD", protocol)}
        assert len(found) == figures
        assert all(float(row["mean"]) == scored[figure] for figure, row in found.items())
