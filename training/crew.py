"""A crew works through a plan's runs, several at once on one machine, and passes on the signals that it gets."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from training.plan import VALIDATION, Plan, Run
from training.summary import SHOWN, write_table

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Commands:
    """The commands that a run is made of; their options are added."""

    train: Sequence[str] = (sys.executable, str(ROOT / "train.py"))
    maps: Sequence[str] = (sys.executable, str(ROOT / "getsmaps.py"))
    scores: Sequence[str] = (sys.executable, str(ROOT / "compute_results" / "compute_metrics.py"))

    def left(self, run: Run, test: Mapping[str, str]) -> Iterator[list[str]]:
        """The commands that the run still needs, each looked for when its turn comes.

        Raises:
            ValueError: train.py ended well, but the run is not finished.
        """
        if run.finished() is None:
            yield [*self.train, *run.arguments]
            if run.finished() is None:
                raise ValueError("train.py ended without finishing the run")
        for name, root in test.items():
            missing = run.unscored(name)
            maps = str(run.folder / "maps" / name)
            split = ["--dataset", name, "--root", root]
            if missing:
                weights = ["--weights", str(run.folder / "best.safetensors")]
                weights += ["--host-file", run.host_file] if run.host_file else []
                yield [*self.maps, *weights, *split, "--output", maps, "--resume"]
            for protocol in missing:
                out = str(run.scores_file(name, protocol).parent)
                method = f"{run.configuration}={maps}"
                yield [*self.scores, *split, "--maps", method, "--protocol", protocol, "--out", out]


class Crew:
    """Works through a plan's runs, several at once; renews the table after each.

    Args:
        plan: what to run; checked (`check`).
        commands: what a run is made of.
        jobs: runs at once, at least 1.
    """

    def __init__(self, plan: Plan, commands: Commands, jobs: int = 1):
        self.plan, self.commands = plan, commands
        self.places = deque(places(jobs))
        self.working: dict[Iterator[subprocess.Popen], subprocess.Popen] = {}  # by a run's steps the one that runs
        self.signals: list[int] = []
        self.failed = False

    def work(self) -> int:
        """Run all that is left.

        SIGINT, SIGTERM and SIGHUP (as SIGTERM) are passed on to the running commands; this ends when they have ended.

        Returns:
            The exit status: 0, 1 where a run failed, 128 + signal where stopped.

        Raises:
            OSError, ValueError: the table cannot be written; the running commands are stopped first.
        """
        waiting, passed_on = deque(self.plan.runs), 0
        with self._listening():
            try:
                while self.working or (waiting and not self.signals):
                    while waiting and self.places and not self.signals:
                        self._go_on(self._steps(waiting.popleft()))
                    time.sleep(0.02)
                    for number in self.signals[passed_on:]:
                        self._send(signal.SIGTERM if number == signal.SIGHUP else number)
                        passed_on += 1
                    for steps in [steps for steps, process in self.working.items() if process.poll() is not None]:
                        self._go_on(steps)
            except BaseException:
                if not passed_on:  # a second signal would end them before they have saved
                    self._send(signal.SIGTERM)
                for process in self.working.values():
                    process.wait()
                raise
        return 128 + self.signals[0] if self.signals else int(self.failed)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Take signals down rather than end by them; nohup's ignored SIGHUP stays ignored."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, lambda number, _: self.signals.append(number)) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _send(self, number: int) -> None:
        for process in self.working.values():
            process.send_signal(number)

    def _go_on(self, steps: Iterator[subprocess.Popen]) -> None:
        self.working.pop(steps, None)
        if process := next(steps, None):
            self.working[steps] = process

    def _steps(self, run: Run) -> Iterator[subprocess.Popen]:
        """Do what is left of a run: give each command's process when it has started, go on when it has ended."""
        begins = "finished before, to be scored" if run.finished() else "resumed" if run.has_begun else "started"
        place, ran = self.places.popleft(), False
        try:
            for command in self.commands.left(run, self.plan.test):
                if not ran:
                    _say(run, begins)
                ran = True
                yield from self._step(command, run, place)
                if self.signals:
                    break
        except (OSError, ValueError) as error:
            self.failed = True
            _say(run, f"failed: {error} ({run.log})")
        else:
            unfinished = self.signals and any(self.commands.left(run, self.plan.test))
            _say(run, "stopped" if unfinished else _result(run) if ran else f"skipped, {_result(run)}")
            if ran and not self.signals:
                write_table(self.plan)
        finally:
            self.places.append(place)

    def _step(self, command: list[str], run: Run, place: dict[str, str]) -> Iterator[subprocess.Popen]:
        """Run a command, its output going to the end of the run's log; what a killed one left running ends with it.

        Raises:
            OSError: it cannot be started, or it failed, with the last thing that it said.
        """
        run.folder.mkdir(parents=True, exist_ok=True)
        with run.log.open("ab") as log:
            said_before = log.tell()
            # In a group of its own: Ctrl-C would otherwise reach it from the terminal and from here, and the second
            # time it would not save.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | place,
            )  # fmt: skip
        yield process
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.returncode
        if status and not self.signals:
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            said = re.split(rb"[\r\n]+", run.log.read_bytes()[said_before:].strip())[-1]
            raise ChildProcessError(f"{how}: {said.decode(errors='replace') or 'it said nothing'}")


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
    shown = "  ".join(f"{SHOWN.get(name, name)} {value:.4f}" for name, value in figures.items())
    where = f"{shown} in epoch {finished['best']['epoch']}" if figures else "not validated"
    return f"finished, {finished['seconds'] / 60:.1f} min of training: {where}"


def _say(run: Run, what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {run.configuration} seed {run.seed}: {what}", flush=True)
