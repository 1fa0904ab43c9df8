"""What a network is made of, as plain data: enough to rebuild it, and what its weights file carries."""

import dataclasses
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

WIDTH_LIMIT = 65_536
"""Channels that a layer may have."""
SIDE_LIMIT = 4096
"""Pixels along each side of the input that a network may be made for."""

GRID_LIMIT = 128
"""Rows and columns of patches that a plain transformer may see."""

# The statistics of EORSSD, which the paper uses for all three of its data sets.
MEAN = (0.3412, 0.3798, 0.3583)
STD = (0.1148, 0.1042, 0.0990)


NAME = re.compile(r"\w{1,100}(\.\w{1,100})?", re.ASCII)
"""A timm network's name, with or without a pretrained tag."""
OPTIONS_LIMIT = 16
"""Options that a host may be given, and values in a list of one."""


@dataclass
class HostConfig:
    """Another network in the place of PPM and TSDD; see `models.hosts`.

    A place is a module's name, as `named_modules` has it, and what to take of several outputs: `decoder.psp`,
    `encoder[2]`, `backbone[out]`.

    Args:
        network: Unet, UnetPlusPlus, MAnet, Linknet, FPN, PSPNet, PAN, DeepLabV3, DeepLabV3Plus, UPerNet, Segformer or
            DPT of segmentation_models_pytorch; or the name under which host_file registers a network of your own.
        options: arguments of its builder, by name, where they are to differ from its defaults.
        shallow: the place of the shallow feature that the SR branch reads; empty: the network's usual one.
        context: the place of the deep feature that it reads; empty: the network's usual one.
        coarse: places of up to four decoded features that deep supervision attaches heads to, finest first; empty: the
            network's usual ones, if it has any.
    """

    network: str
    options: dict[str, Any] = field(default_factory=dict)
    shallow: str = ""
    context: str = ""
    coarse: tuple[str, ...] = ()


@dataclass
class TokensConfig:
    """A plain transformer whose tokens join the encoder's F3, F4 and F5; see `models.vit`.

    Args:
        network: a plain vision transformer of timm.
        grid: rows and columns of patches that it sees in an image, of whatever size: the image is resized to them.
        blocks: after which of its blocks it is read, counted from 1; what follows the last of them is left out.
    """

    network: str = "vit_small_patch14_dinov2"
    grid: tuple[int, int] = (24, 24)
    blocks: tuple[int, ...] = (6, 9, 12)


@dataclass
class DetectorConfig:
    """The network that infers: encoder, PPM and TSDD, or a host.

    Args:
        encoder: name of a timm network that gives features at strides 4, 8, 16 and 32 (2 too, where it has them).
        width: channels of PPM (F6) and of the TSDD blocks; a host has none of them.
        head_channels: channels after the first and after the second convolution of a saliency head; a host has its own.
        head: how a block's features become logits at twice their size: 'transposed', as released; lighter:
            'subpixel', at the features' own size, each position giving 2×2 logits; 'quarter', at half that size,
            4×4 logits each; 'separable', depthwise-separable, upsampled bilinearly.
        refined: two 3×3 convolutions follow in each TSDD block but the finest, their result added to what they read;
            false: a block is a 1×1 convolution, as released. A host has no such blocks.
        drop_path: how often the encoder's last residual branches are left out while it trains, the first ones hardly
            ever (stochastic depth); 0: never. A host's own encoder has none.
        input_size: height and width that the network is trained for, in pixels; it takes any multiple of 32.
        encoder_size: height and width at which the encoder sees an image of input_size, multiples of 32: the network
            enlarges its input itself, so that small objects cover more of the encoder's positions, and costs as much
            more. Other inputs are enlarged in proportion. null: as they are. A host has none.
        mean: mean that the RGB input was normalized with, in [0, 1].
        std: standard deviation that the RGB input was normalized with, in [0, 1].
        tokens: a plain transformer whose tokens join the encoder's deep features; null: none does. A host has none.
        host: another network in the place of PPM and TSDD, such as a U-Net; null is ours.
    """

    encoder: str = "resnet50"
    width: int = 256
    head_channels: tuple[int, int] = (128, 64)
    head: Literal["transposed", "subpixel", "separable", "quarter"] = "transposed"
    refined: bool = False
    drop_path: float = 0.0
    input_size: tuple[int, int] = (224, 224)
    encoder_size: tuple[int, int] | None = None
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    tokens: TokensConfig | None = None
    host: HostConfig | None = None

    @property
    def name(self) -> str:
        """What to call the network."""
        if self.host is not None:
            return f"{self.host.network} on {self.encoder}"
        return self.encoder if self.tokens is None else f"{self.encoder} and {self.tokens.network}"


