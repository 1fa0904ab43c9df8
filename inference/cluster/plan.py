"""Decide which inputs are left, and form the batches that a single process would form."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inference.cluster.inputs import Requested
from inference.cluster.manifest import FOLDER, read_status
from inference.cluster.storage import Folder


@dataclass(frozen=True)
class ClusterPlan:
    """What a run has to do.

    Attributes:
        requested: all inputs.
        outputs: name of each one's output below the output folder.
        left: numbers of the inputs whose outputs are to be made, ascending.
        again: which of all inputs failed in an earlier run, bool.
    """

    requested: Requested
    outputs: pa.Array
    left: np.ndarray
    again: np.ndarray

    @property
    def kept(self) -> int:
        """Return the number of outputs that earlier runs made."""
        return len(self.requested.sources) - len(self.left)

    def output(self, number: int) -> str:
        """Return the name of an input's output."""
        name: str = self.outputs[number].as_py()
        return name

    def batches(self, size: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Yield (numbers of a batch, those of them to write).

        A network's rounding depends on its batch, so a batch that was interrupted is computed whole, as a single
        process would compute it, and only the maps that are missing are written. Inputs that failed before are
        batched among themselves.
        """
        total = len(self.requested.sources)
        fresh = self.left[~self.again[self.left]]
        for numbers in np.split(fresh, np.flatnonzero(np.diff(fresh // size)) + 1) if len(fresh) else ():
            start = int(numbers[0]) // size * size
            batch = range(start, min(start + size, total))
            yield tuple(n for n in batch if not self.again[n]), tuple(numbers.tolist())
        failed = self.left[self.again[self.left]]
        for start in range(0, len(failed), size):
            repeated = tuple(failed[start : start + size].tolist())
            yield repeated, repeated


def make_plan(requested: Requested, folder: Folder, ending: str, resume: bool) -> ClusterPlan:
    """Return what is left to do.

    Args:
        requested: all inputs.
        folder: the output folder.
        ending: what follows the stem in an output's name, such as '.png'.
        resume: leave out what the manifest calls done. Without it, no output may be there.

    Raises:
        ValueError: without `resume`, there are outputs or a manifest; or the manifest is broken.
    """
    stems = pa.array(requested.stems, pa.string())
    outputs = pc.binary_join_element_wise(stems, pa.scalar(ending), "")
    count = len(stems)
    if not resume:
        _check_fresh(folder, outputs)
        return ClusterPlan(requested, outputs, np.arange(count), np.zeros(count, bool))
    status = read_status(folder)
    done = pc.is_in(outputs, pc.unique(status.filter(status["done"])["output"])).to_numpy(zero_copy_only=False)
    tried = pc.is_in(outputs, pc.unique(status["output"])).to_numpy(zero_copy_only=False)
    return ClusterPlan(requested, outputs, np.flatnonzero(~done), tried & ~done)


def _check_fresh(folder: Folder, outputs: pa.Array) -> None:
    """Raise a ValueError if a run was begun here, or an output is there."""
    if any(folder.names(FOLDER)):
        raise ValueError(f"--output {folder} holds an earlier run: go on with --resume, or give another folder")
    names = set(folder.names())
    if not names:
        return
    there = pc.is_in(outputs, pa.array(sorted(names)))
    if count := there.true_count:
        first = outputs.filter(there)[0].as_py()
        raise ValueError(
            f"--output {folder}: {count} of {len(outputs)} maps are there ({first}): keep them by --resume, or give "
            "another folder"
        )
