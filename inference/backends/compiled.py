"""torch.compile: inductor's kernels for each shape of batch."""

import numpy as np
import torch

from inference.backends.eager import TorchEager
from inference.backends.shapes import FixedShapes, Runner, Shape
from models.detector import Detector, check_size

CPU_OPTIONS = {"freezing": True}
"""Weights are constants: inductor folds what hangs on them alone and packs them for the CPU's kernels once."""
GPU_OPTIONS = {"max_autotune": True, "triton.cudagraphs": True}
NEEDS = "on the CPU it needs a C++ compiler (g++, or what CXX names), on a GPU triton"


class TorchCompiled(TorchEager):
    """A detector's exact inference form, compiled by inductor when a shape comes for the first time.

    That takes half a minute and more, and on the CPU a C++ compiler. Arguments, attributes and errors as `TorchEager`.
    """

    name = "compile"
    tries_algorithms = True

    def __init__(self, detector: Detector, device: str = "auto", precision: str = "fp32", process: int | None = None):
        super().__init__(detector, device, precision, process)
        self.run = FixedShapes(self._compiled)

    def _compiled(self, shape: Shape) -> Runner:
        check_size(*shape[1:3])
        options = GPU_OPTIONS if self.device.type == "cuda" else CPU_OPTIONS
        # Without the last two, torch goes on uncompiled where it meets something new or too many shapes.
        network = torch.compile(self.network, dynamic=False, options=options, fullgraph=True, isolate_recompiles=True)

        def run(pixels: np.ndarray) -> np.ndarray:
            with torch.no_grad():  # freezing does not know inference mode
                return network(torch.from_numpy(pixels).to(self.device)).cpu().numpy()

        try:
            run(np.zeros(shape, np.uint8))
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).partition("Set TORCHDYNAMO_VERBOSE")[0].split())[:300]
            raise ValueError(f"backend compile cannot run here: {reason}; {NEEDS}, or use another backend") from error
        return run
