"""Simulate inference.cluster on many machines: the command's engine, manifest and scheduler, and workers that wait.

python -m benchmarks.cluster_simulation --machines 100 --slots 8 --images 1000000 --seconds 0.03

The workers are real Dask workers in one process. A bundle waits as long as the network would compute. The table has the
processor time of scheduler and command, and the requests to the store, which are counted on moto's S3 server. A part's
limit is the rate at which it would be busy all the time, or at which S3 answers 503.
"""

import argparse
import asyncio
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
READS, WRITES = 5500, 3500
"""Requests a second for a prefix of a bucket, by Amazon's documentation."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Load:
    """A part of the system in one run.

    Attributes:
        name: of the part.
        used: seconds of its processor, or requests.
        limit: images a second that it can take at the most.
    """

    name: str
    used: str
    limit: float


def pretend(seconds: float, bundle: Any) -> Any:
    """Report a bundle as made after so many seconds an image; runs on a worker."""
    from inference.cluster.manifest import Row
    from inference.cluster.worker import Outcome, memory

    start, count = time.time(), sum(map(len, bundle.batches))
    time.sleep(seconds * count)
    name = f"machine-{threading.get_ident()}"
    rows = [
        Row(item.source, item.output, 40_000, f"sha256:{item.number:064x}", seconds, name, None, "", True, 0.05, start)
        for batch in bundle.batches
        for item in batch
    ]
    return Outcome(name, rows, {"network": seconds * count}, memory())


def serve_workers(address: str, machines: int, slots: int) -> None:
    """Run so many Dask workers in this process until it is ended."""
    from distributed import Worker

    async def serve() -> None:
        workers = [
            await Worker(address, nthreads=slots, name=f"machine-{number}", memory_limit=0, dashboard=False)
            for number in range(machines)
        ]
        print("ready", flush=True)
        await asyncio.gather(*(worker.finished() for worker in workers))

    asyncio.run(serve())


def run_command(address: str, images: int, seconds: float, folder: Path) -> tuple[float, int]:
    """Plan, hand out and record so many images as the command does; return its seconds and the tasks."""
    from inference.cluster.bundles import ImageWork
    from inference.cluster.connection import Connection
    from inference.cluster.engine import Engine
    from inference.cluster.images import Bundle
    from inference.cluster.inputs import find_inputs
    from inference.cluster.manifest import ManifestWriter, Row
    from inference.cluster.plan import make_plan
    from inference.cluster.progress import Progress
    from inference.cluster.storage import Folder
    from inference.cluster.tasks import Task

    count = 0

    class Pretended(ImageWork):
        def _task(self, batches: Iterable, subject: object) -> Task:
            nonlocal count
            count += 1
            items = tuple(tuple(self._item(batch, number) for number in batch.numbers) for batch in batches)
            return Task("images", pretend, (seconds, Bundle(items)), subject)

    wanted = argparse.Namespace(
        input=str(folder / "list.txt"), dataset=None, output=str(folder / "maps"), scene=False, root=None, split=None
    )
    job: Any = argparse.Namespace(options=argparse.Namespace(batch_size=16))
    output = Folder(wanted.output)
    plan = make_plan(find_inputs(wanted), output, ".png", resume=False)
    connection = Connection(address, 60)
    manifest, progress, start = ManifestWriter(output), Progress(images, "image"), time.monotonic()

    def record(row: Row) -> None:
        manifest.add(row)
        progress.add(row)

    Engine(connection, Pretended(plan, job, 3, False, record), limit=600, patience=60, tick=manifest.flush_if_due).run()
    manifest.flush()
    progress.close()
    taken = time.monotonic() - start
    connection.close()
    return taken, count


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def requests_of_an_image(folder: Path, count: int = 50) -> Counter[str]:
    """Return the requests by method that reading an image and writing its map cost, counted on an S3 server."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    from benchmarks.s3_server import Quiet

    seen: Counter[str] = Counter()
    app = DomainDispatcherApplication(create_backend_app)

    def counted(environ: dict, answer: Callable) -> Iterable[bytes]:
        seen[environ["REQUEST_METHOD"]] += 1
        content: Iterable[bytes] = app(environ, answer)
        return content

    server = make_server("127.0.0.1", 0, counted, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    os.environ.update(dict.fromkeys(keys, "testing"), AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.server_port}")
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    from inference.cluster.storage import Folder, _file_system, local_copy

    _file_system("s3").mkdir("archive")
    store = Folder("s3://archive")
    for number in range(count):
        store.put_new(f"images/{number}.jpg", bytes(40_000))
    seen.clear()
    for number in range(count):
        with local_copy(store.of(f"images/{number}.jpg")) as copy:
            copy.read_bytes()
        store.put_new(f"maps/{number}.png", bytes(10_000))
    server.shutdown()
    return Counter({name: round(found / count) for name, found in seen.items()})


def simulate(machines: int, slots: int, images: int, seconds: float, folder: Path) -> list[str]:
    """Run the simulation; return the lines of its table."""
    (folder / "list.txt").write_text(
        "\n".join(f"/archive/{number // 1000:05}/{number:08}.jpg" for number in range(images))
    )
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    module = "distributed.cli.dask_scheduler"
    command = [sys.executable, "-m", module, "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    scheduler = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    own = [sys.executable, "-m", "benchmarks.cluster_simulation", "--serve", address]
    own += ["--machines", str(machines), "--slots", str(slots)]
    workers = subprocess.Popen(own, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert workers.stdout is not None
        if workers.stdout.readline().strip() != "ready":
            raise OSError("the workers did not start")
        before = processor_seconds(scheduler.pid)
        used = resource.getrusage(resource.RUSAGE_SELF)
        taken, tasks = run_command(address, images, seconds, folder)
        after = resource.getrusage(resource.RUSAGE_SELF)
        busy = processor_seconds(scheduler.pid) - before
        own_busy = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    finally:
        for process in (workers, scheduler):
            process.kill()
            process.wait()
    requests = requests_of_an_image(folder)
    reads, writes = requests["GET"] + requests["HEAD"], requests["PUT"]
    loads = [
        Load("Dask's scheduler", f"{busy:.1f} s of its processor, {busy / tasks * 1000:.2f} ms a task", images / busy),
        Load("the command", f"{own_busy:.1f} s of its processor, planning included", images / own_busy),
        Load("S3, reading", f"{reads} requests an image", READS / reads),
        Load("S3, writing", f"{writes} requests an image", WRITES / writes),
    ]
    rate, ideal = images / taken, machines * slots / seconds
    lines = [
        f"{images} images, {machines} machines of {slots} workers, {seconds:g} s an image, {tasks} tasks: "
        f"{taken:.0f} s, {rate:.0f} images/s, {rate / ideal:.0%} of the {ideal:.0f} that the workers can make; "
        f"largest memory of the command {after.ru_maxrss / 1024**2:.2f} GB",
        "| part | load | images a second at the most |",
        "| --- | --- | --- |",
        *(f"| {load.name} | {load.used} | {load.limit:.0f} |" for load in loads),
    ]
    first = min(loads, key=lambda load: load.limit)
    return [*lines, f"first bottleneck: {first.name}, with {first.limit * seconds:.0f} workers"]


def main() -> None:
    """Simulate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--machines", type=int, default=100, metavar="N")
    parser.add_argument("--slots", type=int, default=8, metavar="N", help="workers of a machine (default: 8)")
    parser.add_argument("--images", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--seconds", type=float, default=0.03, metavar="S", help="of an image on a worker")
    parser.add_argument("--serve", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_workers(options.serve, options.machines, options.slots)
        return
    with tempfile.TemporaryDirectory(prefix="sral-bench-") as folder:
        shape = (options.machines, options.slots, options.images, options.seconds)
        print("\n".join(simulate(*shape, Path(folder))))


if __name__ == "__main__":
    main()
