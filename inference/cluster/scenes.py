"""Hand out the tasks of scenes: look at a scene, make its bands on all workers, join them on one."""

import os
import re
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from inference.cluster.addresses import is_url, join, public
from inference.cluster.bands import Prepared, SceneTask, join_scene, make_band, prepare_scene
from inference.cluster.bundles import KILLED
from inference.cluster.manifest import Row
from inference.cluster.plan import ClusterPlan
from inference.cluster.progress import Progress
from inference.cluster.tasks import Task
from inference.cluster.worker import Outcome
from inference.scenes.polygons import check_polygon_file


@dataclass(eq=False)
class _Scene:
    """A scene and how far it is.

    Attributes:
        task: what its tasks know.
        prepared: what the first one found.
        left: number of bands that are not finished.
        seconds: of all its tasks.
        closed: its row is recorded; what of it is still out does not matter.
        begun: a task of it was sent out before.
    """

    task: SceneTask
    prepared: Prepared | None = None
    left: int = 0
    seconds: float = 0.0
    closed: bool = False
    begun: bool = False


@dataclass(eq=False)
class _Step:
    """A task of a scene: 'prepare', 'band' or 'join'."""

    scene: _Scene
    kind: str
    band: int = 0
    deaths: int = 0


@dataclass
class SceneWork:
    """The scenes of a run.

    Args:
        plan: what is left.
        options: the command line.
        key: the network's.
        record: takes each row.
        progress: shows finished bands.
    """

    plan: ClusterPlan
    options: Namespace
    key: dict
    record: Callable[[Row], None]
    progress: Progress
    _steps: deque[_Step] = field(default_factory=deque)
    _next: int = 0

    def next(self, workers: int) -> Task | None:
        """Return what was begun before what was not."""
        while self._steps:
            step = self._steps.popleft()
            if not step.scene.closed:
                return self._task(step)
        if self._next < len(self.plan.left):
            number = int(self.plan.left[self._next])
            self._next += 1
            return self._task(_Step(_Scene(self._scene_task(number)), "prepare"))
        return None

    def is_finished(self) -> bool:
        """Return whether no step is left, apart from those that are out."""
        return self._next >= len(self.plan.left) and all(step.scene.closed for step in self._steps)

    def done(self, task: Task, outcome: Outcome) -> None:
        """Go on with a scene, or close it."""
        step: _Step = task.subject
        scene = step.scene
        scene.seconds += time.monotonic() - task.started
        if scene.closed or outcome.problem is not None:
            return
        if outcome.rows:
            self._close(scene, replace(outcome.rows[0], seconds=round(scene.seconds, 3)))
        elif step.kind == "prepare":
            self._begin(scene, outcome.value)
        else:
            self._finish_band(scene, step.band)

    def died(self, task: Task, reason: str) -> None:
        """Try again, or set the scene aside."""
        step: _Step = task.subject
        step.deaths += 1
        if step.scene.closed:
            return
        if step.deaths < self.options.attempts:
            self._steps.appendleft(step)
            return
        what = f"band {step.band}" if step.kind == "band" else step.kind
        source, name = public(step.scene.task.source), step.scene.task.map_name
        error = f"{source}: set aside: {reason}, {step.deaths} times ({what})"
        self._close(step.scene, Row(source, name, error=error, kind=KILLED, time=time.time()))

    def give_back(self, task: Task) -> None:
        """Take back a step whose fault it was not."""
        self._steps.appendleft(task.subject)

    def _close(self, scene: _Scene, row: Row) -> None:
        scene.closed = True
        self.record(row)

    def _begin(self, scene: _Scene, prepared: Prepared) -> None:
        scene.prepared = prepared
        self.progress.say(prepared.words)
        bands = [band for band in range(prepared.job.grid.bands) if band not in prepared.finished]
        scene.left = len(bands)
        self._steps.extend(_Step(scene, "band", band) for band in bands)
        if not bands:
            self._steps.appendleft(_Step(scene, "join"))

    def _finish_band(self, scene: _Scene, band: int) -> None:
        assert scene.prepared is not None
        grid = scene.prepared.job.grid
        self.progress.add_pixels(grid.area(band, 0).height * grid.width / 1e6)
        scene.left -= 1
        if not scene.left:
            self._steps.appendleft(_Step(scene, "join"))

    def _task(self, step: _Step) -> Task:
        scene = step.scene
        if step.kind == "prepare":
            check, scene.begun = self.options.resume or scene.begun, True
            return Task("scene", prepare_scene, (scene.task, check), step)
        if step.kind == "band":
            return Task("band", make_band, (scene.task, scene.prepared, step.band), step)
        return Task("join", join_scene, (scene.task, scene.prepared), step)

    def _scene_task(self, number: int) -> SceneTask:
        stem = self.plan.output(number).removesuffix(".tif")
        source = self.plan.requested.sources[number]
        polygons = polygon_address(self.options, stem, len(self.plan.requested.sources) > 1)
        return SceneTask(self.options, self.options.output, self.key, source, stem, polygons)


def polygon_address(options: Namespace, stem: str, several: bool) -> str | None:
    """Return the address of a scene's file of polygons; with several scenes it gets the scene's stem.

    Raises:
        ValueError: it cannot be written on the workers.
    """
    if not options.polygons:
        return None
    check_polygon_file(Path(options.polygons))
    address = re.sub(r"^([a-z][a-z0-9+.-]+):/(?=[^/])", r"\1://", str(options.polygons))  # a Path has lost a slash
    if not is_url(address):
        if is_url(options.output):
            raise ValueError(f"--polygons {address}: give an address beside --output, such as s3://bucket/objects.gpkg")
        address = os.path.abspath(address)
    if not several:
        return address
    parent, _, name = address.rpartition("/")
    first, suffix = os.path.splitext(name)
    return join(parent or "/", f"{first}_{stem.replace('/', '_')}{suffix}")
