"""benchmarks/start.py: every command, its time, and what fails in one line."""

import sys

import pytest

from benchmarks import start


def test_every_command_is_timed_and_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []
    seconds = iter([9.0, 0.3, 0.1, 0.2] * 100)  # the first of four runs does not count

    def run(line: list[str]) -> tuple[float, float]:
        ran.append(line)
        return (0.0, 0.0) if "openvino" in line else (next(seconds), 0.05)

    monkeypatch.setattr(start, "seconds_of", run)
    monkeypatch.setattr(sys, "argv", ["start", "--rounds", "3"])
    start.main()
    printed = capsys.readouterr().out
    for name in ("train.py --help", "getsmaps.py --help", "-m inference.export --help", "first map, auto"):
        assert f"| `{name}` | 0.20 | 0.05 |" in printed
    assert "openvino" in ran[0]  # converted before
    assert all(ran.count(line) == 4 for line in ran[1:])


def test_times_are_of_the_command() -> None:
    wall, cpu = start.seconds_of(["-c", "import time; time.sleep(0.3)"])
    assert wall > 0.3
    assert cpu < wall
    with pytest.raises(ValueError, match=r"-c import sys; sys\.exit\('broken'\): broken$"):
        start.seconds_of(["-c", "import sys; sys.exit('broken')"])
