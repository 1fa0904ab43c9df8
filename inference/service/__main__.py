"""Answer images with saliency maps over HTTP.

python -m inference.service                              the shipped network at http://127.0.0.1:8000
curl --data-binary @IMAGE.jpg http://127.0.0.1:8000/saliency > map.png
"""

from utils import command

if __name__ == "__main__":
    command.begin("the service has ended")  # before the imports, which take seconds

import argparse
import os
import signal
import socket
import sys
import warnings
from pathlib import Path

SHIPPED = Path(__file__).resolve().parents[2] / "weights" / "lite2_eorssd_int8.onnx"
MOST_MEGAPIXELS = 89
"""Above it Pillow refuses an image."""
EPILOG = """Options of a request: ?size=network, ?raw=true, ?format=tiff (a GeoTIFF with the image's georeference), and
for TIFF ?bands=3,2,1 and ?range=200:3000. Answers that are no map are JSON with one sentence in "detail"."""


def parse_arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(
        "python -m inference.service", description="Answer images with saliency maps over HTTP.", epilog=EPILOG,
        allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--weights", type=Path, default=SHIPPED, metavar="FILE.onnx",
        help="network that inference.export wrote (default: the shipped lite2 in int8)")  # fmt: skip
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 is every one (default: 127.0.0.1)")
    add("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    add("--workers", type=int, default=1, metavar="N", help="images that are computed at a time (default: 1)")
    add("--threads", type=int, metavar="N", help="CPU threads of one image (default: the cores, over the workers)")
    add("--queue", type=int, default=32, metavar="N", help="requests at a time; further ones get 503 (default: 32)")
    add("--max-megabytes", type=float, default=64, metavar="MB", help="largest body (default: 64)")
    add("--max-megapixels", type=float, default=64, metavar="MP", help="largest image, at most 89 (default: 64)")
    add("--upload-seconds", type=float, default=30, metavar="S", help="time to send an image in (default: 30)")
    options = parser.parse_args()
    for name in ("workers", "queue", "max_megabytes", "max_megapixels", "upload_seconds"):
        if not getattr(options, name) > 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0, not {getattr(options, name)}")
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads must be at least 1, not {options.threads}")
    if options.max_megapixels > MOST_MEGAPIXELS:
        parser.error(f"--max-megapixels must be at most {MOST_MEGAPIXELS}, not {options.max_megapixels:g}")
    if not 0 <= options.port <= 65535:
        parser.error(f"--port must be from 0 to 65535, not {options.port}")
    return options


def main() -> None:
    """Run the service until SIGINT or SIGTERM; requests that are being answered get 10 seconds to end."""
    options = parse_arguments()
    try:
        import uvicorn

        from inference.service.app import Limits, create_app
        from inference.service.network import ServiceNetwork
    except ImportError as error:
        sys.exit(f"error: {error}: pip install -r requirements-service.txt")
    from PIL import Image

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the service has a limit of its own
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = Limits(
        options.max_megabytes, options.max_megapixels, options.queue, options.workers, options.upload_seconds
    )
    try:
        network = ServiceNetwork(options.weights, options.threads or max(cores // options.workers, 1))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    try:
        listening = socket.create_server((options.host, options.port), backlog=128, family=_family(options.host))
    except OSError as error:
        sys.exit(f"error: {options.host}:{options.port} cannot be listened at ({error.strerror or error}): name others")
    height, width = network.input_size
    port = listening.getsockname()[1]
    print(f"{options.weights.name} ({network.precision}, {height}×{width}) at http://{options.host}:{port}", flush=True)
    config = uvicorn.Config(
        create_app(network, limits), log_level="warning", server_header=False, timeout_graceful_shutdown=10,
        timeout_keep_alive=5, limit_concurrency=4 * options.queue + 16,
    )  # fmt: skip
    # uvicorn raises a signal again, inside its loop, when it has answered what it was asked.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        uvicorn.Server(config).run([listening])
    except KeyboardInterrupt:
        print("stopped by Ctrl-C: the service has ended", file=sys.stderr)
        sys.exit(130)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


if __name__ == "__main__":
    command.run(main)
