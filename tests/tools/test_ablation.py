"""Paired comparisons of an ablation against scipy, on synthetic runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tools.ablation import gains, main, statement
from tools.sweep import main as sweep_main
from tools.sweep import sweep_of
from tools.sweep_results import collect_results
from training.config import dump, parse

ARMS, SEEDS, EPOCHS = ("plain", "asrd"), (0, 1, 2, 3), 6


@pytest.fixture
def sweep_list(tmp_path: Path) -> Path:
    """A list of two arms and four seeds, three of which have finished in both."""
    random = np.random.default_rng(1)
    arms = "\n".join(f"  {name}: {{config: configs/light.yaml}}" for name in ARMS)
    path = tmp_path / "list.yaml"
    path.write_text(f"output: {tmp_path / 'runs'}\nseeds: [{', '.join(map(str, SEEDS))}]\nruns:\n{arms}\n")
    for name in ARMS:
        for seed in SEEDS:
            folder = tmp_path / "runs" / name / f"seed_{seed}"
            folder.mkdir(parents=True)
            table = pd.DataFrame(random.uniform(0, 1, (EPOCHS, 3)), columns=["Fbeta", "MAE", "Sm"])
            table.insert(0, "epoch", range(1, EPOCHS + 1))
            table.to_csv(folder / "log.csv", index=False)
            if (name, seed) != ("asrd", 3):
                (folder / "finished.json").write_text(json.dumps({"best": None, "seconds": 1.0}))
    return path


def test_gains_are_scipys_paired_t_test(sweep_list: Path):
    sweep, _ = sweep_of(["--list", str(sweep_list)])
    scores = collect_results(sweep.all_runs)["validation"]
    found = gains(scores, sweep.baselines, "Sm").set_index("epoch")
    assert list(found.index) == list(range(1, EPOCHS + 1))
    at = scores[scores.epoch == EPOCHS].pivot(index="seed", columns="configuration", values="Sm").dropna()
    expected = stats.ttest_rel(at.asrd, at.plain)
    interval = stats.t.interval(0.95, 2, (at.asrd - at.plain).mean(), stats.sem(at.asrd - at.plain))
    row = found.loc[EPOCHS]
    assert row.pairs == 3  # seed 3 of asrd is not finished
    assert [row.low, row.high, row.p] == pytest.approx([*interval, expected.pvalue], abs=1e-9)


@pytest.mark.parametrize(
    ("metric", "low", "high", "says"),
    [
        ("Sm", -0.01, 0.002, "any gain in Sm above 0.0020 is excluded"),
        ("Sm", -0.01, -0.002, "any gain in Sm is excluded"),
        ("MAE", -0.003, 0.01, "any reduction of MAE above 0.0030 is excluded"),
    ],
)
def test_the_excluded_gain_is_the_favorable_end_of_the_interval(metric: str, low: float, high: float, says: str):
    row = {"configuration": "asrd", "baseline": "plain", "pairs": 5, "low": low, "high": high}
    assert says in statement(row, metric)


def test_the_command_writes_tables_and_figure(sweep_list: Path, capsys: pytest.CaptureFixture[str]):
    main(["--list", str(sweep_list)])
    folder = sweep_list.parent / "runs"
    assert "7 of 8 runs are finished" in capsys.readouterr().out
    assert "n = 3" in (folder / "ablation.md").read_text()
    assert len(pd.read_csv(folder / "ablation.csv")) == EPOCHS
    assert (folder / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_test_scores_are_reported_for_all_runs_or_for_none(sweep_list: Path):
    with pytest.raises(SystemExit, match="no scores on ORSSD"):
        main(["--list", str(sweep_list), "--test", "ORSSD"])


def test_one_seed_has_no_interval(sweep_list: Path, capsys: pytest.CaptureFixture[str]):
    for name in ARMS:
        for seed in SEEDS[1:]:
            (sweep_list.parent / "runs" / name / f"seed_{seed}" / "finished.json").unlink(missing_ok=True)
    main(["--list", str(sweep_list)])
    assert "one seed gives no interval" in capsys.readouterr().out
    (sweep_list.parent / "runs" / "asrd" / "seed_0" / "finished.json").unlink()
    main(["--list", str(sweep_list)])  # nothing to compare
    assert "1 of 8 runs are finished" in capsys.readouterr().out


@pytest.fixture
def results(sweep_list: Path) -> Path:
    """The folder of results that the list names; each run has the settings that it records."""
    folder = sweep_list.parent / "results"
    sweep_list.write_text(f"{sweep_list.read_text()}results: {folder}\n")
    sweep, _ = sweep_of(["--list", str(sweep_list)])
    for run in sweep.all_runs:
        settings = parse([*run.options, f"--seed={run.seed}"]).settings
        (run.folder / "config.yaml").write_text(dump(settings))
    return folder


def test_recorded_runs_are_compared_without_their_folders(sweep_list: Path, results: Path):
    """Two machines with different seeds give the tables of one that has them all."""
    main(["--list", str(sweep_list)])
    runs = sweep_list.parent / "runs"
    wanted = (runs / "ablation.csv").read_text()
    shutil.rmtree(results)
    elsewhere = sweep_list.parent / "elsewhere"
    for name in ARMS:
        shutil.move(runs / name / "seed_1", elsewhere / name / "seed_1")
    main(["--list", str(sweep_list)])
    assert (runs / "ablation.csv").read_text() != wanted
    shutil.rmtree(runs)
    main(["--list", str(sweep_list), "--output", str(elsewhere)])
    assert (elsewhere / "ablation.csv").read_text() == wanted
    shutil.rmtree(elsewhere)
    main(["--list", str(sweep_list)])  # no run is on this machine
    assert (runs / "ablation.csv").read_text() == wanted


def test_what_is_recorded_of_a_run_stays(sweep_list: Path, results: Path):
    main(["--list", str(sweep_list)])
    before = (results / "validation.csv").read_text()
    log = sweep_list.parent / "runs" / "plain" / "seed_0" / "log.csv"
    log.write_text(log.read_text().replace("0.", "0.9"))
    main(["--list", str(sweep_list)])
    assert (results / "validation.csv").read_text() == before


def test_a_recorded_run_is_not_trained_again(sweep_list: Path, results: Path, capsys: pytest.CaptureFixture[str]):
    main(["--list", str(sweep_list)])
    shutil.rmtree(sweep_list.parent / "runs")
    capsys.readouterr()
    sweep_main(["--list", str(sweep_list), "--dry-run"])
    *skipped, last = capsys.readouterr().out.splitlines()
    assert len(skipped) == 7
    assert all(line.endswith(f": recorded in {results}") for line in skipped)
    assert last.startswith("run     asrd seed 3: train.py ")
    sweep_main(["--list", str(sweep_list), "--dry-run", "--score-only"])
    assert capsys.readouterr().out.split("\n") == [*skipped, "", ""]


def test_results_of_other_settings_are_refused(sweep_list: Path, results: Path):
    main(["--list", str(sweep_list)])
    sweep_list.write_text(f"{sweep_list.read_text()}common: {{epochs: 3}}\n")
    for command in (main, sweep_main):
        with pytest.raises(SystemExit, match="has runs of plain with other settings: epochs: "):
            command(["--list", str(sweep_list)])


def test_a_broken_table_is_one_line(sweep_list: Path, results: Path):
    main(["--list", str(sweep_list)])
    (results / "test.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit, match=r"error: .*test\.csv has the columns a, b: expected configuration, seed"):
        main(["--list", str(sweep_list)])


def test_what_the_branch_learned_stands_beside_it(sweep_list: Path, results: Path):
    folders = [sweep_list.parent / "runs" / "asrd" / f"seed_{seed}" for seed in (0, 1)]
    for folder, psnr in zip(folders, (31.0, 33.0), strict=True):
        (folder / "sr.csv").write_text(f'network,PSNR,SSIM\nbicubic,30,0.9\n"epoch_005, epoch 5",{psnr},0.95\n')
        rows = '"epoch_005, epoch 5",saliency,1,1,1\n"epoch_005, epoch 5",sr,0.1,0.25,0.01\n'
        (folder / "gradients.csv").write_text(f"network,term,loss,ratio,cosine\n{rows}")
    main(["--list", str(sweep_list)])
    text = (sweep_list.parent / "runs" / "ablation.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| asrd ") and "| 5 " in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["asrd", "5", "2", "+2.00", "+0.0500", "0.2500"]
