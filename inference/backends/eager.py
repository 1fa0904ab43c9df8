"""Run the folded network with torch, operation by operation."""

from threading import Lock
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from inference.backends.processes import Owner
from inference.fold import fold
from models.detector import Detector
from models.hosts import Host
from utils.devices import find_device, find_precision


class TorchEager:
    """The inference form of a detector or host, run by torch. Several threads may call it; on a GPU they take turns.

    Args:
        detector: in eval mode; it is not changed.
        device: 'auto' (the GPU if there is one), 'cpu', 'cuda', 'cuda:N' or 'mps'.
        precision: 'fp32', 'bf16' or 'fp16', of weights and features.
        local_index: rank of this process on its machine, if several processes share the GPUs: it takes the GPU of that
            number.

    Attributes:
        name: name of the backend.
        device, precision: where and in which precision the network runs.
        input_size: (height, width) of the training.

    Raises:
        ValueError: there is no such device, or the device does not have the precision.
    """

    name: ClassVar[str] = "torch"
    benchmark_cudnn = False
    """Whether cuDNN measures its algorithms for each shape, which pays off for shapes that repeat."""

    def __init__(
        self,
        detector: Detector | Host,
        device: str = "auto",
        precision: str = "fp32",
        local_index: int | None = None,
    ) -> None:
        self.device = find_device(device, local_index)
        if self.device.index is not None:
            torch.cuda.set_device(self.device)
        self.dtype = find_precision(precision, self.device)
        self.precision = precision
        self.input_size = detector.config.input_size
        self.owner, self._lock = Owner(), Lock()
        folded = fold(detector)
        self.network: nn.Module = folded.to(  # type: ignore[call-overload]
            self.device, self.dtype, memory_format=torch.channels_last
        )

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return the saliency of a batch.

        Args:
            pixels: B×H×W×3 uint8 RGB; H×W is `input_size`, or another size that the detector takes.

        Returns:
            B×2H×2W float32 in [0, 1].

        Raises:
            ValueError: the batch does not fit into the GPU's memory, the detector does not take images of that size, or
                this process was forked after the network was loaded and cannot compute with it.
        """
        pixels = np.ascontiguousarray(pixels)
        self.owner.check(self.name)  # MKL may wait forever for a lock that another thread held
        try:
            if self.device.type == "cpu":
                return self.run(pixels)
            # By default torch lets a GPU round fp32 convolutions to TF32, which has 10 bits of mantissa. The lock keeps
            # these flags, which are the whole process's, and what CUDA graphs read and write to one thread at a time.
            flags = torch.backends.cudnn.flags(enabled=True, benchmark=self.benchmark_cudnn, allow_tf32=False)
            with self._lock, flags:
                return self.run(pixels)
        except torch.OutOfMemoryError as error:
            raise ValueError(f"a batch of {len(pixels)} does not fit into the GPU's memory: use less") from error

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Return what `__call__` returns; subclasses run the network in another way."""
        return self.network(torch.from_numpy(pixels).to(self.device)).cpu().numpy()
