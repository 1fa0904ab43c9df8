"""Paired comparisons of an ablation against scipy, on synthetic runs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tools.ablation import gains, main, read_logs, statement
from tools.sweep import sweep_of

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
    scores = read_logs(sweep)
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
