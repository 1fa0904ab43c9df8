"""The detector: encoder, PPM and TSDD. RGB in, saliency logits out; this is the whole inference network."""

from torch import Tensor, nn

from models.config import DetectorConfig
from models.encoders import Encoder
from models.ppm import PPM
from models.tsdd import TSDD
from models.upsampling import bilinear

STRIDE = 32
OUTPUT_SCALE = 2


class Detector(nn.Module):
    """A salient object detector whose map has twice its input's size.

    Args:
        encoder: gives F1…F5 at strides 2–32.
        ppm: turns F5 into F6.
        tsdd: decodes F1…F6 into logits.
        config: what it was built from; saved with its weights.
    """

    def __init__(self, encoder: Encoder, ppm: PPM, tsdd: TSDD, config: DetectorConfig):
        super().__init__()
        self.encoder, self.ppm, self.tsdd = encoder, ppm, tsdd
        self.config = config

    def forward(self, rgb: Tensor) -> dict[str, Tensor | list[Tensor]]:
        """Find the salient objects.

        Args:
            rgb: B×3×H×W, [0, 1] RGB normalised with the configuration's mean and std; H and W multiples of 32.

        Returns:
            `logits` B×1×2H×2W, whose sigmoid is the saliency map; `features` F1…F5; `context` F6, B×width×H/32×W/32;
            `decoded`, the TSDD blocks' outputs, finest first, B×width at strides 2…32.

        Raises:
            ValueError: H or W is no multiple of 32.
        """
        height, width = rgb.shape[-2:]
        check_size(height, width)
        features = self.encoder(rgb)
        context = self.ppm(features[-1])
        logits, decoded = self.tsdd(features, context)
        logits = bilinear(logits, (OUTPUT_SCALE * height, OUTPUT_SCALE * width))
        return {"logits": logits, "features": features, "context": context, "decoded": decoded}


def check_size(height: int, width: int) -> None:
    """Raise a ValueError that names the nearest size that works, where height or width is no multiple of 32."""
    if height % STRIDE or width % STRIDE or height < STRIDE or width < STRIDE:
        nearest = tuple(max(STRIDE, round(side / STRIDE) * STRIDE) for side in (height, width))
        raise ValueError(
            f"input size {height}×{width}: height and width must be multiples of {STRIDE}; "
            f"the nearest that works is {nearest[0]}×{nearest[1]}"
        )


def build_detector(config: DetectorConfig, encoder_weights: str = "none") -> Detector:
    """Build the inference network.

    Args:
        config: its parts.
        encoder_weights: 'none', 'imagenet' (timm's own for that name) or a file; see `Encoder`.
    """
    encoder = Encoder(config.encoder, encoder_weights, config.input_size)
    ppm = PPM(encoder.channels[-1], config.width)
    tsdd = TSDD(encoder.channels, config.width, config.head_channels, config.head)
    return Detector(encoder, ppm, tsdd, config)
