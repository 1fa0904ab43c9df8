"""The plan of many runs: configurations × seeds, and how far each run has come by what its folder holds."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from training.checkpoint import checkpoints
from training.config import TrainingConfig, differences, parse

PROTOCOLS = ("authors", "field")
"""The protocols under which test splits are scored."""

VALIDATION = ("validation", "authors")
"""What a training run's own figures are of, and by which protocol."""


@dataclass(frozen=True)
class Run:
    """One configuration with one seed; `options` are train.py's, but for folder and seed."""

    configuration: str
    seed: int
    folder: Path
    options: Sequence[str]

    @property
    def arguments(self) -> list[str]:
        """All of train.py's options."""
        return [*self.options, f"--output={self.folder}", f"--seed={self.seed}", "--resume"]

    @property
    def log(self) -> Path:
        """What the run's commands said."""
        return self.folder / "output.log"

    @property
    def host_file(self) -> str | None:
        """The Python file that registers the network, where it is the user's own; of a finished run."""
        return _recorded(self).get("host_file")

    @property
    def has_begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return bool(checkpoints(self.folder))

    def finished(self) -> dict[str, Any] | None:
        """RUN/finished.json, None where the run is not finished; ValueError where it is not what train.py writes."""
        path = self.folder / "finished.json"
        return _read_json(path, "best", "seconds") if path.is_file() else None

    def scores_file(self, name: str, protocol: str) -> Path:
        """Where the scores of a data set's test split under a protocol are."""
        return self.folder / "scores" / name / protocol / "scores.json"

    def unscored(self, name: str) -> list[str]:
        """The protocols under which a data set's test split has no scores yet."""
        return [protocol for protocol in PROTOCOLS if not self.scores_file(name, protocol).is_file()]

    def scores(self, test: Mapping[str, str]) -> dict[tuple[str, str], dict[str, float]]:
        """A finished run's figures by ('validation' or data set, protocol): the best epoch's, and those of test splits.

        Raises:
            ValueError: a file of scores cannot be read.
        """
        finished = self.finished()
        if not finished:
            return {}
        found = {VALIDATION: finished["best"]} if finished["best"] else {}
        for name, protocol in [(name, protocol) for name in test for protocol in PROTOCOLS]:
            path = self.scores_file(name, protocol)
            if path.is_file():
                found[name, protocol] = _read_json(path, "results")["results"][0]
        other = ("epoch", "method", "dataset", "images")
        return {key: {k: value for k, value in each.items() if k not in other} for key, each in found.items()}


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        output: the folder of all runs and of the table.
        seeds: each configuration is run with each.
        configurations: train.py's options by the configuration's name, in the table's order.
        test: the folder of each data set whose test split is scored, by the data set's name.
        baselines: the configuration that one is compared with, by its name, where that is not the first.
    """

    output: Path
    seeds: Sequence[int]
    configurations: Mapping[str, Sequence[str]]
    test: Mapping[str, str] = field(default_factory=dict)
    baselines: Mapping[str, str] = field(default_factory=dict)

    def baseline(self, name: str) -> str:
        """The configuration that one is compared with, perhaps itself: then nothing is said of it."""
        return self.baselines.get(name, next(iter(self.configurations)))

    @property
    def runs(self) -> list[Run]:
        """All runs; every configuration with one seed before the next seed, so that an early table compares them."""
        names = [(name, seed) for seed in self.seeds for name in self.configurations]
        return [Run(name, seed, self.output / name / f"seed_{seed}", self.configurations[name]) for name, seed in names]


def check(plan: Plan) -> None:
    """Make sure of all that can go wrong before anything runs.

    Raises:
        ValueError: seeds or names that cannot be; settings that train.py would refuse; a test set that is not there; a
            finished run whose settings are not those that are asked for now.
    """
    if len(set(plan.seeds)) < len(plan.seeds):
        raise ValueError(f"seeds {' '.join(map(str, plan.seeds))}: give each once")
    for name in plan.configurations:
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise ValueError(f"run {name!r}: the name becomes a folder; make it of letters, digits and ._+-")
    for name, baseline in plan.baselines.items():
        if baseline not in plan.configurations:
            raise ValueError(f"run {name}: its baseline {baseline!r} is none of {', '.join(plan.configurations)}")
    for name, root in plan.test.items():
        if not Path(root).is_dir():
            raise ValueError(f"test set {name}: there is no folder {root}")
    settings = {name: _settings(name, options) for name, options in plan.configurations.items()}
    for run in plan.runs:
        changed = _changes(run, settings[run.configuration]) if run.finished() else []
        if changed:
            raise ValueError(
                f"{run.folder} is finished with other settings: {'; '.join(changed)}; choose another --output, or "
                "remove that folder to do it again"
            )


def describe(plan: Plan) -> str:
    """A line for each run: whether it would be skipped, scored, resumed or run, and by which training command."""
    lines = []
    for run in plan.runs:
        does = "resume" if run.has_begun else "run"
        command = f": train.py {shlex.join(run.arguments)}"
        if run.finished():
            does, command = "score" if any(map(run.unscored, plan.test)) else "skip", ""
        lines.append(f"{does:6}  {run.configuration} seed {run.seed}{command}")
    return "\n".join(lines)


def _settings(name: str, options: Sequence[str]) -> TrainingConfig:
    """The configuration's settings as train.py will see them; ValueError where it would refuse them."""
    try:
        start = parse(options)
        start.settings.check()
    except (SystemExit, ValueError) as error:  # parse exits with what is wrong
        raise ValueError(f"run {name}: {str(error).removeprefix('error: ')}") from error
    if start.dry_run:
        raise ValueError("--dry-run after --: it is this command's own, put it before --")
    return start.settings


def _changes(run: Run, settings: TrainingConfig) -> list[str]:
    """What makes the run that is asked for another than the finished one."""
    settings.seed = run.seed
    return differences(settings, _recorded(run))


def _recorded(run: Run) -> dict[str, Any]:
    """The settings of a finished run."""
    path = run.folder / "config.yaml"
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{run.folder} is finished, but its config.yaml cannot be read: {error}") from error


def _read_json(path: Path, *keys: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or any(key not in content for key in keys):
        raise ValueError(f"{path} lacks {' or '.join(keys)}: it is not what the command writes")
    return content
