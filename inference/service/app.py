"""The HTTP interface: POST /saliency, GET /health, GET /metrics."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from datasets.raster import parse_bands, parse_range
from inference.service.encoding import geotiff, png
from inference.service.errors import Refusal
from inference.service.network import ServiceNetwork, raster_support, read_upload

Answer = tuple[bytes, str, dict[str, str]]
"""Content, media type and headers."""


@dataclass(frozen=True)
class Limits:
    """What one request, and all requests together, may take.

    Attributes:
        megabytes: largest body.
        megapixels: largest image.
        queue: requests at a time, uploads included; the next one is answered with 503.
        workers: images that are computed at a time.
        seconds: time that a client has to send its image.
    """

    megabytes: float = 64
    megapixels: float = 64
    queue: int = 32
    workers: int = 1
    seconds: float = 30


@dataclass(frozen=True)
class Wanted:
    """The query of a request, checked."""

    size: str
    raw: bool
    format: str
    bands: tuple[int, int, int] | None
    bounds: tuple[float, float] | None


class Metrics:
    """What /metrics shows, in Prometheus' text format."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("sral_requests", "Answers, by HTTP status", ["status"], registry=self.registry)
        self.seconds = Histogram("sral_seconds", "Seconds of a map, waiting included", registry=self.registry)
        self.pixels = Counter("sral_pixels", "Pixels of the images that became maps", registry=self.registry)
        self.running = Gauge("sral_running", "Requests that are being answered", registry=self.registry)


class Service:
    """The state of a running service: the network, its workers, and the requests that are being answered."""

    def __init__(self, network: ServiceNetwork, limits: Limits) -> None:
        self.network, self.limits, self.metrics = network, limits, Metrics()
        self.pool = ThreadPoolExecutor(limits.workers, "map")
        self.running = 0

    async def answer(self, request: Request, wanted: Wanted) -> Answer:
        """Receive the image of a request and return its map; raise a Refusal."""
        if self.running >= self.limits.queue:
            raise Refusal(503, f"{self.running} requests are being answered already: send it again in a second")
        self.running += 1
        self.metrics.running.set(self.running)
        try:
            with tempfile.TemporaryDirectory(prefix="sral-") as folder:
                upload = Path(folder, "upload")
                await self._receive(request, upload)
                return await asyncio.get_running_loop().run_in_executor(self.pool, self._answer, upload, wanted)
        finally:
            self.running -= 1
            self.metrics.running.set(self.running)

    async def _receive(self, request: Request, path: Path) -> None:
        """Write a request's body to a file; raise a Refusal for a form, a body over the limit and a slow client."""
        kind = request.headers.get("content-type", "").lower()
        if kind.startswith("multipart/"):
            raise Refusal(415, "the body is a form: send the image file itself as the body (curl --data-binary @FILE)")
        most = int(self.limits.megabytes * 1e6)
        too_large = Refusal(413, f"the body is larger than {self.limits.megabytes:g} MB: send a smaller image")
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > most:
            raise too_large
        try:
            async with asyncio.timeout(self.limits.seconds):
                received = 0
                with path.open("wb") as file:
                    async for chunk in request.stream():
                        received += len(chunk)
                        if received > most:
                            raise too_large
                        file.write(chunk)
        except TimeoutError as error:
            raise Refusal(
                408, f"the image did not arrive within {self.limits.seconds:g} seconds: send it again"
            ) from error

    def _answer(self, upload: Path, wanted: Wanted) -> Answer:
        pixels, valid, bounds = read_upload(upload, self.limits.megapixels, wanted.bands, wanted.bounds)
        height, width = pixels.shape[:2]
        saliency = self.network.saliency(pixels)
        self.metrics.pixels.inc(height * width)
        headers = {"X-Value-Range": f"{bounds[0]:g}:{bounds[1]:g}"} if bounds else {}
        try:
            if wanted.format == "tiff":
                return geotiff(saliency, (height, width), wanted.raw, upload, valid), "image/tiff", headers
            return (
                png(saliency, (height, width) if wanted.size == "original" else None, wanted.raw),
                "image/png",
                headers,
            )
        except ValueError as error:
            raise Refusal(422, str(error).replace(str(upload), "the image")) from error


def create_app(network: ServiceNetwork, limits: Limits) -> FastAPI:
    """Return the application."""
    service = Service(network, limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.pool.shutdown(cancel_futures=True)

    app = FastAPI(title="SRAL saliency service", lifespan=lifespan)
    _add_errors(app)
    _add_map(app, service)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Say that the service is ready, and with which network."""
        return {
            "status": "ok", "input_size": network.input_size, "precision": network.precision,
            "weights_sha256": network.sha256, "geotiff": raster_support(), "running": service.running,
        }  # fmt: skip

    @app.get("/metrics")
    async def metrics() -> Response:
        """Return counts and times in Prometheus' text format."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.middleware("http")
    async def count(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await go_on(request)
        if request.url.path == "/saliency":
            service.metrics.requests.labels(str(response.status_code)).inc()
        return response

    return app


def _add_map(app: FastAPI, service: Service) -> None:
    body = {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}

    @app.post("/saliency", response_class=Response, openapi_extra={"requestBody": body})
    async def saliency(
        request: Request,
        size: Annotated[Literal["original", "network"], Query(description="size of the map")] = "original",
        raw: Annotated[bool, Query(description="saliency × 255, without the stretch of the released code")] = False,
        format: Annotated[Literal["png", "tiff"], Query(description="tiff keeps a GeoTIFF's georeference")] = "png",
        bands: Annotated[str | None, Query(description="red, green and blue band of a TIFF: 3,2,1")] = None,
        range: Annotated[str | None, Query(description="values that become black and white: 200:3000")] = None,
    ) -> Response:
        """Return the saliency map of the image in the body, as an 8-bit gray PNG or GeoTIFF."""
        if format == "tiff" and not raster_support():
            raise Refusal(422, "format=tiff needs rasterio on the server (requirements-scenes.txt): take format=png")
        if format == "tiff" and size == "network":
            raise Refusal(422, "format=tiff has the image's size: leave size=network out, or take format=png")
        try:
            wanted = Wanted(
                size, raw, format, parse_bands(bands) if bands else None, parse_range(range) if range else None
            )
        except ValueError as error:
            raise Refusal(422, str(error).replace("--", "")) from error
        start = time.perf_counter()
        content, kind, headers = await service.answer(request, wanted)
        service.metrics.seconds.observe(time.perf_counter() - start)
        return Response(content, media_type=kind, headers=headers)


def _add_errors(app: FastAPI) -> None:
    """Answer every error with JSON: {"detail": one sentence}."""

    def sentence(status: int, detail: str) -> JSONResponse:
        headers = {"Retry-After": "1"} if status == 503 else {}
        return JSONResponse({"detail": detail}, status, headers)

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> JSONResponse:
        return sentence(error.status, error.detail)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return sentence(422, f"{first['loc'][-1]}={first.get('input')}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        where = f"{request.method} {request.url.path}"
        return sentence(
            error.status_code, f"{where}: {error.detail}; there are POST /saliency, GET /health, GET /metrics"
        )

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> JSONResponse:
        return sentence(400, "the connection ended before the image was complete: send it again")

    @app.exception_handler(OSError)
    async def storage(_: Request, error: OSError) -> JSONResponse:
        return sentence(503, f"the server cannot store the image ({error.strerror or error}): send it again later")
