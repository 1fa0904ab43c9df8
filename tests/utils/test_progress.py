"""The progress of a command: a bar on a terminal, plain lines in a log."""

import io
import re
import sys
import time

import pytest

from utils import progress
from utils.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_plain_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(progress, "LINE_EVERY", 0.1)
    with ProgressBar(range(6), total=6, unit="image", desc="maps") as bar:
        for number in bar:
            if number == 2:
                ProgressBar.write("skipped: a.png", file=sys.stderr)
            time.sleep(0.06)
    lines = [line for line in log.getvalue().splitlines() if line]
    assert "\r" not in log.getvalue()
    assert "skipped: a.png" in lines
    assert 3 <= len(lines) <= 5
    assert all(line.startswith("maps: ") and line.endswith("image/s]") for line in lines if line[0] == "m")


def test_a_program_that_shows_the_bar_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRAL_PROGRESS", "bar")
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    for _ in ProgressBar(range(3), unit="image"):
        pass
    assert re.findall(r"(\d+)%\|", log.getvalue())[-1] == "100"


def test_a_short_run_leaves_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(total=8, unit="Mpx", bar_format="{desc}{percentage:3.0f}%|{bar}| {n:.1f}") as bar:
        bar.update(4)
        bar.set_postfix_str("4 failed")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    for _ in ProgressBar(range(3), unit="image", desc="maps"):
        pass
    assert terminal.getvalue().startswith("\rmaps:")
    assert "3/3" in terminal.getvalue().splitlines()[-1]
