"""Train configurations × seeds by one command, and write one table of mean ± standard deviation.

    python -m tools.sweep --list LIST.yaml [--jobs N] [--score-only] [--dry-run] [-- --key value …]
    python -m tools.sweep --configs configs/light.yaml configs/paper.yaml --seeds 1 2 3 --output runs/table

LIST.yaml names the configurations. An option on the command line overrides its key:

    output: runs/ablation                 # the folder of all runs and of the table
    seeds: [1, 2, 3]
    common: {epochs: 40}                  # settings of every run; they override the run's config file
    runs:                                 # the rows of the table; the first is the baseline unless a row names its own
      plain: {config: configs/light.yaml, super_resolution: false, guidance: false}
      sral: {config: configs/light.yaml}
      slow: {config: configs/light.yaml, optimizer: {lr: 5.0e-4}, data.workers: 2, baseline: sral}
    test: {ORSSD: data/ORSSD}             # data sets whose test split is scored too, under both protocols
    results: results/ablation             # where tools.ablation records finished runs; those are not trained again

Each run is `train.py --config=FILE --key=value … --output=OUTPUT/NAME/seed_N --seed=N --resume`. Options after `--` go
to every run. A finished run is skipped and an unfinished run resumes from its last checkpoint, so the same command
continues after any stop. A failed run is reported and the others continue. Paths are relative to the current directory.

The output folder holds:

    NAME/seed_N/                  the run's folder; output.log has the output of its commands
    NAME/seed_N/maps/SET          test maps, with their scores in scores/SET/PROTOCOL
    table.md  .csv  .tex          rewritten after each run; the CSV has the gain and its p-value for every metric

The gain is the mean difference from the baseline over the seeds that both have. Its p-value and 95 % interval are those
of the paired t-test. The p-values have Holm's correction over all comparisons of a table (one data set and protocol).
"""

from utils import command

if __name__ == "__main__":
    command.begin("the same command continues")  # before the imports, which take seconds

import argparse
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from compute_results.options import CommandParser, positive_integer


def _test_set(text: str) -> tuple[str, str]:
    name, _, root = text.partition("=")
    if not name or not root:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR")
    return name, root


def _parser() -> argparse.ArgumentParser:
    usage = "python -m tools.sweep [options] [-- --key value ...]"
    parser = CommandParser(prog="python -m tools.sweep", usage=usage, description=__doc__)
    add = parser.add_argument
    add("--list", type=Path, metavar="LIST.yaml", help="the list of runs, in the layout above")
    add("--configs", nargs="+", default=[], metavar="FILE", help="without a list: configuration files")
    add("--seeds", nargs="+", type=int, metavar="N", help="run each configuration with each seed")
    add("--output", metavar="DIR", help="the folder of all runs and of the table")
    add("--test", nargs="+", type=_test_set, metavar="NAME=DIR", help="data sets whose test split is scored")
    add(
        "--jobs",
        type=positive_integer,
        default=1,
        metavar="N",
        help="runs at once, each on its own GPU if there are any",
    )
    add("--score-only", action="store_true", help="train nothing; score what is finished, and write the table")
    add("--dry-run", action="store_true", help="print what would be run, resumed, scored and skipped")
    return parser


if __name__ == "__main__":
    command.answer_help(lambda: _parser().parse_args())  # before torch, which takes seconds

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PrivateAttr, ValidationError

from compute_results.table_config import UniqueKeys
from tools.sweep_results import recorded_runs, recorded_settings
from tools.sweep_runner import COMMANDS, Run, Runner
from tools.sweep_table import PROTOCOLS, VALIDATION, latex, markdown, summarize
from training.config import TrainingConfig, differences, flatten, parse
from utils.files import atomic_files
from utils.text import one_line, read_text

SET_BY_SWEEP = ("config", "output", "seed", "resume")


