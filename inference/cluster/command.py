"""The command: plan, connect, run, report."""

import sys
import warnings
from argparse import Namespace
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from datasets.file_warnings import FileWarning, warning_lines
from datasets.io import AS_STORED, Reading
from inference.cluster.addresses import is_url
from inference.cluster.bundles import ImageWork
from inference.cluster.connection import Connection, connected
from inference.cluster.engine import Engine
from inference.cluster.images import ImageJob
from inference.cluster.inputs import Requested, find_inputs
from inference.cluster.manifest import ManifestWriter, Row, check_job
from inference.cluster.plan import ClusterPlan, make_plan
from inference.cluster.progress import Progress, summarize
from inference.cluster.storage import Folder, local_copy
from inference.cluster.tasks import Task, Work
from inference.cluster.worker import Outcome, introduce, warm_up
from inference.reading import SAMPLED, reading_of

DEPENDS_ON = ("size", "raw", "suffix", "bands", "range", "scene")
SCENES_DEPEND_ON = ("context", "context_m", "gsd", "overlap", "threshold", "min_area", "dtype", "polygons")


def make_archive(options: Namespace) -> int:
    """Make the maps of an archive; return how many inputs have none.

    Raises:
        OSError, ValueError: the inputs cannot be found, the output cannot be written, or the cluster stays away.
    """
    folder = Folder(options.output)
    folder.check_writable()
    if options.scene:
        _check_scene_packages(options)
    plan = make_plan(
        find_inputs(options), folder, f"{options.suffix}{'.tif' if options.scene else '.png'}", options.resume
    )
    _say_plan(plan, options)
    if not len(plan.left):
        return 0
    reading = AS_STORED if options.scene else _reading(options, plan.requested)
    with connected(options) as connection:
        _say_cluster(connection)
        key, where = _introduced(connection, options)
        check_job(folder, _job(options, key, reading))
        manifest = ManifestWriter(folder)
        progress = Progress(len(plan.left), "scene" if options.scene else "image", fresh=not options.resume)
        engine = Engine(
            connection, _work(options, plan, key, reading, partial(_record, manifest, progress), progress),
            options.timeout, options.patience, manifest.flush_if_due,
        )  # fmt: skip
        try:
            engine.run()
        finally:
            progress.close()
            manifest.flush()
    for line in warning_lines("input", sorted((name, FileWarning(flags)) for name, flags in engine.totals.warned)):
        warnings.warn(line, stacklevel=2)
    print("\n".join(summarize(progress, engine.totals, plan.kept, str(folder), where)), flush=True)
    return progress.failed


def _check_scene_packages(options: Namespace) -> None:
    """Raise a ValueError if a package is missing here, or polygons cannot be written."""
    from datasets.raster import rasterio_module
    from inference.cluster.scenes import polygon_address

    rasterio_module()
    polygon_address(options, "", False)


def _record(manifest: ManifestWriter, progress: Progress, row: Row) -> None:
    manifest.add(row)
    progress.add(row)


def _say_plan(plan: ClusterPlan, options: Namespace) -> None:
    unit = "scenes" if options.scene else "images"
    kept = f", {plan.kept} more are done" if plan.kept else ""
    print(f"{len(plan.left)} {unit} to make{kept}", file=sys.stderr, flush=True)


def _say_cluster(connection: Connection) -> None:
    link = connection.dashboard
    print(f"scheduler {connection.address}" + f", dashboard {link}" * bool(link), file=sys.stderr, flush=True)


def _reading(options: Namespace, requested: Requested) -> Reading:
    """Return how images are read; a value range is estimated from images spread evenly over all."""
    if options.bands is None and options.range is None:
        return AS_STORED
    count = len(requested.sources)
    chosen = [requested.sources[index * count // SAMPLED] for index in range(SAMPLED)]
    sampled = list(dict.fromkeys(chosen))
    if not any(map(is_url, sampled)):
        reading, line = reading_of(options.bands, options.range, requested.sources)
    else:
        with ExitStack() as copies:
            files = [str(copies.enter_context(local_copy(source))) for source in sampled]
            reading, line = reading_of(options.bands, options.range, files)
    if line:
        print(line, flush=True)
    return reading


class _Introduction:
    """A worker opens the network and describes it, another one where a worker dies of it; the others open it meanwhile.

    Nothing waits for the others, and nothing depends on them: a worker that cannot open the network says so when it
    gets its first bundle.
    """

    def __init__(self, options: Namespace) -> None:
        self.task: Task | None = Task("network", introduce, (options,), self)
        self.found: Outcome | None = None
        self.options, self.deaths, self.others = options, 0, 0

    def next(self, workers: int) -> Task | None:
        if self.task is None and self.others < workers - 1:
            self.others += 1
            return Task("network", warm_up, (self.options,), None)
        task, self.task = self.task, None
        return task

    def is_finished(self) -> bool:
        return self.found is not None

    def done(self, task: Task, outcome: Outcome) -> None:
        if task.subject is self:
            self.found = outcome

    def died(self, task: Task, reason: str) -> None:
        if task.subject is not self:
            return
        self.deaths += 1
        if self.deaths >= self.options.attempts:
            raise ValueError(f"no worker can open the network: {reason}, {self.deaths} times (--attempts)")
        self.task = task

    def give_back(self, task: Task) -> None:
        if task.subject is self:
            self.task = task


def _introduced(connection: Connection, options: Namespace) -> tuple[dict, str]:
    """Return what the maps depend on of the network, and what it runs on."""
    work = _Introduction(options)
    Engine(connection, work, options.timeout, options.patience, lambda: None).run(lambda: work.found is not None)
    assert work.found is not None
    key, where = work.found.value
    return key, where


def _job(options: Namespace, key: dict, reading: Reading) -> dict:
    """Return what the maps depend on, as JSON values."""
    names = (*DEPENDS_ON, *SCENES_DEPEND_ON) if options.scene else DEPENDS_ON
    chosen = {name: getattr(options, name) for name in names}
    values = {name: str(value) if isinstance(value, Path) else value for name, value in chosen.items()}
    return {**key, **values, "bounds": reading.bounds and list(reading.bounds)}


def _work(
    options: Namespace, plan: ClusterPlan, key: dict, reading: Reading, record: partial[None], progress: Progress
) -> Work:
    if not options.scene:
        job = ImageJob(options, options.output, reading, key)
        return ImageWork(plan, job, options.attempts, options.resume, record)
    from inference.cluster.scenes import SceneWork  # needs requirements-scenes.txt

    return SceneWork(plan, options, key, record, progress)
