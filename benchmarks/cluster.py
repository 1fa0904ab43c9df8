"""Measure inference.cluster: faults, an S3 server that refuses, a killer, rate, memory and planning.

python -m benchmarks.cluster --case faults --weights FILE.xml
python -m benchmarks.cluster --case s3 --images 2000 --weights FILE.xml

Other options go to getsmaps.py and inference.cluster. Needs requirements-cluster.txt and moto[server]. Prints a row of
a Markdown table for each case. benchmarks.cluster_simulation computes what 100 machines would do.
"""

import argparse
import contextlib
import filecmp
import os
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
IMAGES = {"faults": 10_000, "s3": 2_000, "killer": 200, "rate": 2_000, "memory": 10_000, "plan": 1_000_000}
KILLER = "000100.jpg"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
HOST_FILE = f"""
import os
import signal

from inference.cluster import images
from models.hosts import register

_read = images.inspect_pixels


def read(path, *more):
    if os.path.basename(path) == "{KILLER}":
        os.kill(os.getpid(), signal.SIGKILL)
    return _read(path, *more)


images.inspect_pixels = read


@register("unused", shallow="a", context="b", logits="c")
def build(config, pretrained):
    raise NotImplementedError
"""


def make_images(folder: Path, count: int) -> None:
    """Write `count` JPEG files of 224×224 pixels."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC).save(folder / f"{number:06}.jpg")


class Bench:
    """One measurement's folder, and the commands that run in it.

    Args:
        folder: an empty folder.
        count: number of images.
        options: more options of both commands.
    """

    def __init__(self, folder: Path, count: int, options: list[str]) -> None:
        self.folder, self.count, self.options = folder, count, options
        self.images, self.maps, self.reference = folder / "images", folder / "maps", folder / "reference"
        make_images(self.images, count)

    def getsmaps(self, processes: int = 1) -> str:
        """Make the reference maps by getsmaps.py; return its last line."""
        launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
        command = [*launcher, "getsmaps.py", "--input", str(self.images), "--output", str(self.reference)]
        return _run([*command, *self.options])

    def cluster(self, *more: str, source: str = "", output: str = "", env: dict[str, str] | None = None) -> str:
        """Run inference.cluster; return its output."""
        places = ["--input", source or str(self.images), "--output", output or str(self.maps)]
        return _run(["-m", "inference.cluster", *places, *self.options, *more], env)

    def compare(self, maps: Path) -> str:
        """Return how many maps there are, and how many differ from the reference."""
        names = sorted(path.name for path in self.reference.iterdir())
        there = sorted(path.name for path in maps.iterdir() if path.suffix == ".png")
        _, different, missing = filecmp.cmpfiles(self.reference, maps, names, shallow=False)
        rows, written = count_rows(maps)
        return (
            f"{len(there)} of {len(names)} maps, {len(different)} differ, {len(missing)} missing; {rows} rows, "
            f"{written} written by the worker that reported"
        )


def count_rows(maps: Path) -> tuple[int, int]:
    """Return the manifest's rows without an error, and those whose worker wrote the map itself."""
    from pyarrow import parquet

    table = parquet.read_table(maps / "_manifest")
    good = table.filter(table["error"].is_null())
    assert len(good) == len(good["output"].unique()), "an output has two rows"
    return len(good), sum(good["written"].to_pylist())


def _run(arguments: list[str], env: dict[str, str] | None = None) -> str:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **(env or {})}
    )
    lines = [
        line for line in re.split(r"[\r\n]", done.stderr) if line and "image/s" not in line and "s/image" not in line
    ]
    text = "\n".join([*lines[-12:], done.stdout.strip()])
    return f"{text}\n({time.perf_counter() - started:.0f} s in all, exit status {done.returncode})"


