"""Run a command so that its last words are one line and its exit status tells why it ended.

A command begins with this, before anything that takes long to import:

    from utils import command

    if __name__ == "__main__":
        command.begin("what a signal leaves behind")

and ends with `command.run(main)`. Exit statuses: 0, 1 after an error, 2 for a wrong command line of argparse, 130 after
Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, 141 where standard output was closed.
"""

import errno
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from types import FrameType

from utils.text import one_line
from utils.unfinished import forget_all

NAMES = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "SIGHUP"}
PATIENCE = 10
"""Seconds that a command may take to end after a signal."""
DEBUG = "SRAL_TRACEBACK"
"""Environment variable that shows where an unexpected error was raised."""


class Stopped(KeyboardInterrupt):
    """A signal ends the command; its only argument is the signal's number."""


class _Command:
    """What the handler of signals needs to know: the process that it belongs to, and how far that has come."""

    process = 0
    remark = ""
    stage = "imports"  # then "main", then "end"
    signal = 0  # the first one that came in "main"


def begin(remark: str = "") -> None:
    """Handle signals from here on, print what a terminal cannot show as a question mark, and warnings as one line.

    Args:
        remark: what to say after a signal: what is there already, and how to go on.
    """
    if not _is_program(sys._getframe(1)):
        return
    _Command.process, _Command.remark = os.getpid(), remark
    _open_standard_streams()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {one_line(message)}\n"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    for name in NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _handle)


def _open_standard_streams() -> None:
    """Open closed standard streams (`>&-`) on the null device: a data file would get their number otherwise."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            lowest = os.open(os.devnull, os.O_RDWR)  # of the free numbers, so the stream's own
            setattr(sys, name, os.fdopen(lowest, "r" if name == "stdin" else "w", closefd=False))


def say_when_stopped(remark: str) -> None:
    """Set what to say after a signal."""
    _Command.remark = remark


def answer_help(parse: Callable[[], object]) -> None:
    """Print the help and end the process where it is asked for, before the imports that follow.

    Args:
        parse: parses this process's command line.
    """
    options = sys.argv[1:]
    if {"-h", "--help"} & set(options[: options.index("--")] if "--" in options else options):
        run(parse)


def run(main: Callable[[], object]) -> None:
    """Call `main`, and end the process: every error and every signal is one line on standard error.

    Where the command is not this process's program, as under runpy or a profiler, `main` is called and no more.
    """
    if _Command.process != os.getpid():
        main()
        return
    try:
        status = _status_of(main)
    except Stopped as error:  # a signal in the moment when an error was to be printed
        status = _stopped(error.args[0])
    _Command.stage = "end"
    for name in NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == _handle:
            signal.signal(number, signal.SIG_IGN)  # the work is done; what follows takes a moment
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            # The interpreter flushes again at its end, and would complain in several lines.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if not status:
                status = _closed() if isinstance(error, BrokenPipeError) else _say(f"error: standard output: {error}")
    sys.exit(status)


def _is_program(frame: FrameType | None) -> bool:
    """Return whether a module's frame is that of `python FILE` or `python -m MODULE`."""
    while frame is not None and (frame := frame.f_back) is not None:
        if frame.f_code.co_filename != "<frozen runpy>":
            return False
    return True


def _status_of(main: Callable[[], object]) -> int:
    """Call `main`, print the last line, and return the exit status."""
    _Command.stage = "main"
    try:
        main()
    except BaseException as error:
        if _Command.signal:  # whatever became of the exception that the handler raised
            return _stopped(_Command.signal)
        if isinstance(error, KeyboardInterrupt):
            return _stopped(signal.SIGINT)
        if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
            return _closed()
        if isinstance(error, SystemExit) and isinstance(error.__context__, OSError) and error.code != 2:
            error = error.__context__ if _is_nameless(error.__context__) else error
        if not isinstance(error, SystemExit):
            return _say(_described(error))
        if isinstance(error.code, str):
            return _say(error.code)
        return error.code or 0
    _Command.stage = "end"
    return 0


def _described(error: BaseException) -> str:
    """Return the line for an exception that `main` did not expect."""
    if isinstance(error, OSError) and _is_nameless(error):
        return f"error: standard output or a log cannot be written: {error.strerror}"
    if isinstance(error, OSError | ValueError | FloatingPointError):
        return f"error: {error}"
    if isinstance(error, ModuleNotFoundError):
        return f"error: the package {error.name} is not installed: pip install -r requirements.txt"
    text = str(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text.lower():
        wanted = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", text)
        size = f" ({wanted[1]} more were wanted)" if wanted else ""
        return f"error: out of memory{size}: use smaller batches or images, or fewer processes"
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    where = "" if os.environ.get(DEBUG) else f"; please report it: {DEBUG}=1 shows where it was raised"
    return f"error: unexpected {type(error).__name__}: {one_line(text)}{where}"


def _is_nameless(error: OSError) -> bool:
    """Return whether a full disk is meant, and no file: what commands write by `utils.files` is named."""
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def _stopped(number: int) -> int:
    if line := _last_words(number):
        _say(line)
    return 128 + number


def _last_words(number: int) -> str:
    """Return the line for a signal; empty in all but one process of a launch."""
    name = signal.Signals(number).name
    words = f"stopped by {NAMES.get(name, name)}" + f": {_Command.remark}" * bool(_Command.remark)
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    return words if alone or os.environ.get("RANK", "0") == "0" else ""


def _closed() -> int:
    """Say that nobody reads the output, as after `| head`; return the exit status that the shell gives SIGPIPE."""
    _say("stopped: standard output was closed")
    return 141


def _say(line: str) -> int:
    """Print an error's line; return the exit status 1."""
    with suppress(OSError, ValueError):  # nobody reads standard error, or its disk is full
        print(line, file=sys.stderr, flush=True)
    return 1


def _handle(number: int, frame: FrameType | None) -> None:
    """Handle a signal: raise `Stopped`, or end at once where an exception could be lost."""
    if os.getpid() != _Command.process:  # a forked worker: Ctrl-C is its parent's to handle
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    if _Command.stage == "end":  # all is done
        return
    if _Command.stage == "imports" or _Command.signal or _importing(frame):
        _end_now(number)
    _Command.signal = number
    timer = threading.Timer(PATIENCE, _end_now, [number])
    timer.daemon = True
    timer.start()
    raise Stopped(number)


def _importing(frame: FrameType | None) -> bool:
    """Return whether a module is being imported: compiled ones turn an exception into another, or lose it."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _end_now(number: int) -> None:
    """End the process without unwinding it."""
    _end_workers()
    forget_all()
    if line := _last_words(number):
        with suppress(OSError):
            os.write(2, f"{line}\n".encode())  # print may be at work in the interrupted code
    os._exit(128 + number)


def _end_workers() -> None:
    multiprocessing = sys.modules.get("multiprocessing")
    for worker in multiprocessing.active_children() if multiprocessing else ():
        worker.kill()