@dataclass
class ASRDConfig:
    """The auxiliary super-resolution decoder, training only.

    Args:
        shallow_channels: channels that F2 is reduced to.
        fuse_channels: channels of the three convolutions over F2 and F6.
        up_channels: channels after each of the three doublings; the last feeds the SR image and the SR features.
        shallow_kernel: kernel of the convolution of F2: 1 as released, 3 as the paper's figure draws it.
        fuse_kernel: kernel of the last of the three convolutions: 1 as released, 3 as the paper's figure draws it.
        residual: what is trained toward the SR target: 'added' to the bicubic image, as the paper draws it, or
            'bare', as the release trains it.
        colours: what is super-resolved: 'ycbcr', or 'luma' alone; the SR image then has the bicubic image's chroma.
        dropout: after the first two of those convolutions, while it trains; as released.
    """

    shallow_channels: int = 64
    fuse_channels: tuple[int, int, int] = (256, 128, 64)
    up_channels: tuple[int, int, int] = (64, 32, 16)
    shallow_kernel: Literal[1, 3] = 1
    fuse_kernel: Literal[1, 3] = 1
    residual: Literal["added", "bare"] = "added"
    colours: Literal["ycbcr", "luma"] = "ycbcr"
    dropout: tuple[float, float] = (0.5, 0.1)


@dataclass
class TFGMConfig:
    """The task-fusion guidance module, training only.

    Args:
        affinity: 'inner' products between positions, as released, or their 'cosine', as the paper's figure says.
        affinity_batch: 'mean' of the images' affinity differences, or their 'sum', as released.
    """

    affinity: Literal["inner", "cosine"] = "inner"
    affinity_batch: Literal["mean", "sum"] = "mean"


@dataclass
class SRALConfig:
    """The network that trains: a detector with what is attached to it.

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
    deep_supervision: bool = True
    super_resolution: bool = True
    guidance: bool = True


def from_dict(cls: type, values: dict[str, Any], where: str = "configuration") -> Any:
    """Rebuild the dataclass `cls` from what `dataclasses.asdict` gave (lists count as tuples).

    Raises:
        ValueError: `values` is no mapping or has a key that `cls` lacks.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected named values for {cls.__name__}, found {type(values).__name__}")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{where}: {cls.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(hints))}")
    return cls(**{key: _rebuild(hints[key], value, f"{where}.{key}") for key, value in values.items()})


def _rebuild(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        hint = type(None) if value is None else next(kind for kind in typing.get_args(hint) if kind is not type(None))
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)
    return tuple(value) if isinstance(value, list) else value


def detector_config(config: DetectorConfig | SRALConfig) -> DetectorConfig:
    """The inference network's part of either configuration."""
    return config.detector if isinstance(config, SRALConfig) else config


def without_sizes(config: DetectorConfig) -> DetectorConfig:
    """The configuration at one size, trained in one way: two that are alike in it take the same weights."""
    tokens = config.tokens and dataclasses.replace(config.tokens, grid=(1, 1))
    return dataclasses.replace(config, input_size=(32, 32), encoder_size=None, drop_path=0.0, tokens=tokens)


