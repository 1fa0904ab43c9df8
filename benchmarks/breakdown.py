"""Measure the time of a training step by parts of the network, forward and backward.

The timeline has no gaps: a mark names the part that follows, and the time until the next mark counts for that part. In
the forward pass, modules set marks on entry and exit. In the backward pass, each node of autograd's graph marks the
part whose forward pass created it, in whatever order autograd runs them; the graph is walked from a part's outputs to
its inputs. Gradient accumulation counts for the node before it. On a GPU the marks are events in the stream, so a
delay of the host counts for the part that follows.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils.hooks import RemovableHandle

from benchmarks.complexity import PARTS
from benchmarks.training_sides import Batches, OurSide
from training import trainer

BETWEEN, LOSSES = "maps to full size, casts", "losses"
OWN = ("marks", "")
"""Label of the time that setting marks takes, which is dropped."""

Label = tuple[str, str]


class Timeline:
    """The device's time, from mark to mark.

    Args:
        device: a CPU, timed by the host's clock, or a GPU, timed by events.
    """

    def __init__(self, device: torch.device):
        self.on_gpu = device.type == "cuda"
        self._marks: list[tuple[Label, Any]] = []

    def mark(self, part: str, phase: str = "") -> None:
        """Count the time from here on for this part."""
        if self._marks and self._marks[-1][0] == (part, phase):
            return
        self._marks.append(((part, phase), self._now()))

    def milliseconds(self) -> dict[Label, float]:
        """Return the milliseconds so far by (part, phase), and reset. Synchronizes a GPU."""
        self.mark("end")
        if self.on_gpu:
            torch.cuda.synchronize()
        spent: dict[Label, float] = defaultdict(float)
        for (label, start), (_, end) in zip(self._marks, self._marks[1:], strict=False):
            spent[label] += start.elapsed_time(end) if self.on_gpu else (end - start) * 1e3
        self._marks = []
        spent.pop(OWN, None)
        return dict(spent)

    def before(self, function: Callable, part: str) -> Callable:
        """Return the function with a mark before each call."""

        def marked(*arguments: Any, **named: Any) -> Any:
            self.mark(part)
            return function(*arguments, **named)

        return marked

    def _now(self) -> Any:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class PartMarks:
    """Set marks on a timeline when the forward and backward passes enter each of PARTS of a training network.

    Args:
        network: the training network, not compiled.
        timeline: receives the marks.
    """

    def __init__(self, network: nn.Module, timeline: Timeline):
        self.timeline = timeline
        self._parts: dict[Node, str] = {}
        self._hooks: list[RemovableHandle] = []
        self._watch(network, BETWEEN, LOSSES)
        there = {part: name for part, name in PARTS.items() if name in dict(network.named_modules())}
        for part, name in there.items():  # a detector's parts, or a host
            module = network.get_submodule(name)
            for each in module if isinstance(module, nn.ModuleList) else (module,):
                self._watch(each, part, BETWEEN)

    def before_backward(self, total: Tensor) -> Tensor:
        """Prepare the graph's nodes to set marks in the backward pass that follows; return `total`."""
        self.timeline.mark(*OWN)
        self._claim(total, LOSSES)
        for node, part in self._parts.items():
            if not node.name().endswith("AccumulateGrad"):
                node.register_prehook(lambda _, part=part: self.timeline.mark(part, "backward"))
        self._parts = {}
        self.timeline.mark(LOSSES, "backward")
        return total

    def remove(self) -> None:
        """Remove the hooks from the network."""
        for hook in self._hooks:
            hook.remove()

    def _watch(self, module: nn.Module, part: str, after: str) -> None:
        def enter(_: nn.Module, inputs: tuple, named: dict) -> None:
            self.timeline.mark(*OWN)
            self._claim((inputs, named), BETWEEN)
            self.timeline.mark(part, "forward")

        def leave(_: nn.Module, inputs: tuple, outputs: Any) -> None:
            self.timeline.mark(*OWN)
            self._claim(outputs, part)
            self.timeline.mark(after, "forward")

        self._hooks += [module.register_forward_pre_hook(enter, with_kwargs=True), module.register_forward_hook(leave)]

    def _claim(self, tensors: Any, part: str) -> None:
        """Assign to the part all nodes behind these tensors that have no part yet."""
        stack = [tensor.grad_fn for tensor in _tensors(tensors)]
        while stack:
            node = stack.pop()
            if node is not None and node not in self._parts:
                self._parts[node] = part
                stack += [behind for behind, _ in node.next_functions]


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield every tensor in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)


def break_down(side: OurSide, batches: Batches, warm_up: int) -> dict[tuple[str, str], float]:
    """Return milliseconds a step by (part, phase), the mean over all but the first `warm_up` batches."""
    own, timeline = side.trainer, Timeline(side.accelerator.device)
    marks = PartMarks(side.network, timeline)
    of_terms = trainer.joint_loss
    watched = [(own.accelerator, "clip_grad_norm_", "clip"), (own.optimizer, "step", "optimizer, schedule")]
    watched += [(own.ema, "update", "EMA")] if own.ema is not None else []
    with ExitStack() as stack:
        stack.callback(marks.remove)
        stack.enter_context(patch.object(trainer, "joint_loss", lambda *terms: marks.before_backward(of_terms(*terms))))
        for owner, method, part in watched:
            stack.enter_context(patch.object(owner, method, timeline.before(getattr(owner, method), part)))
        source = iter(side.loaded(batches))
        for number in range(len(batches)):
            if number == warm_up:
                timeline.milliseconds()
            timeline.mark("gather")
            batch = next(source)
            timeline.mark("views")
            side.step(side.to_views(batch))
        spent = timeline.milliseconds()
    return {label: milliseconds / (len(batches) - warm_up) for label, milliseconds in spent.items()}
