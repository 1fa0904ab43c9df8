"""`--resume RUN`: a run's folder stands for its output and, where no --config is given, for its configuration."""

from collections.abc import Sequence
from pathlib import Path


def with_run(arguments: Sequence[str]) -> list[str]:
    """Return a command line in which `--resume RUN` names the run's folder, and without --config its configuration.

    Raises:
        ValueError: RUN is no run of train.py, or --output is given too.
    """
    names = [argument.partition("=")[0] for argument in arguments]
    if "--resume" not in names:
        return list(arguments)
    place = names.index("--resume")
    before, (argument, *after) = list(arguments[:place]), arguments[place:]
    run = argument.partition("=")[2]
    if not run and after and not after[0].startswith("--"):
        run = after.pop(0)
    if not run:
        return list(arguments)
    if "--output" in names:
        raise ValueError(f"--resume {run} names the run's folder: leave --output out")
    own: list[str] = []
    if "--config" not in names:
        config = Path(run, "config.yaml")
        if not config.is_file():
            raise ValueError(f"--resume {run}: there is no {config}, so it is no run of train.py; give a run's folder")
        own = [f"--config={config}"]
    return [*own, *before, "--resume", *after, f"--output={run}"]
