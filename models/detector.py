"""The detector, the whole inference network: encoder, PPM and TSDD map RGB to saliency logits."""

from torch import Tensor, nn

from models.attachable import Channels, Features
from models.config import DetectorConfig
from models.encoders import Encoder
from models.hosts import Host, build_host
from models.ppm import PPM
from models.resize import OUTPUT_SCALE, STRIDE, bilinear, check_size, enlarged
from models.tsdd import TSDD
from models.vit import JOINED, Tokens

__all__ = ["OUTPUT_SCALE", "STRIDE", "Detector", "build_detector", "check_size"]

WITHOUT_HOST = {
    "encoder_size": ("sees its image as it is", "null"),
    "tokens": ("has an encoder of its own", "null"),
    "refined": ("has none of our blocks", "false"),
    "drop_path": ("has an encoder of its own", "0"),
}
"""Keys that a host cannot have: why, and the value that leaves them out."""


class Detector(nn.Module):
    """A salient object detector whose map has twice its input's size.

    Args:
        encoder: computes F1…F5 at strides 2–32.
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
            rgb: B×3×H×W, [0, 1] RGB normalized with the configuration's mean and std; H and W multiples of 32.

        Returns:
            `logits` B×1×2H×2W, whose sigmoid is the saliency map; `features` F1…F5; `context` F6, B×width×H/32×W/32;
            `decoded`, the TSDD blocks' outputs, finest first, B×width at strides 2…32; strides of the image as the
            encoder sees it.

        Raises:
            ValueError: H or W is no multiple of 32.
        """
        height, width = rgb.shape[-2:]
        check_size(height, width)
        features = self.encoder(enlarged(rgb, self.config))
        context = self.ppm(features[-1])
        logits, decoded = self.tsdd(features, context)
        logits = bilinear(logits, (OUTPUT_SCALE * height, OUTPUT_SCALE * width))
        return {"logits": logits, "features": features, "context": context, "decoded": decoded}

    def forward_features(self, rgb: Tensor) -> Features:
        """Return the logits with what the training branches read: F2, F6 and the blocks on F2…F5."""
        found = self(rgb)
        shallow = bilinear(found["features"][1], [side // 4 for side in rgb.shape[-2:]])
        coarse = found["decoded"][1:]
        return {"logits": found["logits"], "shallow": shallow, "context": found["context"], "coarse": coarse}

    def channels(self) -> Channels:
        """Return the channels of what `forward_features` returns."""
        width = self.config.width
        return {"shallow": self.encoder.channels[1], "context": width, "coarse": [width] * 4}


def build_detector(
    config: DetectorConfig, encoder_weights: str = "none", token_weights: str = "none"
) -> Detector | Host:
    """Build the inference network: ours, or the host that the configuration names.

    Args:
        config: its parts.
        encoder_weights: 'none', 'imagenet' (timm's own for that name) or a file; see `Encoder`.
        token_weights: 'none', 'pretrained' (timm's own for that name) or a file; see `Tokens`. Unused without tokens.

    Raises:
        ValueError: as `Encoder`, `Tokens` and `build_host`; an encoder_size that does not work, or a host with
            tokens, refined or drop_path.
    """
    if config.encoder_size is not None:
        check_size(*config.encoder_size, "encoder_size")
    if config.host is not None:
        for name, (why, nothing) in WITHOUT_HOST.items():
            if getattr(config, name):
                raise ValueError(f"{name}: {config.name} {why}; leave {name} out ({nothing})")
        return build_host(config, encoder_weights)
    encoder = Encoder(config.encoder, encoder_weights, config.encoder_size or config.input_size, config.drop_path)
    if config.tokens is not None:
        encoder.tokens = Tokens(config.tokens, encoder.channels[-JOINED:], config.mean, config.std, token_weights)
    ppm = PPM(encoder.channels[-1], config.width)
    tsdd = TSDD(encoder.channels, config.width, config.head_channels, config.head, config.refined)
    return Detector(encoder, ppm, tsdd, config)
