"""An S3 server on this machine (moto) that answers a part of the requests with 503, or late.

python -m benchmarks.s3_server --failures 0.05 --late 0.01       prints its address, and serves until it is ended
"""

import argparse
import random
import time
from collections.abc import Callable, Iterable

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUSY = b"<?xml version='1.0'?><Error><Code>ServiceUnavailable</Code><Message>Please try again.</Message></Error>"


class Unreliable:
    """moto's application behind a door that is shut now and then.

    Args:
        failures: part of the requests that are answered with 503, [0, 1).
        late: part of the requests that are answered late, [0, 1].
        seconds: what a late answer takes longer.
    """

    def __init__(self, failures: float, late: float, seconds: float) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.failures, self.late, self.seconds, self.random = failures, late, seconds, random.Random(0)

    def __call__(self, environ: dict, start: Callable) -> Iterable[bytes]:
        """Answer a WSGI request."""
        if self.random.random() < self.late:
            time.sleep(self.seconds)
        if self.random.random() < self.failures:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            environ["wsgi.input"].read(length)
            start("503 Service Unavailable", [("Content-Type", "application/xml"), ("Content-Length", str(len(BUSY)))])
            return [BUSY]
        return self.app(environ, start)


class Quiet(WSGIRequestHandler):
    """Keeps connections open, and no log."""

    protocol_version = "HTTP/1.1"

    def log(self, *_: object) -> None:
        pass


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--failures", type=float, default=0.05, metavar="P", help="part of the answers (default: 0.05)")
    parser.add_argument("--late", type=float, default=0.0, metavar="P", help="part of late answers (default: 0)")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="delay of a late answer (default: 2)")
    options = parser.parse_args()
    app = Unreliable(options.failures, options.late, options.seconds)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
