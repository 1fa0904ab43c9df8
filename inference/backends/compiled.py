"""Run the folded network with torch.compile, which compiles it for each batch shape."""

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import torch

from inference.backends.eager import TorchEager
from inference.backends.shapes import FixedShapes, Runner, Shape
from models.detector import Detector, check_size
from models.hosts import Host
from utils.text import one_line

CPU_OPTIONS = {"freezing": True}
"""The weights are constants: inductor folds operations on them and packs them for the CPU's kernels once."""
GPU_OPTIONS = {"max_autotune": True, "triton.cudagraphs": True}
REQUIREMENT = "on the CPU it needs a C++ compiler (g++, or what CXX names), on a GPU triton"


class TorchCompiled(TorchEager):
    """The inference form, compiled by inductor at the first batch of each shape.

    Compiling takes half a minute or more, and needs a C++ compiler on the CPU. Arguments, attributes and errors are
    those of `TorchEager`.
    """

    name: ClassVar[str] = "compile"
    benchmark_cudnn = True

    def __init__(
        self,
        detector: Detector | Host,
        device: str = "auto",
        precision: str = "fp32",
        local_index: int | None = None,
    ) -> None:
        super().__init__(detector, device, precision, local_index)
        self.runners = FixedShapes(self._compile)
        # inductor keeps its CUDA graphs by thread, and fails where another one calls the network.
        self._thread = ThreadPoolExecutor(1) if self.device.type == "cuda" else None

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Return what `TorchEager.run` returns."""
        if self._thread is None:
            return self.runners(pixels)
        return self._thread.submit(self.runners, pixels).result()

    def _check_process(self) -> None:
        self.owner.check(self.name)  # the compiled code has its number of threads built in

    def _compile(self, shape: Shape) -> Runner:
        _, height, width, _ = shape
        check_size(height, width)
        options = GPU_OPTIONS if self.device.type == "cuda" else CPU_OPTIONS
        # Without `fullgraph` and `isolate_recompiles`, torch silently runs uncompiled in some cases.
        network = torch.compile(  # type: ignore[call-overload]
            self.network, dynamic=False, options=options, fullgraph=True, isolate_recompiles=True
        )

        def run(pixels: np.ndarray) -> np.ndarray:
            with torch.no_grad():  # freezing does not support inference mode
                return network(torch.from_numpy(pixels).to(self.device)).cpu().numpy()

        try:
            run(np.zeros(shape, np.uint8))
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = one_line(str(error).partition("Set TORCHDYNAMO_VERBOSE")[0])
            raise ValueError(
                f"backend compile cannot run here: {reason}; {REQUIREMENT}, or use another backend"
            ) from error
        return run
