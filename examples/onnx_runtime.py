"""Write the saliency map of one image with ONNX Runtime alone: numpy, Pillow and onnxruntime, no torch.

python examples/onnx_runtime.py IMAGE MAP.png [NETWORK.onnx]
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

SHIPPED = Path(__file__).resolve().parent.parent / "weights" / "lite2_eorssd_int8.onnx"


def stretched(saliency: np.ndarray) -> np.ndarray:
    """Return the saliency, H×W in [0, 1], stretched to [0, 1] unless its maximum is at most 0.25 (no object)."""
    low, high = saliency.min(), saliency.max()
    if high <= 0.25:
        return np.where(saliency < 0.25, 0, saliency)
    return (saliency - low) / (high - low) if high > low else saliency


def main(image: str, output: str, network: str | Path = SHIPPED) -> None:
    """Read an image, run the network and write an 8-bit gray PNG of the image's size."""
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    height, width = json.loads(session.get_modelmeta().custom_metadata_map["input_size"])
    rgb = Image.open(image).convert("RGB")
    pixels = np.asarray(rgb.resize((width, height), Image.Resampling.BILINEAR))  # uint8; the file normalizes itself
    saliency = session.run(["saliency"], {"image": pixels[None]})[0][0]  # 2H×2W float32 in [0, 1]
    resized = Image.fromarray(saliency).resize(rgb.size, Image.Resampling.BILINEAR)
    Image.fromarray((np.clip(stretched(np.asarray(resized)), 0, 1) * 255).astype(np.uint8)).save(output)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
