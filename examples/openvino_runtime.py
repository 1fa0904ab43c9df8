"""Write the saliency maps of a folder of images with OpenVINO alone: numpy, Pillow and openvino, no torch.

python examples/openvino_runtime.py IMAGES MAPS [NETWORK.xml or NETWORK.onnx]
"""

import sys
from pathlib import Path

import numpy as np
import openvino
from PIL import Image

SHIPPED = Path(__file__).resolve().parent.parent / "weights" / "lite2_eorssd_int8.onnx"
SIDE = 224  # of the input that the shipped networks were trained with


def main(images: str, maps: str, network: str | Path = SHIPPED) -> None:
    """Write the raw map (saliency × 255) of each .jpg file in a folder, 448×448, as NAME.png."""
    core = openvino.Core()
    model = core.read_model(network)
    model.reshape([1, SIDE, SIDE, 3])  # faster
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"})
    Path(maps).mkdir(parents=True, exist_ok=True)

    def write(request: openvino.InferRequest, stem: str) -> None:
        Image.fromarray(request.get_tensor("map").data[0]).save(Path(maps, f"{stem}.png"))

    queue = openvino.AsyncInferQueue(compiled)
    queue.set_callback(write)
    for file in sorted(Path(images).glob("*.jpg")):
        with Image.open(file) as image:
            pixels = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        queue.start_async({"image": np.asarray(pixels)[None]}, file.stem)
    queue.wait_all()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
