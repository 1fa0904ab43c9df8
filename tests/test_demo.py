"""make demo keeps what it did not write, and takes any folder's name. The steps themselves are stubs here."""

import os
import subprocess
from pathlib import Path

import pytest

STUB = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$STEPS"
for argument in "$@"; do
    output=${argument#--output=}
    case $argument in --output=*/scores/*) mkdir -p "$output" && : > "$output/scores.md" ;; esac
done
"""


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A folder with the demo's script and a python that only records the steps."""
    folder = tmp_path / "a checkout"
    for part in ("recipes", ".venv/bin"):
        (folder / part).mkdir(parents=True)
    (folder / "recipes/demo.sh").write_bytes((root / "recipes/demo.sh").read_bytes())
    (folder / ".venv/bin/python").write_text(STUB)
    (folder / ".venv/bin/python").chmod(0o755)
    return folder


def demo(checkout: Path, *arguments: str) -> tuple[int, str, list[str]]:
    """Run the demo: its exit status, what it said, its steps."""
    steps = checkout / "steps"
    steps.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHON": str(checkout / ".venv/bin/python"), "STEPS": str(steps)}
    command = ["bash", "recipes/demo.sh", *arguments]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr, steps.read_text().splitlines() if steps.exists() else []


def test_the_sample_set_is_the_default_and_runs_again(checkout: Path) -> None:
    for _ in range(2):
        status, said, steps = demo(checkout, "", "")
        assert status == 0, said
        assert len(steps) == 8
        assert all("--data.root=datasets/sample" in step for step in steps if step.startswith("train.py"))
    assert (checkout / "demo/table.md").exists()


@pytest.mark.parametrize("name", ["my data", "-odd", 'it\'s a "set"', "$HOME"])
def test_any_name_of_a_folder(checkout: Path, name: str) -> None:
    (checkout / name).mkdir()
    status, said, steps = demo(checkout, name, "ORSSD")
    assert status == 0, said
    assert f"--data.root={checkout / name} --data.dataset=ORSSD" in steps[0]
    assert (checkout / "demo/sets/ORSSD/table.md").exists()


@pytest.mark.parametrize("folder", ["untrained", "run", "lite2", "scores"])
def test_a_folder_it_did_not_write_is_kept(checkout: Path, folder: str) -> None:
    kept = checkout / "demo" / folder / "best.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept")
    status, said, steps = demo(checkout)
    assert status != 0
    assert not steps
    assert f"demo/{folder} exists and was not made by make demo" in said
    assert kept.read_text() == "kept"


@pytest.mark.parametrize(("arguments", "message"), [(["nowhere"], "does not exist"), ([".", "../x"], "not a data set")])
def test_bad_arguments_end_it_before_any_step(checkout: Path, arguments: list[str], message: str) -> None:
    status, said, steps = demo(checkout, *arguments)
    assert status != 0
    assert message in said
    assert said.count("\n") == 1
    assert not steps
    assert not (checkout / "demo").exists()


@pytest.mark.parametrize("name", ["maps.png", "table.md"])
def test_a_file_it_did_not_write_is_kept(checkout: Path, name: str) -> None:
    kept = checkout / "demo" / name
    kept.parent.mkdir()
    kept.write_text("kept")
    status, said, steps = demo(checkout)
    assert (status, steps) == (1, [])
    assert f"demo/{name} exists and was not made by make demo" in said
    assert kept.read_text() == "kept"
    kept.rename(checkout / "mine")
    assert demo(checkout)[0] == 0
    kept.unlink(missing_ok=True)
    kept.symlink_to(checkout / "mine")
    assert demo(checkout)[0] == 1
    assert (checkout / "mine").read_text() == "kept"
