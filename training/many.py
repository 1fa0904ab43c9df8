"""Many training runs by one command: configurations × seeds, and one table of mean ± standard deviation.

    python -m training.many --list LIST.yaml [--jobs N] [--dry-run] [-- --key value …]
    python -m training.many --configs configs/light.yaml configs/paper.yaml --seeds 1 2 3 --output runs/table

LIST.yaml names the configurations; an option after it replaces what it says:

    output: runs/ablation                 # the folder of all runs and of the table
    seeds: [1, 2, 3]
    common: {epochs: 40}                  # settings of every run, over its config file's
    runs:                                 # the table's rows; gains are against the first
      plain: {config: configs/light.yaml, super_resolution: false, guidance: false}
      sral: {config: configs/light.yaml}
      slow: {config: configs/light.yaml, optimiser: {lr: 5.0e-4}, data.workers: 2}
    test: {ORSSD: data/ORSSD}             # score these sets' test splits too, under both protocols

Each run is `train.py --config=FILE --key=value … --output=OUTPUT/NAME/seed_N --seed=N --resume`; what follows `--` goes
to all of them. A finished run is skipped, another goes on from its last checkpoint, so the same command continues after
any stop. A run that fails is reported, and the others go on. Paths are relative to the current directory. Written to
the output folder:

    NAME/seed_N/                  a run's folder; output.log there is all that its commands said
    NAME/seed_N/maps/SET          its test maps, and in scores/SET/PROTOCOL its test scores
    table.md  table.csv           renewed after each run; the CSV has the gain in every figure and its p-value
"""

import csv
import io
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from argparse import RawDescriptionHelpFormatter
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import yaml
from jsonargparse import ArgumentParser, Namespace, set_loader
from jsonargparse.typing import NonNegativeInt, PositiveInt

from training.checkpoint import checkpoints
from training.settings import Settings, differences, flatten, parse
from training.whole_file import whole_file

ROOT = Path(__file__).resolve().parent.parent
PROTOCOLS = ("authors", "field")
VALIDATION = ("validation", "authors")
SIGNIFICANT = 0.05
_GIVEN_HERE = ("config", "output", "seed", "resume")
_SHOWN = {"Fbeta": "Fβ"}


@dataclass(frozen=True)
class Commands:
    """The commands that a run is made of; their options are added."""

    train: Sequence[str] = (sys.executable, str(ROOT / "train.py"))
    maps: Sequence[str] = (sys.executable, str(ROOT / "getsmaps.py"))
    scores: Sequence[str] = (sys.executable, str(ROOT / "compute_results" / "compute_metrics.py"))


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        output: the folder of all runs and of the table.
        seeds: each configuration is run with each.
        configurations: train.py's options by the configuration's name, in the table's order.
        test: the folder of each data set whose test split is scored, by the data set's name.
    """

    output: Path
    seeds: Sequence[int]
    configurations: Mapping[str, Sequence[str]]
    test: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The configuration that the others are compared with."""
        return next(iter(self.configurations))

    @property
    def runs(self) -> list["Run"]:
        """All runs; every configuration with one seed before the next seed, so that an early table compares them."""
        names = [(name, seed) for seed in self.seeds for name in self.configurations]
        return [Run(name, seed, self.output / name / f"seed_{seed}", self.configurations[name]) for name, seed in names]


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
    def has_begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return bool(checkpoints(self.folder))

    def finished(self) -> dict[str, Any] | None:
        """RUN/finished.json, None where the run is not finished; ValueError where it is not what train.py writes."""
        path = self.folder / "finished.json"
        return _read_json(path, "best", "seconds") if path.is_file() else None

    def left(self, test: Mapping[str, str], commands: Commands) -> Iterator[list[str]]:
        """The commands that the run still needs, each looked for when its turn comes.

        Raises:
            ValueError: train.py ended well, but the run is not finished.
        """
        if self.finished() is None:
            yield [*commands.train, *self.arguments]
            if self.finished() is None:
                raise ValueError("train.py ended without finishing the run")
        for name, root in test.items():
            maps = str(self.folder / "maps" / name)
            missing = [protocol for protocol in PROTOCOLS if not self.scores_file(name, protocol).is_file()]
            split = ["--dataset", name, "--root", root]
            if missing:
                weights = str(self.folder / "best.safetensors")
                yield [*commands.maps, "--weights", weights, *split, "--output", maps, "--resume"]
            for protocol in missing:
                out = str(self.scores_file(name, protocol).parent)
                method = f"{self.configuration}={maps}"
                yield [*commands.scores, *split, "--maps", method, "--protocol", protocol, "--out", out]

    def scores_file(self, name: str, protocol: str) -> Path:
        """Where the scores of a data set's test split under a protocol are."""
        return self.folder / "scores" / name / protocol / "scores.json"

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