def check_config(config: DetectorConfig | SRALConfig) -> None:
    """Raise a ValueError where a configuration, which may be a stranger's, has a value of a wrong type or no sense."""
    _check(type(config), config, "configuration")
    _check_detector(detector_config(config))


def _check(hint: Any, value: Any, where: str) -> None:
    """Raise a ValueError where a configuration's value is not of its type, or a number beyond any network's."""
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        for name, of in typing.get_type_hints(hint).items():
            _check(of, getattr(value, name), f"{where}.{name}")
    elif origin is types.UnionType:  # of a part and None: a part that may be left out
        if value is not None:
            _check(kinds[0], value, where)
    elif origin is dict:
        _check_options(value, where)
    elif origin is tuple and kinds[1:] == (...,):
        if not isinstance(value, tuple) or len(value) > OPTIONS_LIMIT:
            raise ValueError(f"{where} must be a list, not {value!r}")
        for item in value:
            _check(kinds[0], item, where)
    elif origin is tuple:
        if not isinstance(value, tuple) or len(value) != len(kinds):
            raise ValueError(f"{where} must be {len(kinds)} numbers, not {value!r}")
        for kind, item in zip(kinds, value, strict=True):
            _check(kind, item, where)
    elif origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in kinds):
            raise ValueError(f"{where} must be one of {', '.join(map(str, kinds))}, not {value!r}")
    elif type(value) not in ((int, float) if hint is float else (hint,)):
        raise ValueError(f"{where} must be of the type {hint.__name__}, not {value!r}")
    elif hint is int and not 1 <= value <= WIDTH_LIMIT:
        raise ValueError(f"{where} must be at least 1 and no more than any network has, not {value!r}")


def _check_options(options: Any, where: str) -> None:
    """Raise a ValueError where a host's options are anything but a few plain values by name."""
    if not isinstance(options, dict) or len(options) > OPTIONS_LIMIT:
        raise ValueError(f"{where} must be up to {OPTIONS_LIMIT} named values, not {options!r}")
    for name, value in options.items():
        values = value if isinstance(value, list | tuple) else [value]
        if not isinstance(name, str) or not name.isidentifier() or len(values) > OPTIONS_LIMIT:
            raise ValueError(f"{where}: {name!r} must name a value or up to {OPTIONS_LIMIT} of them")
        if not all(map(_is_plain, values)):
            raise ValueError(f"{where}.{name} must be numbers, words or switches that make sense, not {value!r}")


def _is_plain(value: Any) -> bool:
    if type(value) in (int, float):
        return abs(value) <= WIDTH_LIMIT
    return value is None or type(value) is bool or (type(value) is str and NAME.fullmatch(value) is not None)


def _check_detector(config: DetectorConfig) -> None:
    """Raise a ValueError where a detector's configuration has the types that it must have, but no sense."""
    if config.host is not None and not NAME.fullmatch(config.host.network):
        raise ValueError(f"host.network must be a network's name, not {config.host.network!r}")
    if not NAME.fullmatch(config.encoder):
        raise ValueError(f"encoder must be the name of one of timm's own networks, not {config.encoder!r}")
    if config.tokens is not None and not NAME.fullmatch(config.tokens.network):
        raise ValueError(f"tokens.network must be the name of one of timm's own, not {config.tokens.network!r}")
    if config.tokens is not None and max(config.tokens.grid) > GRID_LIMIT:
        raise ValueError(f"tokens.grid must be at most {GRID_LIMIT} a side, not {config.tokens.grid}")
    if max(config.input_size) > SIDE_LIMIT:
        raise ValueError(f"input_size must be at most {SIDE_LIMIT} a side, not {config.input_size}")
    if not all(0 <= value <= 1 for value in config.mean) or not all(1e-6 <= value <= 1 for value in config.std):
        raise ValueError(f"mean and std must be within [0, 1], std not 0; they are {config.mean} and {config.std}")
