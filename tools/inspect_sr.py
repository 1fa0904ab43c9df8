"""What the SR branch makes of the validation images: beside the bicubic image and the target, with PSNR and SSIM.

    python -m tools.inspect_sr RUN --output sr.png [--weights FILE …] [--rows N] [--host-file FILE.py]

Shown are the run's checkpoints, the oldest first, and then its best.safetensors; or the files that --weights names, of
this run or of others on the same data. (`--checkpoints_kept 100` has a run keep what it was like after every epoch.)
The table has the means over the validation part; the picture shows a part of a few of its images, pixel by pixel. PSNR
and SSIM (Gaussian window, σ 1.5) are those of the luma, in [0, 1].
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from datasets.cache import Records
from datasets.loader import SalientObjectBatches, Views
from datasets.transforms import ycbcr_to_rgb
from models.hosts import run_host_file
from models.resize import bicubic_double
from models.sral import SRAL, build_sral
from models.state import fill
from models.weights import load_sral, read_header
from training.checkpoint import FOLDER, checkpoints, read_network
from training.config import TrainingConfig, from_record
from training.data import find_data
from training.visualize import TILE, draw_validation

BATCH = 8
BICUBIC = "bicubic"


def quality(image: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """PSNR in dB and SSIM of one H×W luma image, both in [0, 1]."""
    similarity = structural_similarity(
        image, target, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(peak_signal_noise_ratio(target, image, data_range=1.0)), float(similarity)


def read_settings(run: Path) -> TrainingConfig:
    """The settings of a run folder. Raises a FileNotFoundError or ValueError where it is none."""
    path = run / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{run} is no run's folder: there is no {path}")
    try:
        return from_record(yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    except (TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def stages_of(run: Path) -> list[Path]:
    """A run's checkpoints, the oldest first, and its best weights."""
    return [*reversed(checkpoints(run)), *[path for path in [run / "best.safetensors"] if path.is_file()]]


def find_stages(run: Path, weights: list[Path] | None, host_file: Path | None) -> tuple[TrainingConfig, list[Path]]:
    """A run's settings, and the files to look at: those that were named, or the run's stages.

    Raises:
        FileNotFoundError, ValueError: no such run, or it has no stages yet; as `run_host_file`.
    """
    if host_file:
        run_host_file(host_file)
    settings, files = read_settings(run), weights or stages_of(run)
    if not files:
        raise ValueError(f"{run} has neither checkpoints nor best.safetensors")
    return settings, files


def load_checkpointed(path: Path) -> tuple[TrainingConfig, SRAL]:
    """A checkpoint's settings, and the training network that the run would write as its weights then.

    Raises:
        FileNotFoundError, ValueError: it cannot be read.
    """
    recorded, state = read_network(path)
    settings = from_record(recorded, str(path))
    return settings, fill(build_sral(settings.network()), state, str(path))


def load_stage(path: Path) -> tuple[str, SRAL]:
    """A caption and the training network, in eval mode, of a weights file or a checkpoint.

    Raises:
        FileNotFoundError, ValueError: it cannot be read, or it does not super-resolve.
    """
    if path.parent.name == FOLDER:
        caption, network = f"step {int(path.stem.removeprefix('step_'))}", load_checkpointed(path)[1]
    else:
        network = load_sral(path)
        epoch = read_header(path)["about"].get("epoch")
        caption = path.stem if epoch is None else f"{path.stem}, epoch {epoch}"
    if network.asrd is None:
        raise ValueError(f"{path}: its network has no SR branch")
    return caption, network.eval()


