"""CUDA graphs: on a GPU, all of the network's kernels of one shape of batch started at once."""

import numpy as np
import torch

from inference.backends.eager import TorchEager
from inference.backends.shapes import FixedShapes, Runner, Shape
from models.detector import Detector

WARM_UP = 3
"""Runs before the recording: cuDNN chooses its algorithms, and libraries take their memory."""


class CudaGraphs(TorchEager):
    """A detector's exact inference form on a GPU, recorded when a shape comes for the first time and replayed then.

    A single image's kernels are over sooner than the CPU can start the next: replayed, they follow one another at once.
    Arguments, attributes and errors as `TorchEager`; 'auto' is the GPU here.
    """

    name = "cudagraphs"
    tries_algorithms = True

    def __init__(self, detector: Detector, device: str = "auto", precision: str = "fp32", process: int | None = None):
        if device == "cpu":
            raise ValueError("backend cudagraphs runs on a GPU: use --device cuda, or another backend")
        super().__init__(detector, "cuda", precision, process)
        self.run = FixedShapes(self._recorded)

    def _recorded(self, shape: Shape) -> Runner:
        source = torch.zeros(shape, dtype=torch.uint8, device=self.device)
        aside = torch.cuda.Stream(self.device)
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.network(source)
        torch.cuda.current_stream(self.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            saliency = self.network(source)
        waiting = torch.empty(shape, dtype=torch.uint8, pin_memory=True)

        def run(pixels: np.ndarray) -> np.ndarray:
            waiting.copy_(torch.from_numpy(pixels))
            source.copy_(waiting, non_blocking=True)
            graph.replay()
            # Its own memory each time, for the maps are still read while the next batch runs; torch keeps it for reuse.
            found = torch.empty(saliency.shape, dtype=saliency.dtype, pin_memory=True)
            found.copy_(saliency, non_blocking=True)
            torch.cuda.current_stream(self.device).synchronize()
            return found.numpy()

        return run
