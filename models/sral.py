"""SRAL, the training network: a detector, which is the inference network, with training branches attached."""

from torch import Tensor, nn

from models.asrd import ASRD
from models.attachable import Attachable
from models.config import SRALConfig
from models.detector import build_detector
from models.heads import build_head
from models.resize import bilinear
from models.tfgm import TFGM


class SRAL(nn.Module):
    """The network that trains.

    Args:
        detector: the part that remains for inference; it is not changed.
        coarse_heads: saliency heads for the detector's `coarse` features (TSDD's blocks on F2…F5), in that order; may
            be empty.
        asrd: the SR decoder, or None to train without it.
        tfgm: the guidance, or None to train without it.
        config: what it was built from; saved with its weights.

    Raises:
        ValueError: tfgm without asrd, whose features it reads.
    """

    def __init__(
        self,
        detector: Attachable,
        coarse_heads: nn.ModuleList,
        asrd: ASRD | None,
        tfgm: TFGM | None,
        config: SRALConfig,
    ):
        super().__init__()
        if tfgm is not None and asrd is None:
            raise ValueError("guidance needs super_resolution, whose features it reads: switch both on or guidance off")
        self.detector, self.coarse_heads, self.asrd, self.tfgm = detector, coarse_heads, asrd, tfgm
        self.config = config

    def forward(self, rgb: Tensor, ycbcr: Tensor) -> dict[str, Tensor]:
        """Compute everything that the joint loss reads, for an H×W input.

        Args:
            rgb: B×3×H×W, normalized.
            ycbcr: the same images, B×3×H×W, full-range YCbCr in [0, 1].

        Returns:
            `logits1` (finest) … `logits5`, B×1×2H×2W; with ASRD `sr_image`, `sr_residual`, `sr_features`, with TFGM
            `guidance`, `fused`, each B×3×2H×2W.
        """
        read = self.coarse_heads or self.asrd is not None
        found = self.detector.forward_features(rgb) if read else self.detector(rgb)
        outputs = {"logits1": found["logits"]}
        size = found["logits"].shape[-2:]
        if self.coarse_heads:
            for level, (head, decoded) in enumerate(zip(self.coarse_heads, found["coarse"], strict=True), start=2):
                outputs[f"logits{level}"] = bilinear(head(decoded), size)
        if self.asrd is not None:
            outputs |= self.asrd(found["shallow"], found["context"], ycbcr)
        if self.tfgm is not None:
            outputs |= self.tfgm(found["logits"], outputs["sr_features"])
        return outputs


def build_sral(config: SRALConfig, encoder_weights: str = "none", token_weights: str = "none") -> SRAL:
    """Build the training network: a detector, and the branches that the configuration attaches.

    Args:
        config: its parts.
        encoder_weights: 'none', 'imagenet' (timm's own for that name) or a file; see `Encoder`.
        token_weights: 'none', 'pretrained' (timm's own for that name) or a file for `tokens`; see `Tokens`.

    Raises:
        ValueError: as `build_detector`; or a host names no features for deep supervision.
    """
    detector = build_detector(config.detector, encoder_weights, token_weights)
    asrd, coarse_heads = None, nn.ModuleList()
    if config.deep_supervision or config.super_resolution:
        channels = detector.channels()
        if config.deep_supervision and not channels["coarse"]:
            raise ValueError(
                f"deep_supervision: {config.detector.name} names no decoded features to attach saliency heads to; "
                "set deep_supervision to false, or name some in detector.host.coarse"
            )
        if config.deep_supervision:
            head, inside = config.detector.head, config.detector.head_channels
            coarse_heads = nn.ModuleList(build_head(head, width, inside) for width in channels["coarse"])
        if config.super_resolution:
            asrd = ASRD(channels["shallow"], channels["context"], config.asrd)
    return SRAL(detector, coarse_heads, asrd, TFGM(config.tfgm) if config.guidance else None, config)
