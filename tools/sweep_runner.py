"""Run the commands of a sweep, several runs at once, and forward signals to them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import RLock
from typing import Any

import torch
import yaml

from tools.sweep_table import PROTOCOLS, SHOWN, VALIDATION
from utils.text import one_line

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "train": [sys.executable, str(ROOT / "train.py")],
    "maps": [sys.executable, str(ROOT / "getsmaps.py")],
    "scores": [sys.executable, str(ROOT / "compute_results" / "compute_metrics.py")],
}


@dataclass(frozen=True)
class Run:
    """One configuration with one seed; `options` are the options of train.py without folder and seed."""

    configuration: str
    seed: int
    folder: Path
    options: Sequence[str]

    @property
    def arguments(self) -> list[str]:
        """All options of train.py."""
        return [*self.options, f"--output={self.folder}", f"--seed={self.seed}", "--resume"]

    @property
    def log(self) -> Path:
        """The file with the output of the run's commands."""
        return self.folder / "output.log"

    @property
    def state(self) -> str:
        """`finished`, `resumed` (a checkpoint to continue from is there) or `started`."""
        if self.finished() is not None:
            return "finished"
        return "resumed" if any(self.folder.glob("checkpoints/*.safetensors")) else "started"

    def finished(self) -> dict[str, Any] | None:
        """Return the content of finished.json, None for an unfinished run. Raise ValueError if it is broken."""
        path = self.folder / "finished.json"
        return read_json(path, "best", "seconds") if path.is_file() else None

    def recorded(self) -> dict[str, Any]:
        """Return the settings that a finished run recorded. Raise ValueError if they cannot be read."""
        try:
            return yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ValueError(f"{self.folder} is finished, but its config.yaml cannot be read: {error}") from error

    def scores_file(self, name: str, protocol: str) -> Path:
        """Return the path of the scores of a data set's test split."""
        return self.folder / "scores" / name / protocol / "scores.json"

    def unscored(self, name: str) -> list[str]:
        """Return the protocols under which a data set's test split has no scores yet."""
        return [protocol for protocol in PROTOCOLS if not self.scores_file(name, protocol).is_file()]

    def scores(self, scored: str, protocol: str) -> dict[str, float]:
        """Return the metrics on `scored` (validation or a data set), empty if there are none."""
        finished, path = self.finished() or {}, self.scores_file(scored, protocol)
        found = (finished.get("best") or {}) if (scored, protocol) == VALIDATION else {}
        if finished and path.is_file():
            found = read_json(path, "results")["results"][0]
        return {name: value for name, value in found.items() if name not in ("epoch", "method", "dataset", "images")}

    def commands_left(self, test: Mapping[str, str], commands: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
        """Yield the commands that the run still needs. Each is determined after the one before has ended.

        Raises:
            ValueError: train.py succeeded, but the run is not finished.
        """
        if self.finished() is None:
            yield [*commands["train"], *self.arguments]
            if self.finished() is None:
                raise ValueError("train.py ended without finishing the run")
        for name, root in test.items():
            missing, maps = self.unscored(name), str(self.folder / "maps" / name)
            split = ["--dataset", name, "--root", root]
            if missing:
                host_file = self.recorded().get("host_file")
                weights = ["--weights", str(self.folder / "best.safetensors")]
                weights += ["--host-file", host_file] if host_file else []
                yield [*commands["maps"], *weights, *split, "--output", maps, "--resume"]
            for protocol in missing:
                out = str(self.scores_file(name, protocol).parent)
                method = f"{self.configuration}={maps}"
                yield [*commands["scores"], *split, "--maps", method, "--protocol", protocol, "--output", out]


class Runner:
    """Run what is left of a sweep, several runs at once.

    SIGINT, SIGTERM and SIGHUP (as SIGTERM) are forwarded to the running commands, which then save and end.

    Args:
        test: the folder of each data set whose test split is scored, by the data set's name.
        commands: the commands of a run, as COMMANDS.
        jobs: runs at once, at least 1.
    """

    def __init__(self, test: Mapping[str, str], commands: Mapping[str, Sequence[str]], jobs: int = 1):
        self.test, self.commands, self.jobs = test, commands, jobs
        self.environments: SimpleQueue[dict[str, str]] = SimpleQueue()
        for environment in environments(jobs):
            self.environments.put(environment)
        self.processes: set[subprocess.Popen] = set()
        self.lock = RLock()  # no process may start between a signal and the end of its forwarding
        self.stopped_by = 0

    def run(self, runs: Sequence[Run], after_each: Callable[[], object]) -> int:
        """Run what is left of `runs`; call `after_each` when a run has ended for which a command ran.

        Returns:
            The exit status: 0, 1 if a run failed, 128 + the number of the signal that stopped it.

        Raises:
            OSError, ValueError: `after_each` failed; the running commands are stopped first.
        """
        failed = False
        with self._forwarded_signals(), ThreadPoolExecutor(self.jobs) as pool:
            try:
                for done in as_completed([pool.submit(self._do, run) for run in runs]):
                    succeeded, changed = done.result()
                    failed |= not succeeded
                    if changed and not self.stopped_by:
                        after_each()
            except BaseException:
                self._stop(signal.SIGTERM)
                raise
        return 128 + self.stopped_by if self.stopped_by else int(failed)

    @contextmanager
    def _forwarded_signals(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        handled = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # as under nohup
        before = {number: signal.signal(number, lambda number, _: self._stop(number)) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int) -> None:
        with self.lock:
            self.stopped_by = self.stopped_by or number
            for process in self.processes:
                process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    def _do(self, run: Run) -> tuple[bool, bool]:
        """Do what is left of a run. Return whether that succeeded, and whether a command ran."""
        if self.stopped_by:
            return True, False
        environment, ran = self.environments.get(), False
        try:
            state = run.state
            for command in run.commands_left(self.test, self.commands):
                if not ran:
                    _report(run, "finished before, to be scored" if state == "finished" else state)
                ran = True
                if not self._execute(command, run, environment):
                    _report(run, "stopped")
                    return True, ran
            _report(run, _result(run) if ran else f"skipped, {_result(run)}")
        except (OSError, ValueError) as error:
            _report(run, f"failed: {error} ({run.log})")
            return False, ran
        finally:
            self.environments.put(environment)
        return True, ran

    def _execute(self, command: list[str], run: Run, environment: dict[str, str]) -> bool:
        """Run a command, with its output appended to the run's log. Return False if it was stopped by a signal.

        Raises:
            OSError: it cannot be started, or it failed; the message ends with the last line of its output.
        """
        run.folder.mkdir(parents=True, exist_ok=True)
        with run.log.open("ab") as log, self.lock:
            if self.stopped_by:
                return False
            before = log.tell()
            # The command has a process group of its own. Otherwise it would get Ctrl-C twice, from the terminal and
            # from here, and the second one ends it before it has saved.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
            )  # fmt: skip
            self.processes.add(process)
        status = process.wait()
        with self.lock:
            self.processes.remove(process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the workers of a killed command would go on
        if status and not self.stopped_by:
            how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            last = re.split(rb"[\r\n]+", run.log.read_bytes()[before:].strip())[-1]
            raise ChildProcessError(f"{how}: {one_line(last.decode(errors='replace')) or 'no output'}")
        return not status


def environments(jobs: int) -> list[dict[str, str]]:
    """Return the environment variables by which `jobs` runs at once share the machine.

    One run has the whole machine. Several runs get a GPU each (in rotation if there are fewer GPUs). Without GPUs each
    gets an equal part of the threads.
    """
    if jobs == 1:
        return [{}]
    count = torch.cuda.device_count()
    if count:
        visible = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))).split(",")
        return [{"CUDA_VISIBLE_DEVICES": visible[number % count]} for number in range(jobs)]
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, torch.get_num_threads() // jobs))
    return [{"OMP_NUM_THREADS": threads}] * jobs


def _report(run: Run, what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {run.configuration} seed {run.seed}: {what}", flush=True)


def _result(run: Run) -> str:
    finished, scores = run.finished() or {}, run.scores(*VALIDATION)
    shown = "  ".join(f"{SHOWN.get(name, name)} {value:.4f}" for name, value in scores.items())
    where = f"{shown} in epoch {finished['best']['epoch']}" if scores else "not validated"
    return f"finished, {finished['seconds'] / 60:.1f} min of training: {where}"


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Return the content of a JSON file that has these keys. Raise ValueError if it is broken or lacks one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or any(key not in content for key in keys):
        raise ValueError(f"{path} lacks {' or '.join(keys)}: remove it, and the command that wrote it writes it again")
    return content
