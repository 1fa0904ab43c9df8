"""python -m inference.service, in a process of its own: maps as getsmaps.py's, and a sentence for everything else."""

import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hubconf
from tests.helpers import ROOT

for package in ("fastapi", "uvicorn", "prometheus_client", "onnxruntime"):
    pytest.importorskip(package, reason="requirements-service.txt is not installed")

IMAGES = ROOT / "datasets" / "sample" / "test-images"
SHIPPED = ROOT / "weights" / "lite2_eorssd_int8.onnx"


@dataclass
class Server:
    """A running service."""

    port: int
    process: subprocess.Popen

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Return status, content and headers of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()

    def refused(self, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
        """Return status and sentence of an answer that is no map."""
        status, content, _ = self.ask("POST", path, body, **headers)
        assert status >= 400, content[:100]
        detail = json.loads(content)["detail"]
        assert "\n" not in detail
        assert "/tmp" not in detail  # no path of the server
        return status, detail


def start(*options: str, where: Path = ROOT) -> Server:
    """Start a service at a free port, without torch."""
    code = (
        "import runpy, sys; sys.modules['torch'] = None; "
        "runpy.run_module('inference.service', run_name='__main__', alter_sys=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--port", "0", *options], cwd=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    found = re.search(r":(\d+)$", line.strip())
    assert found, process.communicate()[1].decode()
    return Server(int(found[1]), process)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = start("--max-megabytes", "2", "--max-megapixels", "0.6", "--queue", "4", "--upload-seconds", "2")
    yield running
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(20) in (0, 130, -signal.SIGINT)
    assert running.process.stderr is not None
    assert "Traceback" not in running.process.stderr.read().decode()


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("query", "size", "raw"), [("", "original", False), ("?size=network&raw=true", "network", True)]
)
def test_the_map_is_that_of_getsmaps(server: Server, query: str, size: str, raw: bool) -> None:
    image = min(IMAGES.iterdir())
    theirs = hubconf.saliency(SHIPPED, size=size, raw=raw)(image)
    status, content, headers = server.ask("POST", f"/saliency{query}", image.read_bytes())
    assert (status, headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(content)) as ours:
        assert (ours.mode, ours.size) == (theirs.mode, theirs.size)
        difference = np.abs(np.asarray(ours).astype(int) - np.asarray(theirs))
    assert difference.mean() < 0.5  # Pillow resizes here, torch there: a gray level, which int8 magnifies at edges


def test_a_geotiff_keeps_its_georeference(server: Server) -> None:
    rasterio = pytest.importorskip("rasterio", reason="requirements-scenes.txt is not installed")
    with Image.open(min(IMAGES.iterdir())) as image:
        bands = np.moveaxis(np.asarray(image.convert("RGB")).astype(np.uint16) * 8, -1, 0)
    height, width = bands.shape[1:]
    transform = rasterio.transform.from_origin(500_000, 5_500_000, 0.5, 0.5)
    bands[:, :10] = 0
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", height=height, width=width, count=3, dtype="uint16", nodata=0, crs="EPSG:32632",
            transform=transform,
        ) as file:  # fmt: skip
            file.write(bands)
        body = memory.read()
    query = "/saliency?format=tiff&bands=1,2,3&range=0:2040&raw=true"
    status, content, headers = server.ask("POST", query, body, content_type="image/tiff")
    assert (status, headers["content-type"], headers["x-value-range"]) == (200, "image/tiff", "0:2040")
    with rasterio.MemoryFile(content) as memory, memory.open() as found:
        assert (found.crs.to_epsg(), found.transform, found.shape) == (32632, transform, (height, width))
        assert found.nodata == 255
        values = found.read(1)
    assert (values[:10] == 255).all()
    assert 127 < values[10:].max() < 255
    assert server.refused("/saliency?bands=1,2,9", body)[0] == 422
    assert server.refused("/saliency?range=high", body)[0] == 422


def test_what_is_no_image_gets_a_sentence(server: Server) -> None:
    image = min(IMAGES.iterdir()).read_bytes()
    large = encoded(Image.new("RGB", (1000, 700)))
    cases = {
        "empty": ("/saliency", b"", 422, "empty"),
        "text": ("/saliency", b"hello" * 100, 415, "no image"),
        "cut off": ("/saliency", image[: len(image) // 2], 422, "the image cannot be read"),
        "too many pixels": ("/saliency", large, 413, "megapixels"),
        "unknown size": ("/saliency?size=huge", image, 422, "size=huge"),
        "bands of a JPEG": ("/saliency?bands=1,2,3", image, 422, "TIFF"),
        "small tiff": ("/saliency?format=tiff&size=network", image, 422, "size"),
    }
    for name, (path, body, status, words) in cases.items():
        got, detail = server.refused(path, body)
        assert (got, words in detail) == (status, True), f"{name}: {got} {detail}"
    assert server.refused("/saliency", b"--x", content_type="multipart/form-data; boundary=x")[0] == 415
    assert server.refused("/saliency", os.urandom(2_100_000))[0] == 413
    assert server.refused("/elsewhere", b"")[0] == 404


def test_a_body_without_a_length_is_limited_too(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"POST /saliency HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(40):
                client.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        except OSError:
            pass  # the server has answered and closed
        assert b" 413 " in client.recv(64)


def test_a_slow_client_is_let_go(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"POST /saliency HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        started = time.monotonic()
        assert b" 408 " in client.recv(64)
        assert time.monotonic() - started < 10
    assert json.loads(server.ask("GET", "/health")[1])["running"] == 0


def test_many_clients_at_once(server: Server) -> None:
    """Each gets its own image's map, or 503 and when to come back; afterwards the service is as before."""
    images = [path.read_bytes() for path in sorted(IMAGES.iterdir())[:4]]
    alone = [server.ask("POST", "/saliency", image)[1] for image in images]
    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda i: server.ask("POST", "/saliency", images[i % 4]), range(36)))
    for index, (status, content, headers) in enumerate(answers):
        assert status in (200, 503)
        if status == 200:
            assert content == alone[index % 4]
        else:
            assert headers["retry-after"] == "1"
    assert any(status == 200 for status, _, _ in answers)
    health = json.loads(server.ask("GET", "/health")[1])
    assert (health["status"], health["running"]) == ("ok", 0)
    metrics = server.ask("GET", "/metrics")[1].decode()
    assert 'sral_requests_total{status="200"}' in metrics


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--weights", "none.onnx"], "no such file"),
        (["--weights", "README.md"], "no network that inference.export wrote"),
        (["--port", "99999"], "--port must be"),
        (["--max-megapixels", "500"], "at most 89"),
    ],
)
def test_bad_options_are_one_line(options: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inference.service", *options], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "inference.service", "--port", port]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: 127.0.0.1:{port} cannot be listened at")
    assert len(done.stderr.splitlines()) == 1


def test_the_files_that_the_dockerfile_copies_are_enough(tmp_path: Path) -> None:
    """The image itself is not built here: its files start the service in a folder of their own, without torch."""
    for line in (ROOT / "examples" / "service" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            *sources, target = line.replace("${WEIGHTS}", "weights/lite2_eorssd_int8.onnx").split()[1:]
            for source in (path for pattern in sources for path in sorted(ROOT.glob(pattern))):
                place = tmp_path / target / (source.name if target.endswith("/") or target == "." else "")
                place.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, place)
    running = start("--weights", "network.onnx", where=tmp_path)
    try:
        assert running.ask("POST", "/saliency", min(IMAGES.iterdir()).read_bytes())[0] == 200
    finally:
        running.process.terminate()
        running.process.wait(20)
