"""Make maps of a folder as the authors' release evaluates: one image at a time, in fp32, with the training network.

    python -m benchmarks.released_path WEIGHTS IMAGES OUTPUT

It is our implementation of the release's description, a baseline of `benchmarks/end_to_end.py`. The image is decoded
for RGB and again for YCbCr, the SR branch and all heads run, and the map is a PNG as Pillow writes it by default.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.baselines import Unfolded, evaluation_network, load_network
from inference.maps import gray_map


def main(weights: str, images: str, output: str) -> None:
    """Write the map of every image of a folder."""
    network = Unfolded(evaluation_network(load_network(Path(weights))), torch.device("cpu"))
    height, width = network.config.input_size
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (network.config.mean, network.config.std))
    target = Path(output)
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(Path(images).iterdir()):
        rgb, ycbcr = (_planes(Image.open(path).convert(mode), (width, height)) for mode in ("RGB", "YCbCr"))
        gray_map(network.maps((rgb - mean) / std, ycbcr)[0]).save(target / f"{path.stem}.png")


def _planes(image: Image.Image, size: tuple[int, int]) -> torch.Tensor:
    """Return 1×3×H×W float32 in [0, 1] of an image resized to (width, height)."""
    pixels = torch.from_numpy(np.array(image.resize(size, Image.Resampling.BILINEAR)))
    return pixels.permute(2, 0, 1)[None].contiguous().float().div(255)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("error: give a .safetensors file, a folder of images and a folder for the maps")
    main(*sys.argv[1:])