def _settings(name: str, options: Sequence[str]) -> Settings:
    """The configuration's settings as train.py will see them; ValueError where it would refuse them."""
    try:
        start = parse(options)
        start.settings.check()
    except (SystemExit, ValueError) as error:  # parse exits with what is wrong
        raise ValueError(f"run {name}: {str(error).removeprefix('error: ')}") from error
    if start.dry_run:
        raise ValueError("--dry-run after --: it is this command's own, put it before --")
    return start.settings


def _changes(run: Run, settings: Settings) -> list[str]:
    """What makes the run that is asked for another than the finished one."""
    path = run.folder / "config.yaml"
    try:
        recorded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{run.folder} is finished, but its config.yaml cannot be read: {error}") from error
    settings.seed = run.seed
    return differences(settings, recorded)


def describe(plan: Plan, commands: Commands) -> str:
    """A line for each run: whether it would be skipped, scored, resumed or run, and by which training command."""
    lines = []
    for run in plan.runs:
        does = "resume" if run.has_begun else "run"
        command = f": train.py {shlex.join(run.arguments)}"
        if run.finished():
            does, command = "score" if any(run.left(plan.test, commands)) else "skip", ""
        lines.append(f"{does:6}  {run.configuration} seed {run.seed}{command}")
    return "\n".join(lines)


@dataclass
class _Job:
    """A run that is being worked on: its place (environment variables), its commands to come, and the one that runs."""

    run: Run
    place: dict[str, str]
    left: Iterator[list[str]]
    process: subprocess.Popen | None = None
    said_before: int = 0  # bytes of the log

    def go_on(self) -> bool:
        """Start the next command, its output going to the end of the run's log; False where there is none."""
        command = next(self.left, None)
        if command is None:
            return False
        self.run.folder.mkdir(parents=True, exist_ok=True)
        with self.run.log.open("ab") as log:
            self.said_before = log.tell()
            # In a group of its own: Ctrl-C would otherwise reach it from the terminal and from here, and the second
            # time it would not save.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | self.place,
            )  # fmt: skip
        return True

    def has_ended(self) -> bool:
        """Whether the command has ended; what a killed one left running ends with it."""
        if self.process.poll() is None:
            return False
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return True

    def failure(self) -> str | None:
        """Why the command failed, with the last thing that it said; None where it did not."""
        status = self.process.returncode
        if status == 0:
            return None
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        said = re.split(rb"[\r\n]+", self.run.log.read_bytes()[self.said_before :].strip())[-1]
        return f"{how}: {said.decode(errors='replace') or 'it said nothing'}"


