"""Load the HTTP service with ordinary and hostile requests; print its latency, answers and memory. Linux.

python -m benchmarks.service --images FOLDER [--requests 10000] [--seconds S] [--hostile 0.05] [--clients 4] [--seed 0]

The service runs in a process of its own at a free port of this machine. Hostile requests are cut-off, random, empty and
oversized bodies, forms, decompression bombs, broken queries, and clients that go away.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import http.client
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from utils.progress import ProgressBar

ROOT = Path(__file__).resolve().parent.parent
MEMORY_EVERY = 500
"""Requests from one look at the service's memory to the next."""


def start_service(options: list[str]) -> tuple[subprocess.Popen[str], int]:
    """Start the service and return its process and port."""
    command = [sys.executable, "-m", "inference.service", "--port", "0", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r":(\d+)$", process.stdout.readline().strip())
    if found is None:
        sys.exit("error: the service does not start, see above")
    return process, int(found[1])


def megabytes(pid: int, kind: str = "VmRSS") -> float:
    """Return the memory that a process holds, or with the kind VmHWM the most that it has held."""
    return int(re.search(rf"{kind}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def bomb() -> bytes:
    """Return a PNG of 60,000×60,000 pixels in a few hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def ask(port: int, body: bytes, path: str = "/saliency", kind: str = "image/jpeg") -> str:
    """Return the status of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        answer.read()
        return str(answer.status)
    except (ConnectionResetError, BrokenPipeError):
        return "closed"  # the service answered before the body had been sent
    finally:
        connection.close()


def leave(port: int, body: bytes) -> str:
    """Send a part of a body and go away."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"POST /saliency HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        client.sendall(body[: len(body) // 3])
    return "left"


def hostile(port: int, body: bytes, draw: random.Random) -> str:
    """Send one hostile request; return its kind and the status of the answer."""
    kinds: dict[str, Callable[[], str]] = {
        "cut-off image": lambda: ask(port, body[: draw.randrange(len(body))]),
        "random bytes": lambda: ask(port, draw.randbytes(draw.randrange(1, 100_000))),
        "empty body": lambda: ask(port, b""),
        "70 MB": lambda: ask(port, bytes(70_000_000)),
        "decompression bomb": lambda: ask(port, bomb(), kind="image/png"),
        "broken query": lambda: ask(port, body, "/saliency?size=huge"),
        "form": lambda: ask(port, body, kind="multipart/form-data; boundary=x"),
        "client that leaves": lambda: leave(port, body),
    }
    kind = draw.choice(sorted(kinds))
    return f"{kind} {kinds[kind]()}"


def read(port: int, path: str) -> str:
    """Return the text of GET /health or /metrics."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return str(answer.read().decode())


def main() -> None:
    """Run the load and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of JPEG files to send")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="send no more after this time")
    parser.add_argument("--hostile", type=float, default=0.05, help="part of hostile requests (default: 0.05)")
    parser.add_argument("--clients", type=int, default=4, help="clients at a time (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the requests (default: 0)")
    parser.add_argument("--weights", type=Path, help="network (default: the service's)")
    options = parser.parse_args()
    bodies = [path.read_bytes() for path in sorted(options.images.glob("*.jpg"))]
    if not bodies:
        sys.exit(f"error: {options.images} holds no .jpg files")
    process, port = start_service(["--weights", str(options.weights)] if options.weights else [])
    try:
        load(process, port, bodies, options)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def load(process: subprocess.Popen[str], port: int, bodies: list[bytes], options: argparse.Namespace) -> None:
    """Send the requests and print the figures."""
    memory = [megabytes(process.pid)]

    def one(number: int) -> tuple[bool, str, float] | None:
        if time.perf_counter() - begin > options.seconds:
            return None
        draw = random.Random(f"{options.seed} {number}")
        body, bad = draw.choice(bodies), draw.random() < options.hostile
        start = time.perf_counter()
        status = hostile(port, body, draw) if bad else ask(port, body)
        if number % MEMORY_EVERY == 0:
            memory.append(megabytes(process.pid))
        return bad, status, time.perf_counter() - start

    begin = time.perf_counter()
    with ThreadPoolExecutor(options.clients) as clients:
        answers = list(ProgressBar(clients.map(one, range(options.requests)), total=options.requests, unit="request"))
    seconds = time.perf_counter() - begin
    results = [answer for answer in answers if answer is not None]
    peak = megabytes(process.pid, "VmHWM")
    health, metrics = read(port, "/health"), read(port, "/metrics")
    ordinary = [taken for bad, _, taken in results if not bad]
    p50, p95, p99 = np.percentile(ordinary, (50, 95, 99)) * 1000
    print(f"{len(ordinary)} ordinary requests by {options.clients} clients: {len(results) / seconds:.1f} a second,")
    print(f"  p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms")
    print("  answers:", dict(Counter(status for bad, status, _ in results if not bad)))
    print(f"{len(results) - len(ordinary)} hostile ones:")
    for kind, count in sorted(Counter(status for bad, status, _ in results if bad).items()):
        print(f"  {count} × {kind}")
    print(f"memory: {memory[0]:.0f} MB at first, {peak:.0f} MB at most, {memory[-1]:.0f} MB at last")
    print("/health:", health)
    print(
        "/metrics:", *re.findall(r"^(sral_requests_total\S+ \S+|sral_running \S+)$", metrics, re.MULTILINE), sep="\n  "
    )


if __name__ == "__main__":
    command.run(main)
