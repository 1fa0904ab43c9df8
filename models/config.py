"""Configurations of networks: what rebuilds a network, checked by pydantic, and stored in its weights file."""

import dataclasses
import re
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, field_validator

from models.own_losses import OWN_LOSSES
from utils.config import Within, configuration
from utils.config import from_dict as from_dict  # networks' configurations are built with it

# The statistics of EORSSD, which the paper uses for all three of its data sets.
MEAN = (0.3412, 0.3798, 0.3583)
STD = (0.1148, 0.1042, 0.0990)

# Bounds, since a configuration may come from an untrusted weights file.
WIDTH_LIMIT = 65_536
"""Channels of a layer."""
SIDE_LIMIT = 4096
"""Pixels along each side of an input."""
GRID_LIMIT = 128
"""Rows and columns of a plain transformer's patches."""
OPTIONS_LIMIT = 16
"""Options of a host, and values in a list of one."""
NAME = re.compile(r"\w{1,100}(\.\w{1,100})?", re.ASCII)
"""A timm network's name, with or without a pretrained tag."""

Count = Annotated[int, Within(1, WIDTH_LIMIT)]
Side = Annotated[int, Within(1, SIDE_LIMIT)]
Cells = Annotated[int, Within(1, GRID_LIMIT)]
Share = Annotated[float, Within(0, 1)]
Deviation = Annotated[float, Within(1e-6, 1)]
Switch = Annotated[bool, Strict()]


@configuration
class HostConfig:
    """Another network in the place of PPM and TSDD; see `models.hosts`.

    A place is a module's name, as in `named_modules`, with an index or key if it has several outputs: `decoder.psp`,
    `encoder[2]`, `backbone[out]`.

    Args:
        network: Unet, UnetPlusPlus, MAnet, Linknet, FPN, PSPNet, PAN, DeepLabV3, DeepLabV3Plus, UPerNet, Segformer or
            DPT of segmentation_models_pytorch; or the name under which host_file registers a network of your own.
        options: arguments of its builder, by name, that differ from its defaults.
        shallow: the place of the shallow feature that the SR branch reads; empty: the network's usual one.
        context: the place of the deep feature that it reads; empty: the network's usual one.
        coarse: places of up to four decoded features that deep supervision attaches heads to, finest first; empty: the
            network's usual ones, if it has any.
    """

    network: str
    options: dict[str, Any] = field(default_factory=dict)
    shallow: str = ""
    context: str = ""
    coarse: Annotated[tuple[str, ...], Field(max_length=OPTIONS_LIMIT)] = ()

    @field_validator("network")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("must be a network's name")
        return name

    @field_validator("options")
    @classmethod
    def _are_plain(cls, options: dict[str, Any]) -> dict[str, Any]:
        if len(options) > OPTIONS_LIMIT:
            raise ValueError(f"must be up to {OPTIONS_LIMIT} named values")
        for name, value in options.items():
            values = value if isinstance(value, list | tuple) else [value]
            if not name.isidentifier() or len(values) > OPTIONS_LIMIT or not all(map(_is_plain, values)):
                raise ValueError(f"must name numbers, words or switches, or up to {OPTIONS_LIMIT} of them in a list")
        return options


@configuration
class TokensConfig:
    """A plain transformer whose tokens are added to the encoder's F3, F4 and F5; see `models.vit`.

    Args:
        network: a plain vision transformer of timm.
        grid: rows and columns of patches; an image of any size is resized to them.
        blocks: blocks whose outputs are used, in ascending order, counted from 1; later blocks are not computed.
    """

    network: str = "vit_small_patch14_dinov2"
    grid: tuple[Cells, Cells] = (24, 24)
    blocks: Annotated[tuple[Count, ...], Field(max_length=OPTIONS_LIMIT)] = (6, 9, 12)

    @field_validator("network")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return _timm_name(name)