class Crew:
    """Works through a plan's runs, several at once, and keeps the table.

    Args:
        plan: what to run; checked (`check`).
        commands: what a run is made of.
        jobs: runs at once, at least 1.
    """

    def __init__(self, plan: Plan, commands: Commands, jobs: int = 1):
        self.plan, self.commands = plan, commands
        self.waiting = deque(plan.runs)
        self.places = deque(places(jobs))
        self.working: list[_Job] = []
        self.failed: list[Run] = []
        self.signals: list[int] = []

    def work(self) -> int:
        """Run all that is left.

        SIGINT, SIGTERM and SIGHUP (as SIGTERM) are passed on to the running commands; this ends when they have ended.

        Returns:
            The exit status: 0, 1 where a run failed, 128 + signal where stopped.

        Raises:
            OSError, ValueError: the table cannot be written; the running commands are stopped first.
        """
        passed_on = 0
        with self._listening():
            try:
                while self.working or (self.waiting and not self.signals):
                    while self.waiting and self.places and not self.signals:
                        self._start(self.waiting.popleft())
                    time.sleep(0.02)
                    for number in self.signals[passed_on:]:
                        self._send(signal.SIGTERM if number == signal.SIGHUP else number)
                        passed_on += 1
                    for job in [job for job in self.working if job.has_ended()]:
                        self._after(job)
            except BaseException:
                if not passed_on:  # a second signal would end them before they have saved
                    self._send(signal.SIGTERM)
                for job in self.working:
                    job.process.wait()
                raise
        write_table(self.plan)
        return 128 + self.signals[0] if self.signals else int(bool(self.failed))

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Take signals down rather than end by them; nohup's ignored SIGHUP stays ignored."""
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        before = {number: signal.getsignal(number) for number in numbers}
        heard = [number for number in numbers if before[number] != signal.SIG_IGN]
        for number in heard:
            signal.signal(number, lambda number, _: self.signals.append(number))
        try:
            yield
        finally:
            for number in heard:
                signal.signal(number, before[number])

    def _send(self, number: int) -> None:
        for job in self.working:
            job.process.send_signal(number)

    def _start(self, run: Run) -> None:
        job = _Job(run, self.places.popleft(), run.left(self.plan.test, self.commands))
        how = "finished before, to be scored" if run.finished() else "resumed" if run.has_begun else "started"
        if self._go_on(job):
            _say(run, how)

    def _after(self, job: _Job) -> None:
        """What is to be done when a job's command has ended."""
        self.working.remove(job)
        failure = job.failure()
        if self.signals:
            unfinished = any(job.run.left(self.plan.test, self.commands))
            self._leave(job, "stopped" if unfinished else _result(job.run))
        elif failure:
            self._fail(job, failure)
        else:
            self._go_on(job)

    def _go_on(self, job: _Job) -> bool:
        """Start a job's next command; False where there is none, or none can be started: the job is then over."""
        try:
            if job.go_on():
                self.working.append(job)
                return True
        except (OSError, ValueError) as error:
            self._fail(job, str(error))
            return False
        self._leave(job, _result(job.run) if job.process else f"skipped, {_result(job.run)}")
        if job.process:
            write_table(self.plan)
        return False

    def _fail(self, job: _Job, why: str) -> None:
        self.failed.append(job.run)
        self._leave(job, f"failed: {why} ({job.run.log})")

    def _leave(self, job: _Job, what: str) -> None:
        self.places.append(job.place)
        _say(job.run, what)


def places(jobs: int) -> list[dict[str, str]]:
    """The environment variables by which `jobs` runs at once share the machine.

    One run has everything; several have a GPU each (by turns where there are fewer), or on a machine without any an
    equal part of the threads each.
    """
    if jobs == 1:
        return [{}]
    count = torch.cuda.device_count()
    if count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        return [{"CUDA_VISIBLE_DEVICES": visible.split(",")[number % count]} for number in range(jobs)]
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, torch.get_num_threads() // jobs))
    return [{"OMP_NUM_THREADS": threads}] * jobs


def _result(run: Run) -> str:
    """How a finished run ended."""
    finished = run.finished()
    figures = run.scores({}).get(VALIDATION, {})
    shown = "  ".join(f"{_SHOWN.get(name, name)} {value:.4f}" for name, value in figures.items())
    where = f"{shown} in epoch {finished['best']['epoch']}" if figures else "not validated"
    return f"finished, {finished['seconds'] / 60:.1f} min of training: {where}"


