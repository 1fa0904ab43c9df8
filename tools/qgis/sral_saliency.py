"""A QGIS Processing script: saliency of a raster layer, made by getsmaps.py in an environment of its own.

docs/qgis.md says how to add it. It needs QGIS 3.22 or newer, and a checkout of SRAL with requirements-scenes.txt.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsSettings,
)

CHECKOUT, PYTHON = "sral/checkout", "sral/python"
"""Settings of QGIS in which the last run's folder and interpreter are kept."""
QGIS_VARIABLES = (
    "PYTHONHOME",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "GDAL_DATA",
    "GDAL_DRIVER_PATH",
    "PROJ_LIB",
    "PROJ_DATA",
)
"""Variables that QGIS sets for its own libraries; the command has others."""
PERCENT = re.compile(r"(\d+)%\|")
GRACE_SECONDS = 20
"""Time that the command has to end after a cancel before it is killed."""


class SralSaliency(QgsProcessingAlgorithm):
    """Find salient objects in a raster layer: a saliency map, and the objects as polygons."""

    def name(self):
        return "sralsaliency"

    def displayName(self):
        return "Saliency of a scene (SRAL)"

    def group(self):
        return "Remote sensing"

    def groupId(self):
        return "remotesensing"

    def shortHelpString(self):
        return (
            "Find salient objects in a georeferenced raster of any size. The map has the layer's georeference: "
            "saliency × 255, 255 is nodata. Polygons have the mean and greatest saliency and the area in m².\n\n"
            "Bands and value range are read from the file where it says them. Context is the side of the windows in "
            "pixels, one for each scale: about four times the size of the objects. Canceling leaves no output."
        )

    def createInstance(self):
        return SralSaliency()

    def initAlgorithm(self, config=None):
        settings = QgsSettings()
        self.addParameter(QgsProcessingParameterRasterLayer("INPUT", "Scene"))
        for name, text in (
            ("BANDS", "Red, green and blue band, such as 3,2,1"),
            ("RANGE", "Values that become black and white, such as 200:3000"),
            ("CONTEXT", "Context in pixels, such as 448,640"),
        ):
            self.addParameter(QgsProcessingParameterString(name, text, optional=True))
        number = QgsProcessingParameterNumber
        self.addParameter(number("THRESHOLD", "Least saliency of an object", number.Double, 0.5, False, 0.01, 1))
        self.addParameter(number("MIN_AREA", "Least area of an object in m²", number.Double, 20, False, 0))
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", "Saliency map"))
        self.addParameter(QgsProcessingParameterVectorDestination("POLYGONS", "Objects", optional=True))
        home = settings.value(CHECKOUT) or os.environ.get("SRAL_HOME")
        python = settings.value(PYTHON) or os.environ.get("SRAL_PYTHON")
        folder = QgsProcessingParameterFile.Folder
        advanced = (
            QgsProcessingParameterFile("CHECKOUT", "Folder of the SRAL checkout", folder, defaultValue=home),
            QgsProcessingParameterString(
                "PYTHON", "Its Python (default: .venv in that folder)", defaultValue=python, optional=True
            ),
            QgsProcessingParameterString("MORE", "More options of getsmaps.py --scene", optional=True),
        )
        for parameter in advanced:
            parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
            self.addParameter(parameter)

    def processAlgorithm(self, parameters, context, feedback):
        layer = self.parameterAsRasterLayer(parameters, "INPUT", context)
        if layer is None:
            raise QgsProcessingException("The scene cannot be read: choose a raster layer")
        checkout = Path(self.parameterAsString(parameters, "CHECKOUT", context))
        if not (checkout / "getsmaps.py").is_file():
            raise QgsProcessingException(f"{checkout} holds no getsmaps.py: give the folder of the SRAL checkout")
        python = interpreter(checkout, self.parameterAsString(parameters, "PYTHON", context))
        QgsSettings().setValue(CHECKOUT, str(checkout))
        QgsSettings().setValue(PYTHON, str(python))
        output = Path(self.parameterAsOutputLayer(parameters, "OUTPUT", context))
        polygons = self.parameterAsOutputLayer(parameters, "POLYGONS", context) if parameters.get("POLYGONS") else None
        if output.suffix.lower() not in (".tif", ".tiff"):
            raise QgsProcessingException(f"{output}: the map is a GeoTIFF, name a .tif file")
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".sral-") as folder:
            command = [python, "getsmaps.py", "--scene", "--input", layer.source(), "--output", folder]
            for option, name in (("--bands", "BANDS"), ("--range", "RANGE"), ("--context", "CONTEXT")):
                if text := self.parameterAsString(parameters, name, context).strip():
                    command += [option, text]
            for option, name in (("--threshold", "THRESHOLD"), ("--min-area", "MIN_AREA")):
                command += [option, str(self.parameterAsDouble(parameters, name, context))]
            command += shlex.split(self.parameterAsString(parameters, "MORE", context))
            objects = Path(folder, "objects" + Path(polygons).suffix) if polygons else None
            if objects:
                command += ["--polygons", str(objects)]
            run(command, checkout, feedback)
            if feedback.isCanceled():
                return {}
            (made,) = Path(folder).glob("*.tif")
            os.replace(made, output)
            if objects:
                shutil.move(str(objects), polygons)
        return {"OUTPUT": str(output)} | ({"POLYGONS": polygons} if polygons else {})


def interpreter(checkout, named):
    """Return the Python that runs the command: the one that is named, or that of the checkout's .venv."""
    found = named or next(
        (str(path) for path in (checkout / ".venv/bin/python", checkout / ".venv/Scripts/python.exe") if path.exists()),
        "",
    )
    if not found or not (os.path.isfile(found) or shutil.which(found)):
        what = f"{found} is no Python" if found else f"{checkout} has no .venv"
        raise QgsProcessingException(f"{what}: give the interpreter that SRAL's requirements are installed for")
    return found


def run(command, checkout, feedback):
    """Run a command; show its progress and messages, and end it on cancel. Raise its last line as an error."""
    environment = {name: value for name, value in os.environ.items() if name not in QGIS_VARIABLES}
    feedback.pushInfo(" ".join(map(str, command)))
    hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
    with subprocess.Popen(
        list(map(str, command)), cwd=checkout, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace", **hidden,
    ) as process:  # fmt: skip
        ended = threading.Event()
        watcher = threading.Thread(target=end_on_cancel, args=(process, feedback, ended), daemon=True)
        watcher.start()
        last = ""
        for line in process.stdout:  # universal newlines: each state of the progress bar is a line
            if percent := PERCENT.search(line):
                feedback.setProgress(int(percent[1]))
            elif line.strip():
                last = line.strip()
                feedback.pushInfo(last)
        status = process.wait()
        ended.set()
        watcher.join()
    if status and not feedback.isCanceled():
        raise QgsProcessingException(last or f"getsmaps.py ended with status {status}")


def end_on_cancel(process, feedback, ended):
    """Terminate the process when the user cancels, and kill it when that does not help."""
    while not ended.wait(0.2):
        if feedback.isCanceled():
            process.terminate()
            if not ended.wait(GRACE_SECONDS):
                process.kill()
            return