class Seen:
    """The validation images of a run, and what has been made of them.

    Args:
        settings: the run's.
        rows: images to keep for the picture.

    Raises:
        ValueError: the run has no validation part.
    """

    def __init__(self, settings: TrainingConfig, rows: int):
        _, pairs = find_data(settings.data)
        if not pairs:
            raise ValueError("the run has no validation part (data.validation is 0)")
        detector = settings.detector
        self.samples = SalientObjectBatches(Records(pairs, detector.input_size, name=settings.data.dataset))
        self.views = Views(detector.input_size, detector.mean, detector.std)
        few = self.samples.spread(rows)
        self.stems, self.few = few["stem"], self.views(few)
        self.columns = {"target": self._parts(self.few["sr_target"])}
        self.notes: dict[str, list[str]] = {}

    @torch.inference_mode()
    def look(self, caption: str, network: SRAL | None) -> tuple[float, float]:
        """Super-resolve every image, by a network or, without one, bicubically.

        Returns:
            The mean PSNR in dB and SSIM.
        """

        def image_of(made: dict[str, Tensor]) -> Tensor:
            if network is None:
                return bicubic_double(made["ycbcr"]).clamp(0, 1)
            residual = network(made["rgb"], made["ycbcr"])["sr_residual"]
            return network.asrd.trained_image(residual, made["ycbcr"]).clamp(0, 1)

        found = {}
        for batch in self.samples.in_batches(BATCH):
            made = self.views(batch)
            for stem, image, target in zip(batch["stem"], image_of(made), made["sr_target"], strict=True):
                found[stem] = quality(image[0].numpy(), target[0].numpy())
        self.columns[caption] = self._parts(image_of(self.few))
        self.notes[caption] = ["{:.2f} dB, {:.4f}".format(*found[stem]) for stem in self.stems]
        psnr, ssim = np.mean(list(found.values()), axis=0).tolist()
        return psnr, ssim

    def draw(self, path: Path, title: str) -> None:
        """Write the picture: a row an image; a column for the target, the bicubic image and each network."""
        draw_validation(path, self.columns, self.stems, title, self.notes)

    def _parts(self, ycbcr: Tensor) -> Tensor:
        """RGB parts of the few images that are drawn."""
        return torch.stack([_part(*each) for each in zip(ycbcr_to_rgb(ycbcr), self.few["mask"], strict=True)])


def _part(image: Tensor, mask: Tensor) -> Tensor:
    """The TILE×TILE part (or less) of a 3×H×W image whose middle is the mask's, 1×H×W."""
    weight = mask[0] + 1e-6
    starts = []
    for axis, side in enumerate(mask.shape[1:]):
        middle = float((weight.sum(1 - axis) * torch.arange(side)).sum() / weight.sum())
        starts.append(min(max(round(middle) - TILE // 2, 0), max(side - TILE, 0)))
    top, left = starts
    return image[:, top : top + TILE, left : left + TILE]


def main(arguments: Sequence[str] | None = None) -> None:
    """Look at one run."""
    options = _parsed(arguments)
    try:
        settings, files = find_stages(options.run, options.weights, options.host_file)
        if options.rows < 1:
            raise ValueError(f"--rows {options.rows}: at least 1")
        seen = Seen(settings, options.rows)
        lines = [("", "PSNR, dB", "SSIM"), _line(BICUBIC, seen.look(BICUBIC, None))]
        for path in files:
            caption, network = load_stage(path)
            caption = caption if caption not in seen.notes else f"{path.parent.name}/{caption}"
            lines.append(_line(caption, seen.look(caption, network)))
        where = f"{len(seen.samples)} validation images of {settings.data.dataset}"
        seen.draw(options.output, f"{options.run}: parts of {len(seen.stems)} of {where}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{where}, luma\n")
    print("\n".join(f"{name:28} {psnr:>8} {ssim:>7}".rstrip() for name, psnr, ssim in lines))


def _line(caption: str, scores: tuple[float, float]) -> tuple[str, str, str]:
    return caption, f"{scores[0]:.2f}", f"{scores[1]:.4f}"


def _parsed(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        prog="python -m tools.inspect_sr", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a training run's folder; its settings say what is validated on")
    add("--weights", type=Path, nargs="+", metavar="FILE", help="weights files or checkpoints to show instead")
    add("--output", type=Path, required=True, metavar="FILE", help="the PNG to write")
    add("--rows", type=int, default=6, metavar="N", help="images in the picture (default: 6)")
    add("--host-file", type=Path, metavar="FILE.py", help="registers the network, where it is your own; it is run")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
