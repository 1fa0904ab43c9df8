"""The detector in Hugging Face's layout: a folder with model.safetensors, config.json and README.md, or a repository.

network = PretrainedDetector.from_pretrained("path/or/repository")  # in eval mode
network.save_pretrained("folder")
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelHubMixin, hf_hub_download
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE
from torch import Tensor, nn

from models.detector import Detector
from models.hosts import Host
from models.weights import load_detector, save_weights
from utils.files import atomic_write


class PretrainedDetector(
    nn.Module,
    ModelHubMixin,
    library_name="sral",
    pipeline_tag="image-segmentation",
    tags=["salient-object-detection", "remote-sensing"],
):
    """The inference network with `save_pretrained`, `from_pretrained` and `push_to_hub`.

    model.safetensors is an ordinary weights file: `getsmaps.py --weights FOLDER/model.safetensors` reads it too.

    Args:
        detector: the network.
    """

    def __init__(self, detector: Detector | Host):
        super().__init__()
        self.detector = detector

    def forward(self, rgb: Tensor) -> dict[str, Any]:
        """Return what the detector returns: `logits`, B×1×2H×2W, and its features.

        Args:
            rgb: B×3×H×W, [0, 1] RGB normalized with `detector.config.mean` and `std`; H and W multiples of 32.
        """
        found: dict[str, Any] = self.detector(rgb)
        return found

    def _save_pretrained(self, save_directory: Path) -> None:
        save_weights(save_directory / SAFETENSORS_SINGLE_FILE, self.detector)
        text = json.dumps(dataclasses.asdict(self.detector.config), indent=2)
        atomic_write(save_directory / CONFIG_NAME, f"{text}\n".encode())

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **_: Any,
    ) -> Self:
        """Read a folder, or download a repository's file. Raise FileNotFoundError or ValueError as `load_detector`."""
        if Path(model_id).is_dir():
            return cls(load_detector(Path(model_id, SAFETENSORS_SINGLE_FILE))).eval()
        file = hf_hub_download(
            model_id, SAFETENSORS_SINGLE_FILE, revision=revision, cache_dir=cache_dir, force_download=force_download,
            local_files_only=local_files_only, token=token,
        )  # fmt: skip
        return cls(load_detector(Path(file))).eval()
