"""Register the networks of segmentation_models_pytorch, an optional package, as hosts on any timm encoder."""

import inspect
from contextlib import nullcontext
from functools import partial
from types import ModuleType

import utils.torchvision_operators  # noqa: F401 (before timm)

# isort: split
import timm
from torch import nn

from models.config import DetectorConfig
from models.download import downloading
from models.encoders import size_options
from models.hosts.registry import KINDS, HostKind
from utils.text import one_line

REQUIREMENTS = "requirements-hosts.txt"
OURS = ("self", "encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params", "kwargs")
"""Arguments that `options` may not set."""
SHALLOW, DEEPEST = "encoder[2]", "encoder[-1]"
"""Features of smp's encoders: the image, then strides 2, 4, 8…"""
CONTEXTS = {
    "Unet": DEEPEST,
    "UnetPlusPlus": DEEPEST,
    "MAnet": DEEPEST,
    "Linknet": DEEPEST,
    "FPN": DEEPEST,
    "PSPNet": "decoder.psp",
    "PAN": "decoder.fpa",
    "DeepLabV3": "decoder.aspp",
    "DeepLabV3Plus": "decoder.aspp",
    "UPerNet": "decoder.psp",
    "Segformer": DEEPEST,
    "DPT": "encoder[0][-1]",
}
"""The deep feature of each network: the output of its context pooling, where it has one."""


def build(architecture: str, config: DetectorConfig, pretrained: bool) -> nn.Module:
    """Build one of segmentation_models_pytorch's networks for one class.

    Args:
        architecture: its class there.
        config: `encoder`, a timm name (or one that smp alone has, such as mit_b0), and `host.options`.
        pretrained: start the encoder from ImageNet weights, which are downloaded.

    Raises:
        ValueError: the package is missing, it has no such network or option, or the weights cannot be downloaded.
    """
    smp = _package()
    kind = getattr(smp, architecture)
    allowed = [name for name in inspect.signature(kind.__init__).parameters if name not in OURS]
    unknown = sorted(set(config.given_host().options) - set(allowed))
    if unknown:
        raise ValueError(f"host {architecture} has no option {', '.join(unknown)}; it has {', '.join(allowed)}")
    options, name = dict(config.given_host().options), config.encoder
    if timm.is_model(name):
        options |= {"dynamic_img_size": True} if architecture == "DPT" else size_options(name, config.input_size)
        name = f"tu-{name}"
    elif name not in smp.encoders.encoders:
        raise ValueError(f"encoder {name!r}: neither timm nor segmentation_models_pytorch has a network of that name")
    weights = "imagenet" if pretrained else None
    try:
        with downloading(config.encoder) if pretrained else nullcontext():
            return kind(name, encoder_weights=weights, in_channels=3, classes=1, **options)
    except Exception as error:  # neither smp nor timm has one error of its own for a network that cannot be built
        raise ValueError(f"host {config.name} cannot be built: {one_line(error)}") from error


def _package() -> ModuleType:
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise ValueError(
            f"segmentation_models_pytorch cannot be imported ({one_line(error)}): pip install -r {REQUIREMENTS}"
        ) from error
    return segmentation_models_pytorch


for _architecture, _context in CONTEXTS.items():
    _shallow = "decoder.reassemble_blocks.0" if _architecture == "DPT" else SHALLOW  # a ViT has nothing at stride 4
    KINDS[_architecture] = HostKind(partial(build, _architecture), _shallow, _context, encoder="encoder")
