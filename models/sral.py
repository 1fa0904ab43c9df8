"""SRAL: a detector with its training branches attached from outside. The detector inside is the inference network."""

from torch import Tensor, nn

from models.asrd import ASRD
from models.config import SRALConfig
from models.detector import Detector, build_detector
from models.heads import build_head
from models.tfgm import TFGM
from models.upsampling import bilinear


class SRAL(nn.Module):
    """The network that trains.

    Args:
        detector: what remains for inference; it is not changed.
        coarse_heads: saliency heads for the TSDD blocks on F2…F5, in that order; may be empty.
        asrd: the SR decoder, or None to train without it.
        tfgm: the guidance, or None to train without it.
        config: what it was built from; saved with its weights.

    Raises:
        ValueError: tfgm without asrd, whose features it reads.
    """

    def __init__(
        self, detector: Detector, coarse_heads: nn.ModuleList, asrd: ASRD | None, tfgm: TFGM | None, config: SRALConfig
    ):
        super().__init__()
        if tfgm is not None and asrd is None:
            raise ValueError("guidance needs super_resolution, whose features it reads: switch both on or guidance off")
        self.detector, self.coarse_heads, self.asrd, self.tfgm = detector, coarse_heads, asrd, tfgm
        self.config = config

    def forward(self, rgb: Tensor, ycbcr: Tensor) -> dict[str, Tensor]:
        """Everything that the joint loss reads, for an H×W input.

        Args:
            rgb: B×3×H×W, normalised.
            ycbcr: the same images, B×3×H×W, full-range YCbCr in [0, 1].

        Returns:
            `logits1` (finest) … `logits5`, B×1×2H×2W; with ASRD `sr_image`, `sr_residual`, `sr_features`, with TFGM
            `guidance`, `fused`, each B×3×2H×2W.
        """
        found = self.detector(rgb)
        outputs = {"logits1": found["logits"]}
        size = found["logits"].shape[-2:]
        for level, (head, decoded) in enumerate(zip(self.coarse_heads, found["decoded"][1:], strict=False), start=2):
            outputs[f"logits{level}"] = bilinear(head(decoded), size)
        if self.asrd is not None:
            outputs |= self.asrd(found["features"][1], found["context"], ycbcr)
        if self.tfgm is not None:
            outputs |= self.tfgm(found["logits"], outputs["sr_features"])
        return outputs


def build_sral(config: SRALConfig, encoder_weights: str = "none") -> SRAL:
    """Build the training network: a detector, and what the configuration attaches to it.

    Args:
        config: its parts.
        encoder_weights: 'none', 'imagenet' (timm's own for that name) or a file; see `Encoder`.
    """
    detector = build_detector(config.detector, encoder_weights)
    width, head = config.detector.width, (config.detector.head, config.detector.width, config.detector.head_channels)
    coarse_heads = nn.ModuleList(build_head(*head) for _ in range(4 if config.deep_supervision else 0))
    asrd = ASRD(detector.encoder.channels[1], width, config.asrd) if config.super_resolution else None
    tfgm = TFGM(config.tfgm) if config.guidance else None
    return SRAL(detector, coarse_heads, asrd, tfgm, config)