def _say(run: Run, what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {run.configuration} seed {run.seed}: {what}", flush=True)


@dataclass(frozen=True)
class Row:
    """One figure of one configuration.

    Attributes:
        configuration: its name.
        scored: 'validation' (the best epoch), or the data set whose test split was scored.
        protocol: `authors` or `field`.
        figure: its name.
        n: seeds.
        mean: over the seeds.
        sd: sample standard deviation over the seeds (n − 1); None for one seed.
        gain: mean less the first configuration's, as the figure counts (a smaller MAE is a negative gain); None for the
            first itself, and where it has no scores.
        p: of Welch's two-sided t-test of the gain; None where there is none, or a single seed on either side.
    """

    configuration: str
    scored: str
    protocol: str
    figure: str
    n: int
    mean: float
    sd: float | None
    gain: float | None
    p: float | None

    @property
    def star(self) -> str:
        """Marks a gain that the spread over seeds does not explain: p < 0.05."""
        return " \\*" if self.p is not None and self.p < SIGNIFICANT else ""


def summarise(plan: Plan) -> list[Row]:
    """The scores of all finished runs over their seeds, validation first, then as the plan's sets, names and figures.

    Raises:
        ValueError: a file of scores cannot be read.
    """
    values: dict[tuple[str, str, str, str], list[float]] = {}
    for run in plan.runs:
        for (scored, protocol), figures in run.scores(plan.test).items():
            for figure, value in figures.items():
                values.setdefault((run.configuration, scored, protocol, figure), []).append(value)
    names, sets = list(plan.configurations), ["validation", *plan.test]
    order = sorted(values, key=lambda key: (sets.index(key[1]), PROTOCOLS.index(key[2]), names.index(key[0])))
    return [_row(key, values[key], values.get((plan.first, *key[1:]), [])) for key in order]


def _row(key: tuple[str, str, str, str], values: list[float], base: list[float]) -> Row:
    mean, sd = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
    if not base or values is base:
        return Row(*key, len(values), mean, sd, None, None)
    p = _welch(values, base) if min(len(values), len(base)) > 1 else None
    return Row(*key, len(values), mean, sd, mean - statistics.fmean(base), p)


def _welch(values: list[float], base: list[float]) -> float | None:
    """The p-value of Welch's t-test, which takes no spreads to be equal; None for equal values without any spread."""
    from scipy.stats import ttest_ind_from_stats  # half a second to import, and only several seeds need it

    described = [number for v in (values, base) for number in (statistics.fmean(v), statistics.stdev(v), len(v))]
    with np.errstate(divide="ignore", invalid="ignore"):
        p = float(ttest_ind_from_stats(*described, equal_var=False).pvalue)
    return None if np.isnan(p) else p


def as_csv(rows: Sequence[Row]) -> str:
    """The rows at full precision, a line each; empty where there is no value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.name for column in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def as_markdown(plan: Plan, rows: Sequence[Row]) -> str:
    """A table for each data set and protocol: configurations in rows, mean ± standard deviation of each figure."""
    parts = []
    for scored, protocol in dict.fromkeys((row.scored, row.protocol) for row in rows):
        split = "Validation, best epoch" if scored == "validation" else f"{scored}, test split"
        chosen = {
            (row.configuration, row.figure): row for row in rows if (row.scored, row.protocol) == (scored, protocol)
        }
        parts.append(f"{split} (protocol {protocol})\n\n{_aligned(_cells(plan, chosen))}\n")
    notes = "Mean ± sample standard deviation over seeds."
    if len(plan.configurations) > 1:
        notes += f" Gain: against {plan.first}."
    if any(row.star for row in rows):
        notes += (
            f" \\*: another than {plan.first} by more than the spread over seeds (Welch's t-test, p < {SIGNIFICANT})."
        )
    return "".join([*parts, notes, "\n"])


def _cells(plan: Plan, rows: dict[tuple[str, str], Row]) -> list[list[str]]:
    """The head and lines of one table; `rows` by configuration and figure."""
    figures = list(dict.fromkeys(figure for _, figure in rows))
    heads = [f"{_SHOWN.get(figure, figure)} {'↓' if figure == 'MAE' else '↑'}" for figure in figures]
    lines = [["configuration", "seeds", *heads, "gain in Sm"]]
    for name in plan.configurations:
        found = [rows[name, figure] for figure in figures if (name, figure) in rows]
        means = [f"{row.mean:.4f}" + ("" if row.sd is None else f" ± {row.sd:.4f}") + row.star for row in found]
        gains = [f"{row.gain:+.4f}{row.star}" for row in found if row.figure == "Sm" and row.gain is not None]
        lines.append([name, str(found[0].n if found else 0), *(means or ["–"] * len(figures)), *(gains or ["–"])])
    return lines if len(lines) > 2 else [line[:-1] for line in lines]


def _aligned(lines: list[list[str]]) -> str:
    """A Markdown table whose columns line up as plain text too."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    shown = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in [lines[0], rule, *lines[1:]]]
    return "".join(f"| {' | '.join(line)} |\n" for line in shown)


def write_table(plan: Plan) -> None:
    """Write OUTPUT/table.md and table.csv from what is finished; nothing where nothing is.

    Raises:
        OSError, ValueError: they cannot be written; a file of scores cannot be read.
    """
    rows = summarise(plan)
    if rows:
        for name, content in {"table.md": as_markdown(plan, rows), "table.csv": as_csv(rows)}.items():
            with whole_file(plan.output / name) as file:
                file.write(content.encode())


def main(arguments: Sequence[str] | None = None, commands: Commands | None = None) -> None:
    """Run the command; bad input ends it with one line."""
    sys.stdout.reconfigure(errors="replace")  # a terminal that cannot print β is no reason to stop a training
    commands = commands or Commands()
    try:
        plan, options = plan_of(sys.argv[1:] if arguments is None else arguments)
        check(plan)
        if options.dry_run:
            print(describe(plan, commands))
            return
        status = Crew(plan, commands, options.jobs).work()
        rows = summarise(plan)
        if rows:
            print(f"\n{as_markdown(plan, rows)}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    if status:
        print("stopped:" if status > 128 else "some runs failed:", "the same command goes on", file=sys.stderr)
    sys.exit(status)


def plan_of(arguments: Sequence[str]) -> tuple[Plan, Namespace]:
    """The plan that the command line names, and its other options: jobs, dry_run.

    Raises:
        ValueError: something is missing, said twice, or not for the user to say.
        SystemExit: an unknown key or a value of the wrong type, in one line.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    extra = arguments[end + 1 :]
    options = _parser().parse_args(arguments[:end])
    if bool(options.runs) == bool(options.configs):
        raise ValueError("give the configurations either as --configs FILE ... or as runs in a --list LIST.yaml")
    if not options.seeds or not options.output:
        raise ValueError(f"give {'output' if options.seeds else 'seeds'}, as an option or in LIST.yaml")
    for option in extra:
        if option.partition("=")[0].removeprefix("--") in _GIVEN_HERE:
            raise ValueError(f"{option} after --: each run is given its own")
    runs = options.runs or {Path(file).stem: {"config": file} for file in options.configs}
    if len(runs) < len(options.configs):
        raise ValueError("--configs: two files of one name, which would be their runs': name the runs in a LIST.yaml")
    configurations = {name: [*_options(name, run, options.common), *extra] for name, run in runs.items()}
    return Plan(Path(options.output), [int(seed) for seed in options.seeds], configurations, options.test), options


def _options(name: str, run: dict[str, Any], shared: dict[str, Any]) -> list[str]:
    """A configuration as train.py's options: its file, then the settings that all share, then its own."""
    file = [f"--config={run['config']}"] if "config" in run else []
    settings = flatten(shared) | flatten({key: value for key, value in run.items() if key != "config"})
    for key in settings:
        if key in _GIVEN_HERE:
            raise ValueError(f"run {name}: {key} cannot be set, each run is given its own")
    shown = {
        key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in settings.items()
    }
    return [*file, *(f"--{key}={value}" for key, value in shown.items())]


class _UniqueKeys(yaml.SafeLoader):
    """YAML whose repeated keys are an error, so that of two runs of one name none is dropped in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{repeated!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _OneLineParser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        sys.exit(f"error: {' '.join(message.split())} (python -m training.many --help shows the layout)")


def _parser() -> ArgumentParser:
    set_loader("yaml_unique", lambda text: yaml.load(text, _UniqueKeys), exceptions=(yaml.YAMLError,))
    parser = _OneLineParser(
        prog="python -m training.many", usage="python -m training.many [options] [-- --key value ...]",
        description=__doc__, formatter_class=RawDescriptionHelpFormatter, parser_mode="yaml_unique",
        allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--list", action="config", metavar="LIST.yaml", help="the list of runs, laid out as above")
    add("--configs", nargs="+", type=str, default=[], metavar="FILE", help="without a list: config files")
    add("--seeds", nargs="+", type=NonNegativeInt, metavar="N", help="each configuration runs with each")
    add("--output", type=str, metavar="DIR", help="the folder of all runs and of the table")
    add("--runs", type=dict[str, dict[str, Any]], default={}, help="settings by the configuration's name")
    add("--common", type=dict[str, Any], default={}, help="settings of every run")
    add("--test", type=dict[str, str], default={}, help="sets to score the test splits of: --test.ORSSD data/ORSSD")
    add(
        "--jobs", type=PositiveInt, default=1, metavar="N", help="runs at once, each on its own GPU where there are any"
    )
    add("--dry-run", action="store_true", help="only say what would be run, resumed, scored and skipped")
    return parser


def _read_json(path: Path, *keys: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or any(key not in content for key in keys):
        raise ValueError(f"{path} lacks {' or '.join(keys)}: it is not what the command writes")
    return content


if __name__ == "__main__":
    main()