class Cluster:
    """A scheduler and workers of their own processes, each started anew when it ends, as Kubernetes does."""

    def __init__(self, workers: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.stopped = False
        self.kills, self.restarts = 0, 0
        self.processes: dict[int, subprocess.Popen] = {}
        self.threads = [
            threading.Thread(target=self._keep, args=(number,), daemon=True) for number in range(workers + 1)
        ]
        for thread in self.threads:
            thread.start()

    def _keep(self, number: int) -> None:
        """Run the scheduler (0) or a worker again and again."""
        scheduler = ["dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        worker = ["dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
        module, *arguments = worker if number else scheduler
        while not self.stopped:
            command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments]
            log = subprocess.DEVNULL
            self.processes[number] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            self.processes[number].wait()

    def kill_worker(self) -> None:
        """Kill a worker at random."""
        number = random.choice([number for number in self.processes if number])
        self.processes[number].send_signal(signal.SIGKILL)
        self.kills += 1

    def kill_scheduler(self) -> None:
        """Kill the scheduler."""
        self.processes[0].send_signal(signal.SIGKILL)
        self.restarts += 1

    def close(self) -> None:
        """End everything."""
        self.stopped = True
        for process in self.processes.values():
            process.kill()


@contextmanager
def disturbed(cluster: Cluster, every: float, is_half_done: Callable[[], bool]) -> Iterator[None]:
    """Kill a worker every few seconds during the block, and the scheduler once when half of the work is done."""
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(every):
            cluster.kill_worker()
            if not cluster.restarts and is_half_done():
                cluster.kill_scheduler()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def faults(bench: Bench, every: float) -> str:
    """Kill one of 4 workers every few seconds, and the scheduler once."""
    bench.getsmaps()

    def is_half_done() -> bool:
        return bench.maps.is_dir() and sum(1 for _ in bench.maps.iterdir()) > bench.count / 2

    cluster = Cluster(4)
    try:
        with disturbed(cluster, every, is_half_done):
            said = bench.cluster("--scheduler", cluster.address)
    finally:
        cluster.close()
    print(said)
    return f"{cluster.kills} workers and {cluster.restarts} scheduler killed: {bench.compare(bench.maps)}"


def s3(bench: Bench) -> str:
    """Read from a moto server that answers 5 % with 503 and 1 % two seconds late, and write there."""
    import fsspec

    bench.getsmaps()
    command = [sys.executable, "-m", "benchmarks.s3_server", "--failures", "0.05", "--late", "0.01"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        env = {**KEYS, "AWS_ENDPOINT_URL": server.stdout.readline().strip()}
        os.environ.update(env)
        store = fsspec.filesystem("s3", config_kwargs={"retries": {"max_attempts": 20, "mode": "standard"}})
        store.mkdir("archive")
        store.put(f"{bench.images}/", "archive/images/", recursive=True)
        said = bench.cluster("--workers", "2", source="s3://archive/images", output="s3://archive/maps", env=env)
        print(said)
        store.get("archive/maps/", f"{bench.maps}/", recursive=True)
    finally:
        server.kill()
    return bench.compare(bench.maps)


def killer(bench: Bench) -> str:
    """Have an image that kills its worker; for getsmaps.py, which it would kill too, it is one that cannot be read."""
    image = (bench.images / KILLER).read_bytes()
    (bench.images / KILLER).write_bytes(b"no image")
    bench.getsmaps()
    (bench.images / KILLER).write_bytes(image)
    (bench.folder / "killer.py").write_text(HOST_FILE)
    said = bench.cluster("--workers", "2", "--host-file", str(bench.folder / "killer.py"))
    print(said)
    return bench.compare(bench.maps)


def rate(bench: Bench, rounds: int) -> str:
    """Compare two workers with two processes of getsmaps.py, one thread each, in turns; the result has medians."""
    rates: dict[str, list[float]] = {"getsmaps": [], "cluster": []}
    for _ in range(rounds):
        for folder in (bench.reference, bench.maps):
            shutil.rmtree(folder, ignore_errors=True)
        for name, line in (("getsmaps", bench.getsmaps(2)), ("cluster", bench.cluster("--workers", "2"))):
            print(line, flush=True)
            found = re.search(r"([\d.]+) images (?:and|per)", line)
            rates[name].append(float(found[1]) if found else 0.0)
    own, theirs = (statistics.median(rates[name]) for name in ("getsmaps", "cluster"))
    every = "; ".join(f"{name} {', '.join(map(str, each))}" for name, each in rates.items())
    return f"cluster {theirs:.1f} of {own:.1f} images/s, {theirs / own:.0%} ({every}); {bench.compare(bench.maps)}"


def memory(bench: Bench) -> str:
    """Watch the memory of two workers over a long run."""
    with watched_memory() as samples:
        print(bench.cluster("--workers", "2"))
    times = (0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
    at = [max(samples[int(part * (len(samples) - 1))], default=0) / 1e9 for part in times]
    largest = max(max(sample, default=0) for sample in samples) / 1e9
    parts = ", ".join(f"{value:.2f} at {part:.0%}" for part, value in zip(times, at, strict=True))
    return f"largest worker {largest:.2f} GB at its most, {parts} of the time"


@contextmanager
def watched_memory() -> Iterator[list[list[int]]]:
    """Yield a list that gets the memory of every Dask worker of this run in bytes, once a second."""
    samples: list[list[int]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(1):
            samples.append([])
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    own = os.getpgid(int(process.name)) == os.getpgid(0)
                    if own and b"spawn_main" in (process / "cmdline").read_bytes():
                        pages = int((process / "statm").read_text().split()[1])
                        samples[-1].append(pages * os.sysconf("SC_PAGE_SIZE"))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def plan(folder: Path, count: int) -> str:
    """Plan to go on where all but a thousand of so many images are done."""
    from inference.cluster.manifest import ManifestWriter, Row
    from inference.cluster.storage import Folder

    names = [f"scene-{number // 1000:05}/tile-{number:08}" for number in range(count)]
    (folder / "list.txt").write_text("\n".join(f"{folder}/archive/{name}.jpg" for name in names))
    manifest = ManifestWriter(Folder(str(folder / "maps")))
    for name in names[:-1000]:
        manifest.add(
            Row(f"{folder}/archive/{name}.jpg", f"archive/{name}.png", 12_345, f"sha256:{'0' * 64}", 0.05, "host-1")
        )
        manifest.flush_if_due()
    manifest.flush()
    command = [sys.executable, "-m", "benchmarks.cluster", "--case", "plan-only", "--folder", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def plan_only(folder: Path) -> str:
    """Plan, in a process of its own."""
    from inference.cluster.inputs import find_inputs
    from inference.cluster.plan import make_plan
    from inference.cluster.storage import Folder

    start = time.perf_counter()
    options = argparse.Namespace(
        input=str(folder / "list.txt"), dataset=None, output=str(folder / "maps"), scene=False, root=None, split=None
    )
    made = make_plan(find_inputs(options), Folder(options.output), ".png", resume=True)
    next(made.batches(16))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return f"{made.kept} done, {len(made.left)} left: {time.perf_counter() - start:.1f} s, {memory / 1e9:.2f} GB"


def main() -> None:
    """Measure one case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--case", choices=(*IMAGES, "plan-only"), required=True)
    parser.add_argument("--images", type=int, metavar="N", help=f"default: {IMAGES}")
    parser.add_argument("--every", type=float, default=5, metavar="S", help="seconds between kills (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of the case rate (default: 3)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options, more = parser.parse_known_args()
    if options.case == "plan-only":
        print(plan_only(options.folder))
        return
    count = options.images or IMAGES[options.case]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="sral-bench-") as folder:
        if options.case == "plan":
            result = plan(Path(folder), count)
        else:
            bench = Bench(Path(folder), count, ["--threads", "1", *more])
            cases: dict[str, Callable[[Bench], str]] = {
                "faults": partial(faults, every=options.every), "s3": s3, "killer": killer,
                "rate": partial(rate, rounds=options.rounds), "memory": memory,
            }  # fmt: skip
            result = cases[options.case](bench)
        # before the folder is removed, which takes a while
        print(f"| {options.case}, {count} images | {result} | {time.perf_counter() - start:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
