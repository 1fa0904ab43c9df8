"""A backend of your own: the detector in double precision, a reference for the others."""

import numpy as np
import torch


class Float64:
    name = "float64"

    def __init__(self, detector, device="auto", precision="fp32", local_index=None):
        self.device, self.precision = torch.device("cpu"), precision
        self.input_size = detector.config.input_size
        self.network = detector.double()
        self.mean, self.std = (torch.tensor(each).view(3, 1, 1) for each in (detector.config.mean, detector.config.std))

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        rgb = torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 255  # from B×H×W×3 uint8
        logits = self.network((rgb - self.mean) / self.std)["logits"]
        return logits[:, 0].sigmoid().float().numpy()  # B×2H×2W in [0, 1]