class Sweep(BaseModel):
    """The content of LIST.yaml, overridden by the options of the command line.

    Attributes:
        output: the folder of all runs and of the table.
        seeds: each configuration is run with each seed.
        runs: the settings of train.py by the configuration's name, with `config`, its file, and `baseline`.
        common: settings of every run.
        test: the folder of each data set whose test split is scored, by the data set's name.
        results: a folder of `tools.sweep_results`; runs that are recorded there are not trained again.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    output: str
    seeds: list[NonNegativeInt]
    runs: dict[str, dict[str, Any]]
    common: dict[str, Any] = {}
    test: dict[str, str] = {}
    results: str | None = None
    _extra: list[str] = PrivateAttr(default_factory=list)  # options of train.py for every run, given after --

    @property
    def baselines(self) -> dict[str, str]:
        """The configuration that each configuration is compared with; a baseline names itself."""
        return {name: run.get("baseline", next(iter(self.runs))) for name, run in self.runs.items()}

    @property
    def configurations(self) -> dict[str, list[str]]:
        """The options of train.py by the configuration's name. Raise ValueError for a key that is set here."""
        return {name: [*_train_options(name, run, self.common), *self._extra] for name, run in self.runs.items()}

    @property
    def all_runs(self) -> list[Run]:
        """All runs. Every configuration is run with one seed before the next seed, so an early table compares them."""
        named = [(name, seed, options) for seed in self.seeds for name, options in self.configurations.items()]
        return [Run(name, seed, Path(self.output, name, f"seed_{seed}"), options) for name, seed, options in named]

    def recorded_elsewhere(self) -> list[Run]:
        """Return the runs that `results` has and that are not finished here: another machine's work.

        Raises:
            OSError, ValueError: a table of `results` or a finished.json cannot be read.
        """
        recorded = recorded_runs(Path(self.results)) if self.results else set()
        return [run for run in self.all_runs if (run.configuration, run.seed) in recorded and run.finished() is None]

    def check_results(self) -> None:
        """Raise ValueError if the results folder has runs with other settings than those of the list."""
        for name, options in self.configurations.items():
            recorded = recorded_settings(Path(self.results), name) if self.results else None
            if recorded is None:
                continue
            asked = replace(_settings(name, options), seed=recorded.get("seed"))
            if changed := differences(asked, recorded):
                raise ValueError(
                    f"{self.results} has runs of {name} with other settings: {'; '.join(changed)}; choose other results"
                )

    def check(self) -> None:
        """Check all that can be wrong before anything runs.

        Raises:
            ValueError: impossible seeds or names; settings that train.py refuses; a missing test set; a finished run
                with other settings than those of the list.
        """
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {' '.join(map(str, self.seeds))}: give each once")
        for option in self._extra:
            if option.partition("=")[0].removeprefix("--") in SET_BY_SWEEP:
                raise ValueError(f"{option} after --: the sweep sets it for each run")
        for name, baseline in self.baselines.items():
            if not re.fullmatch(r"\w[\w.+-]*", name):
                raise ValueError(f"run {name!r}: the name becomes a folder; make it of letters, digits and ._+-")
            if baseline not in [*self.runs]:  # whatever its type is
                raise ValueError(f"run {name}: its baseline {baseline!r} is none of {', '.join(self.runs)}")
        for name, root in self.test.items():
            if not Path(root).is_dir():
                raise ValueError(f"test set {name}: there is no folder {root}")
        self.check_results()
        settings = {name: _settings(name, options) for name, options in self.configurations.items()}
        for run in self.all_runs:
            asked = replace(settings[run.configuration], seed=run.seed)
            changed = differences(asked, run.recorded()) if run.finished() else []
            if changed:
                raise ValueError(
                    f"{run.folder} is finished with other settings: {'; '.join(changed)}; choose another --output, or "
                    "remove that folder to train it again"
                )

    def describe(self, runs: Sequence[Run]) -> str:
        """Return a line for each run: skip, score, resume or run, with the training command."""
        lines = []
        for run in runs:
            action = {"finished": "skip", "resumed": "resume", "started": "run"}[run.state]
            command = "" if action == "skip" else f": train.py {shlex.join(run.arguments)}"
            action = "score" if action == "skip" and any(map(run.unscored, self.test)) else action
            lines.append(f"{action:6}  {run.configuration} seed {run.seed}{command}")
        return "\n".join(lines)

    def write_table(self) -> str:
        """Write OUTPUT/table.md, .csv and .tex from the finished runs. Return the Markdown, '' without any scores."""
        kinds = [VALIDATION, *((name, protocol) for name in self.test for protocol in PROTOCOLS)]
        values = [
            (run.configuration, run.seed, *kind, metric, value)
            for kind in kinds
            for run in self.all_runs
            for metric, value in run.scores(*kind).items()
        ]
        scores = pd.DataFrame(values, columns=["configuration", "seed", "scored", "protocol", "figure", "value"])
        if scores.empty:
            return ""
        rows = summarize(scores, self.baselines)
        table = markdown(rows, self.baselines)
        lines = rows.to_csv(index=False, lineterminator="\n")
        contents = {"table.md": table, "table.csv": lines, "table.tex": latex(rows, self.baselines)}
        atomic_files({Path(self.output, name): content for name, content in contents.items()})
        return table


