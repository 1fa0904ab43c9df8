"""Compare the SR branch's output on the validation images with bicubic upsampling and the target.

    python -m tools.inspect_sr RUN --output sr.png [--csv FILE] [--weights FILE …] [--num-images N]
                               [--host-file FILE.py]

The networks are the run's checkpoints, oldest first, and its best.safetensors; or the files that --weights names, of
this run or of others on the same data. (`--checkpoints_kept 100` keeps a checkpoint of every epoch.) The table holds
PSNR and SSIM (Gaussian window, σ 1.5) of the luma in [0, 1], averaged over all validation images. The PNG shows a crop
of a few images at full resolution.
"""

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.inspect_sr",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="folder of a training run; its configuration names the validation images")
    add("--weights", type=Path, nargs="+", metavar="FILE", help="weights files or checkpoints, instead of the run's")
    add("--output", type=Path, required=True, metavar="FILE", help="PNG file to write")
    add("--csv", type=Path, metavar="FILE", help="also write the table as CSV: network, PSNR, SSIM")
    add("--num-images", type=int, default=6, metavar="N", help="images in the PNG (default: 6)")
    add("--rows", help=argparse.SUPPRESS)
    add("--host-file", type=Path, metavar="FILE.py", help="Python file that registers your own network; it is executed")
    options = parser.parse_args(arguments)
    if options.rows is not None:
        parser.error(f"--rows is now --num-images: use --num-images {options.rows}")
    return options


if __name__ == "__main__":
    command.answer_help(_parse_arguments)  # before torch, which takes seconds

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from datasets.cache import Records
from datasets.loader import SalientObjectBatches, Views
from datasets.transforms import ycbcr_to_rgb
from models.resize import bicubic_double
from models.sral import SRAL
from tools.run_networks import load_network, open_run
from training.config import TrainingConfig
from training.find_data import find_data
from training.visualize import TILE, draw_validation
from utils.files import atomic_write
from utils.outputs import check_file

BATCH = 8
BICUBIC = "bicubic"


def quality(image: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Return PSNR in dB and SSIM of one H×W luma image; image and target in [0, 1].

    Raises:
        OSError: scikit-image is not installed.
    """
    try:
        from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    except ImportError as error:
        raise OSError("PSNR and SSIM need scikit-image: pip install -r requirements-tools.txt") from error

    similarity = structural_similarity(
        image, target, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(peak_signal_noise_ratio(target, image, data_range=1.0)), float(similarity)


class Comparison:
    """Super-resolves the validation images of a run with several networks, and keeps a few images for the PNG.

    Args:
        config: the run's configuration.
        num_images: number of images in the PNG.

    Raises:
        ValueError: the run has no validation part.
    """

    def __init__(self, config: TrainingConfig, num_images: int):
        _, pairs = find_data(config.data)
        if not pairs:
            raise ValueError("the run has no validation part (data.validation is 0)")
        detector = config.detector
        self.samples = SalientObjectBatches(Records(pairs, detector.input_size, name=config.data.dataset))
        self.views = Views(detector.input_size, detector.mean, detector.std)
        shown = self.samples.spread(num_images)
        self.stems, self.shown = shown["stem"], self.views(shown)
        self.columns = {"target": self._crops(self.shown["sr_target"])}
        self.notes: dict[str, list[str]] = {}

    @torch.inference_mode()
    def add(self, caption: str, network: SRAL | None) -> tuple[float, float]:
        """Super-resolve every image with a network, or bicubically without one; return mean PSNR in dB and SSIM."""

        def super_resolve(views: dict[str, Tensor]) -> Tensor:
            if network is None:
                return bicubic_double(views["ycbcr"]).clamp(0, 1)
            residual = network(views["rgb"], views["ycbcr"])["sr_residual"]
            return network.asrd.trained_image(residual, views["ycbcr"]).clamp(0, 1)

        scores = {}
        for batch in self.samples.in_batches(BATCH):
            views = self.views(batch)
            for stem, image, target in zip(batch["stem"], super_resolve(views), views["sr_target"], strict=True):
                scores[stem] = quality(image[0].numpy(), target[0].numpy())
        self.columns[caption] = self._crops(super_resolve(self.shown))
        self.notes[caption] = ["{:.2f} dB, {:.4f}".format(*scores[stem]) for stem in self.stems]
        psnr, ssim = np.mean(list(scores.values()), axis=0).tolist()
        return psnr, ssim

    def draw(self, path: Path, title: str) -> None:
        """Write the PNG: one row for each image; columns for the target, the bicubic image and each network."""
        draw_validation(path, self.columns, self.stems, title, self.notes)

    def _crops(self, ycbcr: Tensor) -> Tensor:
        """Return RGB crops of the images in the PNG."""
        return torch.stack([_crop(*each) for each in zip(ycbcr_to_rgb(ycbcr), self.shown["mask"], strict=True)])


def _crop(image: Tensor, mask: Tensor) -> Tensor:
    """Return the TILE×TILE crop of a 3×H×W image around the centroid of its mask, 1×H×W; less for small images."""
    weight = mask[0] + 1e-6
    starts = []
    for axis, side in enumerate(mask.shape[1:]):
        center = float((weight.sum(1 - axis) * torch.arange(side)).sum() / weight.sum())
        starts.append(min(max(round(center) - TILE // 2, 0), max(side - TILE, 0)))
    top, left = starts
    return image[:, top : top + TILE, left : left + TILE]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Bad input ends with one line on standard error and a non-zero exit status."""
    options = _parse_arguments(arguments)
    try:
        config, files = open_run(options.run, options.weights, options.host_file)
        if options.num_images < 1:
            raise ValueError(f"--num-images {options.num_images}: at least 1")
        for file in filter(None, (options.output, options.csv)):
            check_file(file)
        comparison = Comparison(config, options.num_images)
        rows = [(BICUBIC, *comparison.add(BICUBIC, None))]
        for path in files:
            caption, network = load_network(path)
            caption = caption if caption not in comparison.notes else f"{path.parent.name}/{caption}"
            rows.append((caption, *comparison.add(caption, network)))
        data = f"{len(comparison.samples)} validation images of {config.data.dataset}"
        comparison.draw(options.output, f"{options.run}: parts of {len(comparison.stems)} of {data}")
        if options.csv:
            table = pd.DataFrame(rows, columns=["network", "PSNR", "SSIM"])
            atomic_write(options.csv, table.to_csv(index=False, lineterminator="\n"))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{data}, luma\n")
    print(f"{'':28} {'PSNR, dB':>8} {'SSIM':>7}")
    for caption, psnr, ssim in rows:
        print(f"{caption:28} {psnr:8.2f} {ssim:7.4f}")


if __name__ == "__main__":
    command.run(main)