@configuration
class DetectorConfig:
    """The network that infers: encoder, PPM and TSDD, or a host.

    Args:
        encoder: name of a timm network that gives features at strides 4, 8, 16 and 32 (2 too, where it has them).
        width: channels of PPM (F6) and of the TSDD blocks; a host has none of them.
        head_channels: channels after the first and after the second convolution of a saliency head; a host has its own.
        head: the saliency head, from features to logits at twice their size: 'transposed', as released; lighter ones:
            'subpixel', at the features' size, 2×2 logits a position; 'quarter', at half that size, 4×4 logits a
            position; 'separable', depthwise-separable with bilinear upsampling.
        refined: add two residual 3×3 convolutions to each TSDD block but the finest; false: a block is a 1×1
            convolution, as released. A host has no such blocks.
        drop_path: stochastic depth: probability that the encoder's last residual branches are dropped in training,
            linearly less for earlier ones; 0: never. Not for hosts.
        input_size: height and width that the network is trained for, in pixels; it takes any multiple of 32.
        encoder_size: height and width to which the network resizes an input of input_size for its encoder, multiples of
            32; a larger one helps with small objects and costs in proportion. Other inputs are resized in proportion.
            null: no resizing. Not for hosts.
        mean: mean that the RGB input is normalized with, in [0, 1].
        std: standard deviation that the RGB input is normalized with, in (0, 1].
        tokens: a plain transformer whose tokens are added to the encoder's deep features; null: none. Not for hosts.
        host: another network in the place of PPM and TSDD, such as a U-Net; null: our own detector.
    """

    encoder: str = "resnet50"
    width: Count = 256
    head_channels: tuple[Count, Count] = (128, 64)
    head: Literal["transposed", "subpixel", "separable", "quarter"] = "transposed"
    refined: Switch = False
    drop_path: Share = 0.0
    input_size: tuple[Side, Side] = (224, 224)
    encoder_size: tuple[Side, Side] | None = None
    mean: tuple[Share, Share, Share] = MEAN
    std: tuple[Deviation, Deviation, Deviation] = STD
    tokens: TokensConfig | None = None
    host: HostConfig | None = None

    @field_validator("encoder")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return _timm_name(name)

    def given_host(self) -> HostConfig:
        """Return `host`, in networks that are built from one."""
        if self.host is None:
            raise ValueError("the configuration names no host: set host.network")
        return self.host

    @property
    def name(self) -> str:
        """The network's name for messages: its host or encoder."""
        if self.host is not None:
            return f"{self.host.network} on {self.encoder}"
        return self.encoder if self.tokens is None else f"{self.encoder} and {self.tokens.network}"


@configuration
class ASRDConfig:
    """The auxiliary super-resolution decoder, training only.

    Args:
        shallow_channels: channels that F2 is reduced to.
        fuse_channels: channels of the three convolutions over F2 and F6.
        up_channels: channels after each of the three doublings; the last feeds the SR image and the SR features.
        shallow_kernel: kernel of the convolution of F2: 1 as released, 3 as the paper's figure draws it.
        fuse_kernel: kernel of the last of the three convolutions: 1 as released, 3 as the paper's figure draws it.
        residual: how the residual is trained toward the SR target: 'added' to the bicubic image, as in the paper's
            figure, or 'bare', as in the release.
        colours: the channels that are super-resolved: 'ycbcr' or 'luma'; with 'luma', the SR image has the bicubic
            image's chroma.
        dropout: probabilities after the first two of the three convolutions; as released.
    """

    shallow_channels: Count = 64
    fuse_channels: tuple[Count, Count, Count] = (256, 128, 64)
    up_channels: tuple[Count, Count, Count] = (64, 32, 16)
    shallow_kernel: Literal[1, 3] = 1
    fuse_kernel: Literal[1, 3] = 1
    residual: Literal["added", "bare"] = "added"
    colours: Literal["ycbcr", "luma"] = "ycbcr"
    dropout: tuple[Share, Share] = (0.5, 0.1)

    @field_validator("shallow_kernel", "fuse_kernel", mode="before")
    @classmethod
    def _is_number(cls, kernel: Any) -> Any:
        if isinstance(kernel, bool):  # which equals a number
            raise ValueError("must be 1 or 3")
        return kernel