def _train_options(name: str, run: dict[str, Any], common: dict[str, Any]) -> list[str]:
    own = {key: value for key, value in run.items() if key not in ("config", "baseline")}
    settings = flatten(common) | flatten(own)
    for key in [key for key in settings if key in SET_BY_SWEEP]:
        raise ValueError(f"run {name}: {key} cannot be set; the sweep sets it for each run")
    texts = {key: v if isinstance(v, str) else json.dumps(v, default=str) for key, v in settings.items()}
    file = [f"--config={run['config']}"] if "config" in run else []
    return [*file, *(f"--{key}={text}" for key, text in texts.items())]


def _settings(name: str, options: Sequence[str]) -> TrainingConfig:
    """Return the settings as train.py sees them. Raise ValueError if train.py refuses them."""
    try:
        start = parse(options)
    except (SystemExit, ValueError) as error:  # parse exits with its message
        raise ValueError(f"run {name}: {str(error).removeprefix('error: ')}") from error
    if start.dry_run:
        raise ValueError("--dry-run after --: it is an option of the sweep, put it before --")
    return start.settings


def sweep_of(arguments: Sequence[str]) -> tuple[Sweep, argparse.Namespace]:
    """Return the sweep that the command line describes, and its other options: jobs, dry_run.

    Raises:
        OSError, ValueError: the list cannot be read; a key is missing, unknown, given twice or of the wrong type.
        SystemExit: a wrong option, with one line.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = _parser().parse_args(arguments[:end])
    content: Any = {}
    if options.list:
        try:
            content = yaml.load(read_text(options.list), UniqueKeys)
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"{options.list} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{options.list}: found {content!r}, expected the keys {', '.join(Sweep.model_fields)}")
    if bool(content.get("runs")) == bool(options.configs):
        raise ValueError("give the configurations either as --configs FILE ... or as runs in a --list LIST.yaml")
    if options.configs:
        content["runs"] = {Path(file).stem: {"config": file} for file in options.configs}
        if len(content["runs"]) < len(options.configs):
            raise ValueError(
                "--configs: two files of one name, which would share a folder: name the runs in a LIST.yaml"
            )
    given = {"seeds": options.seeds, "output": options.output, "test": options.test and dict(options.test)}
    content |= {key: value for key, value in given.items() if value}
    for key in ("seeds", "output"):
        if not content.get(key):
            raise ValueError(f"give {key}, as an option or in LIST.yaml")
    try:
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = f"{options.list or 'options'}: {'.'.join(map(str, first['loc']))}"
        if first["type"] == "extra_forbidden":
            raise ValueError(f"{key}: unknown key; the keys are {', '.join(Sweep.model_fields)}") from error
        raise ValueError(
            f"{key}: found {first['input']!r}; {first['msg'].lower()}; see --help for the layout"
        ) from error
    sweep._extra = list(arguments[end + 1 :])
    return sweep, options


def main(arguments: Sequence[str] | None = None, commands: Mapping[str, Sequence[str]] = COMMANDS) -> None:
    """Run the command; bad input ends it with one line."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot print β must not stop a training
    try:
        sweep, options = sweep_of(sys.argv[1:] if arguments is None else arguments)
        sweep.check()
        elsewhere = sweep.recorded_elsewhere()
        runs = [run for run in sweep.all_runs if run not in elsewhere]
        if options.score_only:
            runs = [run for run in runs if run.finished() is not None]
        for run in elsewhere:
            print(f"skip    {run.configuration} seed {run.seed}: recorded in {sweep.results}")
        if options.dry_run:
            print(sweep.describe(runs))
            return
        status = Runner(sweep.test, commands, options.jobs).run(runs, sweep.write_table)
        table = sweep.write_table()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {one_line(error, 1000)}")
    if table:
        print(f"\n{table}")
    if status:
        print("stopped:" if status > 128 else "some runs failed:", "the same command continues", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    command.run(main)
