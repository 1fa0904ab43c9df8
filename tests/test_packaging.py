"""The project runs from its checkout: pip says so instead of building an empty wheel."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SENTENCE = "This project runs from its checkout: pip install -r requirements.txt, then python train.py --help."


@pytest.mark.parametrize("how", [["."], ["--editable", "."]], ids=["install", "editable"])
def test_pip_install_names_the_checkout(root: Path, tmp_path: Path, how: list[str]) -> None:
    shutil.copytree(root / ".ci", tmp_path / ".ci")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(root / name, tmp_path)
    options = ["--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(tmp_path / "installed"), *how]
    if how[0] == "--editable":
        command = [sys.executable, "-m", "pip", "install", *options, *how]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert SENTENCE in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "installed").exists()


def test_requirements_pin_every_package_once(root: Path) -> None:
    pinned: dict[str, set[str]] = {}
    for path in root.glob("requirements*.txt"):
        for line in path.read_text().splitlines():
            requirement = line.partition("#")[0].strip()
            if not requirement:
                continue
            if requirement.startswith("-r "):
                assert (root / requirement[3:]).is_file(), f"{path.name}: {requirement}"
                continue
            name, equal, version = requirement.partition("==")
            assert equal, f"{path.name}: {requirement} has no exact version"
            pinned.setdefault(name.lower(), set()).add(version)
    assert not {name: versions for name, versions in pinned.items() if len(versions) > 1}


def test_scoring_imports_no_network(root: Path) -> None:
    """The scoring commands start where torch, timm, scikit-image and thop cannot be imported."""
    blocked = "import sys, runpy; sys.modules.update(dict.fromkeys(('torch', 'timm', 'skimage', 'thop')))"
    for command in ("compute_results/compute_metrics.py", "compute_results/gallery.py", "compute_results/report.py"):
        code = f"{blocked}; sys.argv = [{command!r}, '--help']; runpy.run_path({command!r}, run_name='__main__')"
        done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr[-400:]}"


def test_every_tool_starts_with_requirements_txt_alone(root: Path) -> None:
    """What other requirements install is imported when it is used, so that a message can name the file."""
    optional = ["skimage", "thop", "onnx", "onnxruntime", "openvino", "nncf", "rasterio", "pyogrio", "dask", "fastapi"]
    names = [f"tools.{path.stem}" for path in root.glob("tools/*.py")]
    code = (
        f"import sys, importlib; sys.modules.update(dict.fromkeys({optional})); "
        f"[importlib.import_module(name) for name in {names}]"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-400:]
