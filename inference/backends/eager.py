"""torch as it stands: the folded network, operation by operation."""

import numpy as np
import torch

from inference.fold import fold
from models.detector import Detector
from utils.devices import find_device, find_precision


class TorchEager:
    """A detector's exact inference form, run by torch.

    Args:
        detector: in eval mode; it is left as it is.
        device: 'auto' (a GPU where there is one), 'cpu' or 'cuda'.
        precision: 'fp32', 'bf16' or 'fp16': of weights and features.
        process: the number of this process on its machine, where several share the work: it takes the GPU of that
            number.

    Attributes:
        name, device, precision: what runs it, where and in what.
        input_size: (height, width) that the network was trained for.

    Raises:
        ValueError: no such device here, or it does not have the precision.
    """

    name = "torch"
    tries_algorithms = False  # cuDNN's, which pays where one shape comes often

    def __init__(self, detector: Detector, device: str = "auto", precision: str = "fp32", process: int | None = None):
        self.device = find_device(device, process)
        if self.device.index is not None:
            torch.cuda.set_device(self.device)
        self.dtype = find_precision(precision, self.device)
        self.precision = precision
        self.input_size = detector.config.input_size
        self.network = fold(detector).to(self.device, self.dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Saliency of a batch.

        Args:
            pixels: B×H×W×3 uint8 RGB; H×W is `input_size`, or another size that the detector takes.

        Returns:
            B×2H×2W float32 in [0, 1].

        Raises:
            ValueError: the batch does not fit into the GPU's memory, or the detector does not take its size.
        """
        try:
            # torch lets a GPU round fp32 convolutions to TF32, which is no fp32.
            with torch.backends.cudnn.flags(enabled=True, benchmark=self.tries_algorithms, allow_tf32=False):
                return self.run(np.ascontiguousarray(pixels))
        except torch.OutOfMemoryError as error:
            raise ValueError(f"a batch of {len(pixels)} does not fit into the GPU's memory: use less") from error

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """What `__call__` gives, for those who run the network in another way."""
        return self.network(torch.from_numpy(pixels).to(self.device)).cpu().numpy()