@configuration
class TFGMConfig:
    """The task-fusion guidance module, training only.

    Args:
        affinity: 'inner' products between positions, as released, or their 'cosine', as the paper's figure says.
        affinity_batch: 'mean' of the images' affinity differences, or their 'sum', as released.
    """

    affinity: Literal["inner", "cosine"] = "inner"
    affinity_batch: Literal["mean", "sum"] = "mean"


@configuration
class SRALConfig:
    """The training network: a detector with training branches.

    Args:
        detector: the network that infers.
        asrd: the SR decoder.
        tfgm: the guidance.
        deep_supervision: attach a saliency head to each of the four coarser TSDD blocks.
        super_resolution: attach the SR decoder.
        guidance: attach the guidance; it needs the SR decoder.
    """

    detector: DetectorConfig = field(default_factory=DetectorConfig)
    asrd: ASRDConfig = field(default_factory=ASRDConfig)
    tfgm: TFGMConfig = field(default_factory=TFGMConfig)
    deep_supervision: Switch = True
    super_resolution: Switch = True
    guidance: Switch = True


def _timm_name(name: str) -> str:
    if not NAME.fullmatch(name):  # timm itself reads folders for local-dir: and asks the network for hf-hub:
        raise ValueError("must be the name of one of timm's own networks")
    return name


def _is_plain(value: Any) -> bool:
    if type(value) in (int, float):
        return abs(value) <= WIDTH_LIMIT
    return value is None or type(value) is bool or (type(value) is str and NAME.fullmatch(value) is not None)


def detector_config(config: DetectorConfig | SRALConfig) -> DetectorConfig:
    """Return the inference network's part of either configuration."""
    return config.detector if isinstance(config, SRALConfig) else config


def without_sizes(config: DetectorConfig) -> DetectorConfig:
    """Return the configuration with fixed sizes and no drop_path: networks that agree in it take the same weights."""
    tokens = config.tokens and dataclasses.replace(config.tokens, grid=(1, 1))
    return dataclasses.replace(config, input_size=(32, 32), encoder_size=None, drop_path=0.0, tokens=tokens)


@configuration
class LossWeights:
    """The weight of each loss term (paper, joint loss; values as the release's).

    Args:
        saliency: of the structure losses of the five maps, finest first.
        sr: of the mean squared error between SR image and SR target.
        sr_first_epoch: the same in the first epoch, before the SR branch gives anything like an image.
        spatial: of TFGM's spatial consistency.
        affinity: of TFGM's affinity.
        teacher: of the structure loss between the finest map and a teacher's.
        boundary: how much more the pixels at objects' borders weigh in the structure losses of the masks
            (`boundary_weight`); 0, all alike, is the paper's.
    """

    saliency: tuple[float, float, float, float, float] = (1.0, 1.0, 0.5, 0.25, 0.125)
    sr: float = 100.0
    sr_first_epoch: float = 1.0
    spatial: float = 1.0
    affinity: float = 1.0
    teacher: float = 1.0
    boundary: float = 0.0

    def of_epoch(self, epoch: int) -> dict[str, float]:
        """Return the weights by term in `epoch`, counted from 0; those of `models.own_losses` too."""
        maps = {map_term(i): weight for i, weight in enumerate(self.saliency, start=1)}
        sr = self.sr_first_epoch if epoch == 0 else self.sr
        own = {name: each.weight for name, each in OWN_LOSSES.items()}
        given = {"sr": sr, "spatial": self.spatial, "affinity": self.affinity, "teacher": self.teacher}
        return {**maps, **given, **own}


def map_term(level: int) -> str:
    """Return the name of the structure loss of a map; level 1 is the finest of five."""
    return f"saliency_map{level}"
