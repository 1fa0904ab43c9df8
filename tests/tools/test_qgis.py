"""tools/qgis: the Processing script runs the scene command; in QGIS itself where that is installed."""

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import pytest

from tests.helpers import ROOT

SCRIPT = ROOT / "tools" / "qgis" / "sral_saliency.py"
QGIS = shutil.which("qgis_process.bin") or shutil.which("qgis_process")


class Feedback:
    """What QGIS hands to an algorithm."""

    def __init__(self) -> None:
        self.progress: list[float] = []
        self.said: list[str] = []
        self.canceled = threading.Event()

    def isCanceled(self) -> bool:
        return self.canceled.is_set()

    def setProgress(self, percent: float) -> None:
        self.progress.append(percent)

    def pushInfo(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with stand-ins for QGIS' classes."""
    core = MagicMock(QgsProcessingAlgorithm=object, QgsProcessingException=type("Refused", (Exception,), {}))
    monkeypatch.setitem(sys.modules, "qgis", MagicMock(core=core))
    monkeypatch.setitem(sys.modules, "qgis.core", core)
    spec = importlib.util.spec_from_file_location("sral_saliency", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_progress_and_messages_are_shown(script: ModuleType, tmp_path: Path) -> None:
    code = "import sys\nfor n in (0, 50, 100): print(f'{n:3d}%|##| 1/2 Mpx', end='\\r', file=sys.stderr)\nprint('made')"
    feedback = Feedback()
    script.run([sys.executable, "-c", code], tmp_path, feedback)
    assert feedback.progress == [0, 50, 100]
    assert feedback.said[-1] == "made"


def test_an_error_is_the_commands_last_line(script: ModuleType, tmp_path: Path) -> None:
    code = "import sys; print('reading'); sys.exit('error: scene.tif has 5 bands')"
    with pytest.raises(script.QgsProcessingException, match=r"error: scene\.tif has 5 bands"):
        script.run([sys.executable, "-u", "-c", code], tmp_path, Feedback())


def test_cancel_ends_the_command(script: ModuleType, tmp_path: Path) -> None:
    feedback = Feedback()
    threading.Timer(1, feedback.canceled.set).start()
    start = time.monotonic()
    script.run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, feedback)
    assert time.monotonic() - start < 20


def test_the_environment_is_the_commands_own(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/usr/share/qgis/python")
    feedback = Feedback()
    show = "import os; print(os.environ.get('PYTHONPATH'), os.environ.get('SRAL_PROGRESS'))"
    script.run([sys.executable, "-c", show], tmp_path, feedback)
    assert feedback.said[-1] == "None bar"


def test_in_qgis(tmp_path: Path) -> None:
    if QGIS is None:
        pytest.skip("QGIS (qgis_process) is not installed")
    rasterio = pytest.importorskip("rasterio", reason="requirements-scenes.txt is not installed")
    pytest.importorskip("onnxruntime", reason="requirements-onnx.txt is not installed")
    scene, output, objects = tmp_path / "scene.tif", tmp_path / "out" / "map.tif", tmp_path / "out" / "objects.gpkg"
    pixels = np.full((3, 300, 400), 40, np.uint8)
    pixels[:, 100:180, 150:300] = 220
    transform = rasterio.transform.from_origin(500_000, 5_500_000, 0.5, 0.5)
    with rasterio.open(
        scene, "w", driver="GTiff", width=400, height=300, count=3, dtype="uint8", photometric="RGB",
        crs="EPSG:32632", transform=transform,
    ) as file:  # fmt: skip
        file.write(pixels)
    scripts = tmp_path / "settings" / "profiles" / "default" / "processing" / "scripts"
    scripts.mkdir(parents=True)
    shutil.copy(SCRIPT, scripts)
    weights = ROOT / "weights" / "lite2_eorssd_int8.onnx"
    command = [
        QGIS, "run", "script:sralsaliency", f"--INPUT={scene}", f"--CHECKOUT={ROOT}", f"--PYTHON={sys.executable}",
        f"--OUTPUT={output}", f"--POLYGONS={objects}", f"--MORE=--weights '{weights}' --batch-size 2",
    ]  # fmt: skip
    environment = os.environ | {
        "QT_QPA_PLATFORM": "offscreen", "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "settings"), "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    with rasterio.open(output) as made:
        assert (made.crs.to_epsg(), made.transform, made.shape) == (32632, transform, (300, 400))
    assert objects.is_file()
    assert sorted(path.name for path in output.parent.iterdir()) == ["map.tif", "objects.gpkg"]
    assert "100" in done.stdout
