"""Many training runs by one command: configurations × seeds, and one table of mean ± standard deviation.

    python -m tools.sweep --list LIST.yaml [--jobs N] [--dry-run] [-- --key value …]
    python -m tools.sweep --configs configs/light.yaml configs/paper.yaml --seeds 1 2 3 --output runs/table

LIST.yaml names the configurations; an option after it replaces what it says:

    output: runs/ablation                 # the folder of all runs and of the table
    seeds: [1, 2, 3]
    common: {epochs: 40}                  # settings of every run, over its config file's
    runs:                                 # the table's rows; gains are against the first, or a row's own baseline
      plain: {config: configs/light.yaml, super_resolution: false, guidance: false}
      sral: {config: configs/light.yaml}
      slow: {config: configs/light.yaml, optimizer: {lr: 5.0e-4}, data.workers: 2, baseline: sral}
    test: {ORSSD: data/ORSSD}             # score these sets' test splits too, under both protocols

Each run is `train.py --config=FILE --key=value … --output=OUTPUT/NAME/seed_N --seed=N --resume`; what follows `--` goes
to all of them. A finished run is skipped, another goes on from its last checkpoint, so the same command continues after
any stop. A run that fails is reported, and the others go on. Paths are relative to the current directory. Written to
the output folder:

    NAME/seed_N/                  a run's folder; output.log there is all that its commands said
    NAME/seed_N/maps/SET          its test maps, and in scores/SET/PROTOCOL its test scores
    table.md  table.csv           renewed after each run; the CSV has the gain in every figure and its p-value
"""

import json
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, set_loader
from jsonargparse.typing import NonNegativeInt, PositiveInt

from compute_results.table_config import UniqueKeys
from training.config import OneLineParser, flatten
from training.crew import Commands, Crew
from training.plan import Plan, check, describe
from training.summary import write_table

_GIVEN_HERE = ("config", "output", "seed", "resume")


def main(arguments: Sequence[str] | None = None, commands: Commands | None = None) -> None:
    """Run the command; bad input ends it with one line."""
    sys.stdout.reconfigure(errors="replace")  # a terminal that cannot print β is no reason to stop a training
    try:
        plan, options = plan_of(sys.argv[1:] if arguments is None else arguments)
        check(plan)
        if options.dry_run:
            print(describe(plan))
            return
        status = Crew(plan, commands or Commands(), options.jobs).work()
        table = write_table(plan)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    if table:
        print(f"\n{table}")
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
    baselines = {name: run["baseline"] for name, run in runs.items() if "baseline" in run}
    configurations = {name: [*_options(name, run, options.common), *extra] for name, run in runs.items()}
    seeds = [int(seed) for seed in options.seeds]
    return Plan(Path(options.output), seeds, configurations, options.test, baselines), options


def _options(name: str, run: dict[str, Any], shared: dict[str, Any]) -> list[str]:
    """A configuration as train.py's options: its file, then the settings that all share, then its own."""
    own = {key: value for key, value in run.items() if key != "baseline"}
    file = [f"--config={own.pop('config')}"] if "config" in own else []
    settings = flatten(shared) | flatten(own)
    for key in settings:
        if key in _GIVEN_HERE:
            raise ValueError(f"run {name}: {key} cannot be set, each run is given its own")
    values = (value if isinstance(value, str) else json.dumps(value, default=str) for value in settings.values())
    return [*file, *(f"--{key}={value}" for key, value in zip(settings, values, strict=True))]


def _parser() -> ArgumentParser:
    set_loader("yaml_unique", lambda text: yaml.load(text, UniqueKeys), exceptions=(yaml.YAMLError,))
    parser = OneLineParser(
        prog="python -m tools.sweep", usage="python -m tools.sweep [options] [-- --key value ...]",
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


if __name__ == "__main__":
    main()
