"""The last words of commands: one line and a telling exit status, whatever ends them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys
from utils import command
command.begin("what is there")
{imports}
def main():
    print("at work", flush=True)
    {work}
command.run(main)
"""
SLOW_IMPORT = "print('at work', flush=True); import slow"


def started(root: Path, work: str = "pass", imports: str = "", **options: object) -> subprocess.Popen:
    """Start a command whose work is given."""
    code = PROGRAM.format(work=work, imports=imports)
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", code], cwd=root, text=True, preexec_fn=heed_signals, **pipe)


def heed_signals() -> None:
    """Undo what a shell's background job inherits."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "name", "status"),
    [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143), (signal.SIGHUP, "SIGHUP", 129)],
)
@pytest.mark.parametrize("where", ["imports", "work", "finally", "swallowed"])
def test_a_signal_is_one_line(root: Path, tmp_path: Path, where: str, number: int, name: str, status: int) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    time.sleep(60)\n"
    )
    work = {
        "work": "import time; time.sleep(60)",
        "finally": "\n    try: __import__('time').sleep(60)\n    finally: open(sys.path[0] + '/left', 'w')",
        "swallowed": "\n    try: __import__('time').sleep(60)\n    except BaseException as e: raise ImportError from e",
    }.get(where, "pass")
    imports = f"sys.path.insert(0, {str(tmp_path)!r})\n" + SLOW_IMPORT * (where == "imports")
    process = started(root, work, imports)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (status, f"stopped by {name}: what is there\n")
    assert (tmp_path / "left").exists() == (where == "finally")


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ("raise OSError(28, 'No space left')", "error: standard output or a log cannot be written: No space left"),
        ("raise ValueError('found 3')", "error: found 3"),
        ("raise MemoryError", "error: out of memory: use smaller batches or images, or fewer processes"),
        ("import nothing_of_that_name", "error: the package nothing_of_that_name is not installed: pip install -r"),
        (
            "raise KeyError('a\\\\nb')",
            "error: unexpected KeyError: 'a\\\\nb'; please report it: SRAL_TRACEBACK=1 shows",
        ),
        ("sys.exit('error: as it is')", "error: as it is"),
    ],
)
def test_an_error_is_one_line(root: Path, work: str, said: str) -> None:
    _, err = (process := started(root, work)).communicate(timeout=20)
    assert process.returncode == 1
    assert err.startswith(said)
    assert len(err.splitlines()) == 1


def test_a_closed_pipe_and_a_full_standard_output_are_one_line(root: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = started(root, stdout=writing)
    os.close(writing)
    assert (process.communicate(timeout=20)[1], process.returncode) == ("stopped: standard output was closed\n", 141)
    with open("/dev/full", "w") as full:
        process = started(root, stdout=full)
        _, said = process.communicate(timeout=20)
    assert (said, process.returncode) == (
        "error: standard output or a log cannot be written: No space left on device\n", 1
    )  # fmt: skip


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1 2"])
def test_closed_standard_streams_are_no_error_and_no_files(root: Path, tmp_path: Path, closed: str) -> None:
    work = f"""
    with open({str(tmp_path / "data")!r}, "w") as file:
        __import__("os").system("echo noise; echo noise >&2")
        print("noise", file=sys.stderr, flush=True)
        file.write("data" if file.fileno() > 2 else "number")"""
    code = PROGRAM.format(work=work, imports="")
    shut = " ".join(f"{number}>&-" for number in closed.split())
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {shut}', sys.executable, code], cwd=root, timeout=20)
    assert done.returncode == 0
    assert (tmp_path / "data").read_text() == "data"


def test_a_forked_worker_leaves_ctrl_c_to_its_parent(root: Path) -> None:
    work = (
        "\n    import multiprocessing, os, signal, time\n"
        "    worker = multiprocessing.get_context('fork').Process(target=time.sleep, args=(0.5,)); worker.start()\n"
        "    os.kill(worker.pid, signal.SIGINT); worker.join(); sys.exit(worker.exitcode)"
    )
    _, said = (process := started(root, work)).communicate(timeout=20)
    assert (process.returncode, said) == (0, "")


COMMANDS = [
    ["train.py"], ["getsmaps.py"], ["compute_results/compute_metrics.py"], ["compute_results/gallery.py"],
    ["benchmarks/inference.py"], ["benchmarks/training.py"], ["benchmarks/complexity.py"],
    ["benchmarks/large_pages.py"], ["datasets/check.py"], ["inference/export/__main__.py"],
    *([f"tools/{name}.py"] for name in (
        "average_weights", "convert_dinov2", "convert_efficientnet_lite", "convert_released", "gradient_analysis",
        "inspect_sr", "make_sample", "prune", "sweep",
    )),
]  # fmt: skip


@pytest.mark.parametrize("path", [path for [path] in COMMANDS])
def test_every_command_begins_before_its_imports_and_ends_by_run(root: Path, path: str) -> None:
    lines = (root / path).read_text().splitlines()
    code = [line for line in lines if line.startswith(("import ", "from ", "    command.begin("))]
    begin = next(number for number, line in enumerate(code) if line.startswith("    command.begin("))
    assert all(
        line.split()[1].partition(".")[0] in sys.stdlib_module_names or line == "from utils import command"
        for line in code[:begin]
    )
    assert lines[-1] == "    command.run(main)"


def test_train_py_in_its_first_second(root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "train.py"], cwd=root, stderr=subprocess.PIPE, text=True, preexec_fn=heed_signals
    )
    time.sleep(0.5)
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert (process.returncode, len(said.splitlines())) == (143, 1)
