"""tools.seed_table: means, spreads and paired gains against numpy and scipy, on synthetic runs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tools.seed_table import main, validation_scores

SEEDS = (0, 1, 2)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """`--runs` of two recipes of three seeds; the second has an epoch more, and the first epoch is the best."""
    random = np.random.default_rng(1)
    for name in ("plain", "taught"):
        for seed in SEEDS:
            folder = tmp_path / f"{name}_{seed}"
            folder.mkdir()
            epochs = [1, 2] if name == "plain" else [1, 2, 3]
            values = random.uniform(0, 0.9, (len(epochs), 3))
            table = pd.DataFrame(values, columns=["Fbeta", "MAE", "Sm"], index=epochs)
            table.loc[1, "Sm"] = 0.99
            table.rename_axis("epoch").to_csv(folder / "log.csv")
            (folder / "finished.json").touch()
    return [f"{name}={tmp_path / name}" for name in ("plain", "taught")]


def test_gains_are_paired_by_seed(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = validation_scores({name: tmp_path / name for name in ("plain", "taught")}, SEEDS)
    sm = found.pivot(index="seed", columns="configuration", values="Sm")
    assert sm.to_numpy().max() < 0.9  # of the last epoch
    expected = stats.ttest_rel(sm.taught, sm.plain).confidence_interval()
    main(["--runs", *runs])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| taught"))
    assert f"{sm.taught.mean():.4f} ± {np.std(sm.taught, ddof=1):.4f}" in row
    gain = f"{(sm.taught - sm.plain).mean():+.4f}"
    assert f"{gain} ({expected.low:+.4f} to {expected.high:+.4f})" in row


def test_test_scores_are_read_by_protocol(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    names = [f"{name}_{seed}" for name in ("plain", "taught") for seed in SEEDS]
    for protocol, metric in (("authors", "Fbeta"), ("field", "maxF")):
        values = dict(zip(names, (0.5, 0.6, 0.7, 0.7, 0.9, 0.8), strict=True))
        results = [{"method": name, metric: value, "Sm": 0.9, "MAE": 0.01} for name, value in values.items()]
        (tmp_path / "scores" / protocol).mkdir(parents=True)
        (tmp_path / "scores" / protocol / "scores.json").write_text(json.dumps({"results": results}))
    main(["--runs", *runs, "--scores", f"ORSSD={tmp_path / 'scores'}"])
    printed = capsys.readouterr().out
    for title in ("ORSSD, test split (protocol authors)", "ORSSD, test split (protocol field)"):
        row = next(line for line in printed.partition(title)[2].splitlines() if line.startswith("| taught"))
        assert "0.8000 ± 0.1000" in row
        assert "| +0.2000 (-0.0484 to +0.4484) " in row  # 0.2 ± 4.3027 · 0.1 / √3


def test_unfinished_runs_and_missing_methods_are_named(runs: list[str], tmp_path: Path):
    (tmp_path / "scores" / "authors").mkdir(parents=True)
    (tmp_path / "scores" / "authors" / "scores.json").write_text('{"results": [{"method": "plain_0"}]}')
    with pytest.raises(SystemExit, match="has no method plain_1: found plain_0"):
        main(["--runs", *runs, "--scores", f"ORSSD={tmp_path / 'scores'}"])
    (tmp_path / "taught_1" / "finished.json").unlink()
    with pytest.raises(SystemExit, match="taught_1 is not finished"):
        main(["--runs", *runs])
    with pytest.raises(SystemExit, match="write NAME=RUN"):
        main(["--runs", "plain"])


def test_broken_files_are_named(runs: list[str], tmp_path: Path):
    (tmp_path / "scores" / "authors").mkdir(parents=True)
    (tmp_path / "scores" / "authors" / "scores.json").write_text("{}")
    with pytest.raises(SystemExit, match="lacks results"):
        main(["--runs", *runs, "--scores", f"ORSSD={tmp_path / 'scores'}"])
    (tmp_path / "taught_0" / "log.csv").write_text("epoch,Fbeta,MAE,Sm\n")
    with pytest.raises(SystemExit, match=r"taught_0/log\.csv has no Fbeta for its last epoch"):
        main(["--runs", *runs])
