"""What runs the network: 8-bit RGB in, saliency out, on a device and in a precision that are really there."""

import os

import numpy as np
import torch

from models.detector import Detector

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchEager:
    """A detector run by torch as it stands, under autocast where the precision is not fp32.

    Args:
        detector: in eval mode; it is moved to the device.
        device: 'auto' (a GPU where there is one), 'cpu' or 'cuda'.
        precision: 'fp32', 'bf16' or 'fp16'.
        process: the number of this process on its machine, where several share the work: it takes the GPU of that
            number.

    Raises:
        ValueError: no such device here, or it does not have the precision.
    """

    def __init__(self, detector: Detector, device: str = "auto", precision: str = "fp32", process: int | None = None):
        self.device = find_device(device, process)
        if self.device.index is not None:
            torch.cuda.set_device(self.device)
        self.dtype = find_precision(precision, self.device)
        self.detector = detector.to(self.device, memory_format=torch.channels_last)
        self.input_size = detector.config.input_size
        self.mean, self.std = (
            torch.tensor(values, device=self.device).view(3, 1, 1)
            for values in (detector.config.mean, detector.config.std)
        )

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
            rgb = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
            rgb = rgb.float().div_(255).sub_(self.mean).div_(self.std)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                logits = self.detector(rgb)["logits"]
            return logits[:, 0].float().sigmoid().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise ValueError(f"a batch of {len(pixels)} does not fit into the GPU's memory: use less") from error


def find_device(name: str, process: int | None = None) -> torch.device:
    """The device of that name; 'auto' is a GPU where there is one. Raises ValueError where it is not there.

    Where several processes share a machine's GPUs, each has the one of its own number. `accelerate launch --cpu` makes
    'auto' the CPU.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {name!r}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device cuda: torch {torch.__version__} finds no GPU here; use cpu or auto")
    launched_for_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")
    if name == "cpu" or (name == "auto" and launched_for_cpu) or not torch.cuda.is_available():
        return torch.device("cpu")
    if process is None:
        return torch.device("cuda")
    if process >= torch.cuda.device_count():
        raise ValueError(
            f"{process + 1} or more processes share {torch.cuda.device_count()} GPU(s): launch one process a GPU, "
            "or use the device cpu"
        )
    return torch.device("cuda", process)


def find_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision of that name. Raises ValueError where the device does not have it."""
    if name not in PRECISIONS:
        raise ValueError(f"precision {name!r}: choose {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 needs a GPU (the device is cpu): use bf16 or fp32")
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(f"precision bf16: {torch.cuda.get_device_name()} does not have it; use fp16 or fp32")
    return PRECISIONS[name]
