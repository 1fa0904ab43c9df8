"""Commands answer --help without importing what takes seconds: torch, timm, runtimes, scipy."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

HELP = """
import runpy, sys
kind, name = sys.argv[1:3]
sys.argv[:] = [name, "--help"]
sys.path.insert(0, ".")
try:
    (runpy.run_path if kind == "path" else runpy.run_module)(name, run_name="__main__")
finally:
    heavy = sorted({"torch", "timm", "openvino", "onnxruntime", "scipy.stats", "matplotlib"} & set(sys.modules))
    print("imported:", *heavy, file=sys.stderr)
"""


def commands() -> list[tuple[str, str]]:
    """Return every file that is run as a command: by its path, or as a module."""
    found = []
    for path in [*sorted(ROOT.glob("*/**/*.py")), ROOT / "train.py", ROOT / "getsmaps.py"]:
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(("tests/", "docs/", "web/", "examples/", ".")) or "node_modules" in name:
            continue
        if "command.run(" not in path.read_text() or name == "utils/command.py":
            continue
        is_path = "/" not in name or name.startswith(("compute_results/", "benchmarks/"))
        module = name.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
        found.append(("path", name) if is_path else ("module", module))
    return found


def test_all_commands_are_found() -> None:
    names = {name for _, name in commands()}
    assert {"train.py", "getsmaps.py", "inference.export", "tools.prune", "benchmarks/inference.py"} <= names
    assert len(names) > 20


@pytest.mark.parametrize(("kind", "name"), commands(), ids=lambda value: value if "." in value else "")
def test_help_needs_no_torch(kind: str, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP, kind, name], cwd=Path(ROOT), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()
    assert done.stderr.splitlines()[-1] == "imported:"


FIRST_MAP = """
import runpy, sys
sys.argv[:] = ["getsmaps.py", *sys.argv[1:]]
sys.path.insert(0, ".")
runpy.run_path("getsmaps.py", run_name="__main__")
assert "timm" not in sys.modules and "scipy.stats" not in sys.modules
"""


def test_another_runtimes_first_map_needs_no_timm(tmp_path: Path) -> None:
    """timm and what it imports take longer than all the rest of the command."""
    pytest.importorskip("onnxruntime", reason="requirements-onnx.txt is not installed")
    image = next((ROOT / "datasets" / "sample" / "test-images").iterdir())
    command = ["--weights", "weights/lite2_eorssd_int8.onnx", "--input", str(image), "--output", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", FIRST_MAP, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{image.stem}.png").is_file()
