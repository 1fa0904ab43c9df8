"""Run the folded network as CUDA graphs, which launch all kernels of one batch shape at once."""

from typing import ClassVar

import numpy as np
import torch

from inference.backends.eager import TorchEager
from inference.backends.shapes import FixedShapes, Runner, Shape
from models.detector import Detector
from models.hosts import Host

WARM_UP = 3
"""Runs before the capture: cuDNN chooses its algorithms, and libraries allocate their memory."""


class CudaGraphs(TorchEager):
    """The inference form on a GPU, captured at the first batch of each shape and replayed for the following ones.

    For a single image, launching a kernel from the CPU takes longer than the kernel itself; a replay avoids that.
    Arguments, attributes and errors are those of `TorchEager`, except that 'auto' is the GPU.
    """

    name: ClassVar[str] = "cudagraphs"
    benchmark_cudnn = True

    def __init__(
        self,
        detector: Detector | Host,
        device: str = "auto",
        precision: str = "fp32",
        local_index: int | None = None,
    ) -> None:
        if device in ("cpu", "mps"):
            raise ValueError("backend cudagraphs runs on a CUDA GPU: use --device cuda, or another backend")
        super().__init__(detector, "cuda" if device == "auto" else device, precision, local_index)
        self.runners = FixedShapes(self._capture)

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Return what `TorchEager.run` returns."""
        return self.runners(pixels)

    def _capture(self, shape: Shape) -> Runner:
        source = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        side_stream = torch.cuda.Stream(self.device)
        side_stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side_stream):
            for _ in range(WARM_UP):
                self.network(source)
        torch.cuda.current_stream(self.device).wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            saliency = self.network(source)
        pinned = torch.empty(shape, dtype=torch.uint8, pin_memory=True)

        def run(pixels: np.ndarray) -> np.ndarray:
            pinned.copy_(torch.from_numpy(pixels))
            source.copy_(pinned, non_blocking=True)
            graph.replay()
            # A new buffer each time, as the maps are written while the next batch runs. torch caches its memory.
            result = torch.empty(saliency.shape, dtype=saliency.dtype, pin_memory=True)
            result.copy_(saliency, non_blocking=True)
            torch.cuda.current_stream(self.device).synchronize()
            return result.numpy()

        return run
