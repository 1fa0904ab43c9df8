"""Make a bundle of maps on a worker: threads read and write while the network computes."""

import hashlib
import io
import time
import zlib
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from datasets.file_warnings import large_warning
from datasets.io import Reading, inspect_pixels
from inference.cluster.addresses import is_url, public
from inference.cluster.manifest import Row
from inference.cluster.retrying import StoreError, said
from inference.cluster.storage import Folder, local_copy
from inference.cluster.worker import Clock, Opened, Outcome, check_same_network, open_network, reported, worker_name
from inference.maps import gray_map
from inference.pipeline import make_maps
from inference.timing import StageTimer

LOCAL_THREADS, REMOTE_THREADS = 2, 8
"""Threads that read, and threads that write: a store answers late, but many at a time."""
SET_ASIDE = "set aside"


@dataclass(frozen=True)
class ImageJob:
    """What is the same for all bundles of a run.

    Attributes:
        options: the command line.
        output: address of the output folder.
        reading: bands and value range.
        key: the network's, as the first worker described it.
    """

    options: Namespace
    output: str
    reading: Reading
    key: dict[str, Any]


@dataclass(frozen=True)
class Item:
    """An image of a batch.

    Attributes:
        number: its number among all images of the run.
        source: file or address.
        output: name of its map below the output folder.
        wanted: whether the map is to be written; otherwise the image only belongs to the batch.
        aside: whether it kills workers: it keeps its place in the batch as an image that cannot be read does.
    """

    number: int
    source: str
    output: str
    wanted: bool = True
    aside: bool = False


@dataclass(frozen=True)
class Bundle:
    """Batches of images that go to a worker together.

    Attributes:
        batches: all but the last one are as large as the network's batches.
        probe: make the maps and write none, to learn whether the worker survives.
        check: some of the maps may be there already.
    """

    batches: tuple[tuple[Item, ...], ...]
    probe: bool = False
    check: bool = False


@dataclass
class _Seen:
    """What is known of an image so far."""

    bytes: int = 0
    checksum: str = ""
    seconds: float = 0.0
    megapixels: float = 0.0
    kind: str = ""
    written: bool = False


def make_bundle(job: ImageJob, bundle: Bundle) -> Outcome:
    """Make the maps of a bundle; `Outcome.rows` has a row for each wanted image.

    An image that cannot be read or written is a row with an error. A full disk ends the bundle: `Outcome.problem`.
    """
    outcome = Outcome(worker_name())
    with reported(outcome):
        network = open_network(job.options)
        check_same_network(network, job.key)
    if outcome.problem is None:
        with reported(outcome, "output"):
            _Making(job, bundle, network, outcome).run()
    return outcome


class _Making:
    """The making of one bundle."""

    def __init__(self, job: ImageJob, bundle: Bundle, network: Opened, outcome: Outcome) -> None:
        self.job, self.bundle, self.network, self.outcome = job, bundle, network, outcome
        self.folder, self.clock, self.computed = Folder(job.output), Clock(), 0
        self.seen: dict[int, _Seen] = {item.number: _Seen() for batch in bundle.batches for item in batch}
        remote = not self.folder.is_local or any(is_url(item.source) for batch in bundle.batches for item in batch)
        self.threads = REMOTE_THREADS if remote else LOCAL_THREADS

    def run(self) -> None:
        """Make the maps and fill the outcome."""
        items = [item for batch in self._unfinished() for item in batch]
        jobs = ((item, item) for item in items)
        timer, size = StageTimer(self.threads, None), self.network.batch_size
        made = make_maps(cast(Any, jobs), cast(Any, self.read), self.call, cast(Any, self.write), size, timer)
        try:
            with closing(cast(Any, made)):
                for found, problem in made:
                    item = cast(Item, found)
                    if item.wanted and not item.aside:
                        self._add(item, problem)
        finally:
            self.outcome.seconds = dict(self.clock.seconds)

    def _unfinished(self) -> Iterator[tuple[Item, ...]]:
        """Yield the batches of which a map is missing; add rows for the others."""
        if not self.bundle.check or self.bundle.probe:
            yield from self.bundle.batches
            return
        with ThreadPoolExecutor(self.threads) as pool:
            for batch in self.bundle.batches:
                wanted = [item for item in batch if item.wanted and not item.aside]
                if all(pool.map(lambda item: self.folder.exists(item.output), wanted)):
                    for item, problem in zip(wanted, pool.map(self._identify, wanted), strict=True):
                        self._add(item, problem)
                else:
                    yield batch

    def _identify(self, item: Item) -> None:
        """Note size and checksum of an image whose map is there."""
        try:
            with self.clock.measure("reading"), local_copy(item.source) as path:
                self._note_content(item, path)
        except (OSError, StoreError):  # the image may be gone meanwhile; its map is there
            return

    def _note_content(self, item: Item, path: Any) -> None:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            self.seen[item.number].bytes = file.tell()
        self.seen[item.number].checksum = f"sha256:{digest}"

    def read(self, item: Item) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the network's input of an image, and the image's own (height, width); raise a ValueError."""
        if item.aside:
            raise ValueError(SET_ASIDE)
        seen, size = self.seen[item.number], self.network.input_size
        seen.kind = "unreadable"
        with self.clock.measure("reading") as taken:
            try:
                with local_copy(item.source) as path:
                    with suppress(OSError):  # the reader says it in the words of getsmaps.py
                        self._note_content(item, path)
                    try:
                        pixels, own, warned = inspect_pixels(path, size, self.job.reading)
                    except ValueError as error:
                        raise ValueError(str(error).replace(str(path), public(item.source))) from error
            except FileNotFoundError as error:
                seen.kind = "missing"
                raise ValueError(f"{public(item.source)}: there is no such file") from error
            except StoreError:
                seen.kind = "store"
                raise
            except OSError as error:
                if isinstance(error, PermissionError):
                    seen.kind = "refused"
                raise ValueError(f"{public(item.source)} cannot be read: {said(error)}") from error
        seen.seconds += taken[0]
        seen.megapixels = own[0] * own[1] / 1e6
        if warned := warned | large_warning(own, size):
            self.outcome.warned.append((public(item.source), int(warned)))
        seen.kind = ""
        return pixels, own

    def call(self, pixels: np.ndarray) -> np.ndarray:
        """Run the network."""
        with self.clock.measure("network"):
            self.computed += len(pixels)
            return self.network.call(pixels)

    def write(self, item: Item, saliency: np.ndarray, own: tuple[int, int]) -> None:
        """Write a map unless one is there; raise a ValueError about this image, or an OSError about all."""
        if not item.wanted:
            return
        seen, options = self.seen[item.number], self.job.options
        seen.kind = "network"
        with self.clock.measure("writing") as taken:
            gray = gray_map(saliency, own if options.size == "original" else None, options.raw)
            content = io.BytesIO()
            gray.save(content, "PNG", compress_type=zlib.Z_RLE)
            seen.kind = "unwritable"
            if not self.bundle.probe:
                seen.written = self.folder.put_new(item.output, content.getvalue())
        seen.seconds += taken[0]
        seen.kind = ""

    def _add(self, item: Item, problem: str | None) -> None:
        seen = self.seen[item.number]
        share = self.clock.seconds["network"] / max(self.computed, 1)
        self.outcome.rows.append(
            Row(
                public(item.source), item.output, seen.bytes, seen.checksum, round(seen.seconds + share, 6),
                self.outcome.worker, problem, seen.kind if problem else "", seen.written, seen.megapixels, time.time(),
            )
        )  # fmt: skip
