"""Encoders: features at strides 2–32 of a timm network, with pre-trained weights by name or from a file."""

import difflib
import re
from contextlib import nullcontext
from itertools import takewhile
from pathlib import Path
from typing import Any

import utils.torchvision_operators  # noqa: F401 (before timm)

# isort: split
import timm
import torch
from safetensors import SafetensorError
from timm.layers import DropPath, resample_abs_pos_embed
from timm.models import FeatureListNet, PretrainedCfg
from timm.utils import reparameterize_model
from torch import Tensor, nn

from models.download import downloading
from models.sources import how_to_make, instead_of_download
from utils.file_kind import what_it_is
from utils.safetensors_file import open_safetensors
from utils.text import one_line
from utils.torch_file import read_torch_file

STEM_CHANNELS = 64


class Encoder(nn.Module):
    """F1…F5 of a timm network.

    Networks whose first stage is at stride 4 (Swin, ConvNeXt, PVT…) have no feature at stride 2. There, F1 comes from
    an added stem on the image: two 3×3 convolutions with batch norm and ReLU, the first of stride 2, to 64 channels (as
    many as ResNet-50's F1), trained from scratch. An upsampled F2 would carry no finer detail.

    Args:
        name: a timm network, with or without a pretrained tag (`resnet50`, `resnet50.a1_in1k`).
        weights: 'none'; 'imagenet', timm's own for that name, downloaded once; or a file (.pth or .safetensors) in
            timm's or torchvision's names.
        input_size: height and width of its input. Most networks, Swin among them, take any other multiple of 32 too;
            those that timm can only build for one size (CoaT, Hiera, MaxViT…) take this one alone.
        drop_path: probability that a residual branch of its last block is dropped for an image in training; linearly
            less for earlier blocks (Huang et al., Deep networks with stochastic depth, ECCV 2016).

    Attributes:
        tokens: a module that adds tokens to the deep features, or None; see `models.vit`.

    Raises:
        ValueError: no such network, no features at strides 4–32, weights that do not fit, a drop_path out of
            range, or no paths to drop.
        FileNotFoundError: the weights file is missing.
    """

    def __init__(
        self, name: str, weights: str = "none", input_size: tuple[int, int] = (224, 224), drop_path: float = 0.0
    ):
        super().__init__()
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must be at least 0 and less than 1, not {drop_path}")
        self.body, reductions = _create_body(name, weights == "imagenet", input_size, drop_path)
        self.channels_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        channels = dict(zip(reductions, self.body.feature_info.channels(), strict=True))
        self.stem = None if 2 in channels else _stem()
        self.channels = [channels.get(stride, STEM_CHANNELS) for stride in (2, 4, 8, 16, 32)]
        if weights not in ("none", "imagenet"):
            load_encoder_weights(self.body, Path(weights), name)
        self.tokens: nn.Module | None = None

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Map B×3×H×W to [F1, …, F5], F1 at H/2×W/2 and F5 at H/32×W/32."""
        features = self.body(rgb)
        if self.channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        if self.stem is not None:
            features = [self.stem(rgb), *features]
        return features if self.tokens is None else self.tokens(rgb, features)


def _stem() -> nn.Sequential:
    layers: list[nn.Module] = []
    for in_channels, stride in ((3, 2), (STEM_CHANNELS, 1)):
        conv = nn.Conv2d(in_channels, STEM_CHANNELS, 3, stride=stride, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(STEM_CHANNELS), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _create_body(
    name: str, pretrained: bool, input_size: tuple[int, int], drop_path: float
) -> tuple[FeatureListNet, list[int]]:
    """Build the timm network with its last features at strides 2 (if any), 4, 8, 16, 32; return it and the strides."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=4)
        hint = f"; did you mean {', '.join(near)}?" if near else "; timm.list_models() names them"
        raise ValueError(f"encoder {name!r}: timm has no network of that name{hint}")
    options = size_options(name, input_size) | ({"drop_path_rate": drop_path} if drop_path else {})
    body = create_body(name, pretrained, options)
    reductions = body.feature_info.reduction()
    last = {stride: index for index, stride in enumerate(reductions)}
    missing = [stride for stride in (4, 8, 16, 32) if stride not in last]
    if missing:
        raise ValueError(
            f"encoder {name!r}: its features are at strides {reductions}, without {missing}; "
            "choose one with features at 4, 8, 16 and 32, such as resnet50, mobilenetv2_100 or convnext_tiny"
        )
    strides = [stride for stride in (2, 4, 8, 16, 32) if stride in last]
    if strides != reductions:
        body = create_body(name, pretrained, options | {"out_indices": tuple(last[stride] for stride in strides)})
    return body, strides


def create_body(name: str, pretrained: bool, options: dict) -> FeatureListNet:
    """Build a timm network that returns features.

    Args:
        name: with or without a pretrained tag.
        pretrained: load timm's own weights for that name, downloaded once.
        options: more arguments for timm.create_model.

    Raises:
        ValueError: the weights cannot be downloaded, or drop_path_rate has no effect.
    """
    try:
        with downloading(name) if pretrained else nullcontext():
            body: Any = timm.create_model(name, features_only=True, pretrained=pretrained, **options)
    except TypeError as error:
        if "drop_path_rate" not in str(error):
            raise
        raise _nothing_to_drop(name) from error
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ValueError(
            f"encoder {name!r}: its ImageNet weights cannot be downloaded ({one_line(error)}); "
            f"give a file instead, or 'none' to start from random weights{instead_of_download(name)}"
        ) from error
    if "drop_path_rate" in options and not any(isinstance(module, DropPath) for module in body.modules()):
        raise _nothing_to_drop(name)
    return body


def _nothing_to_drop(name: str) -> ValueError:
    return ValueError(f"drop_path: {name} has no residual branches that timm could drop; leave drop_path out (0)")


def expects_one_size(name: str) -> bool:
    """Return whether a timm network is made for one input size; it may take others by padding and masking."""
    found = timm.get_pretrained_cfg(name)  # None of a network that was registered without
    return found is not None and found.fixed_input_size


def pretrained_config(name: str) -> PretrainedCfg:
    """Return what timm records of a network: input size, statistics… Raises ValueError if it has none."""
    found = timm.get_pretrained_cfg(name)
    if found is None:
        raise ValueError(f"timm has no configuration of {name!r}")
    return found


def size_options(name: str, input_size: tuple[int, int]) -> dict:
    """Return timm's arguments by which a network made for one input size takes ours."""
    if not expects_one_size(name) or name.startswith("mvitv2"):
        return {}
    if name.startswith("swin"):
        return {"dynamic_img_size": True}  # windows padded and masked for any input size
    return {"img_size": input_size}


def merge_branches(network: nn.Module) -> None:
    """Merge the training-only branches of timm encoders (RepVGG, FastViT…) into single convolutions, in place."""
    for module in list(network.modules()):
        if hasattr(module, "feature_info"):
            reparameterize_model(module, inplace=True)


def load_encoder_weights(body: nn.Module, path: Path, name: str) -> None:
    """Load a classifier's weights from a file with timm's or torchvision's names into an encoder.

    The file may hold more than the encoder (a classifier's head) and may have one prefix before every name. If its
    names are not the encoder's, tensors are matched in order: two implementations of one network define the same layers
    in the same order. Every kind (weight, bias, running mean…) and shape must agree; only a plain transformer's
    position embedding is resampled to another grid.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a plain state dict, or of another network: the first difference is named.
    """
    state = _torchvision_swin_names(_read_state(path))
    wanted = {key: value for key, value in body.state_dict().items() if not key.endswith("num_batches_tracked")}
    matched = _match_names(wanted, state) or _match_order(wanted, state, f"{path} for encoder {name!r}")
    for key, value in matched.items():
        if key.endswith("pos_embed") and value.shape != wanted[key].shape:
            value = matched[key] = _for_grid(value, getattr(body, "model", body))
        if value.shape != wanted[key].shape:
            raise ValueError(
                f"{path} for encoder {name!r}: {key} is {tuple(value.shape)}, expected {tuple(wanted[key].shape)}"
            )
        if value.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            raise ValueError(f"{path} for encoder {name!r}: {key} is of the type {value.dtype}")
    body.load_state_dict(matched, strict=False)  # all but num_batches_tracked, which eval never reads


def _for_grid(position: Tensor, transformer: Any) -> Tensor:
    """Resample a plain transformer's position embedding, 1×n×C of a square grid, to the transformer's own grid."""
    prefix = getattr(transformer, "num_prefix_tokens", None)
    if prefix is None or position.ndim != 3 or (position.shape[1] - prefix) ** 0.5 % 1:
        return position
    return resample_abs_pos_embed(position, transformer.patch_embed.grid_size, num_prefix_tokens=prefix)


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        how = how_to_make(path) or "; give its path, 'imagenet' or 'none'"
        raise FileNotFoundError(f"encoder weights {path}: no such file{how}")
    if not path.is_file():
        raise ValueError(f"encoder weights {path}: {': '.join(what_it_is(path))}")
    try:
        if path.suffix == ".safetensors":
            with open_safetensors(path) as file:
                state = {key: file.get_tensor(key) for key in file.offset_keys()}  # in the file's order
        else:
            state = read_torch_file(path)
    except SafetensorError as error:
        found = ": ".join(what_it_is(path)) or one_line(error)
        raise ValueError(f"encoder weights {path}: not a readable state dict ({found})") from error
    except ValueError as error:
        raise ValueError(f"encoder weights {path}: not a readable state dict ({one_line(error)})") from error
    derived = ("num_batches_tracked", "relative_position_index", "attn_mask")
    return {key: value for key, value in state.items() if not key.endswith(derived)}


def _match_names(wanted: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Match tensors by name, apart from one prefix of the encoder's names and one of the file's; None if that fails.

    timm writes layers_0 for layers.0.
    """
    state = {_flat(key): value for key, value in state.items()}
    parts = [name.split(".") for name in wanted]
    shared = sum(1 for _ in takewhile(lambda each: len(set(each)) == 1, zip(*(of[:-1] for of in parts), strict=False)))
    names = {name: "_".join(of[shared:]) for name, of in zip(wanted, parts, strict=True)}
    first = next(iter(names.values()))
    for key in state:
        if key.endswith(first):
            prefix = key.removesuffix(first)
            if all(prefix + name in state for name in names.values()):
                return {name: state[prefix + bare] for name, bare in names.items()}
    return None


def _flat(key: str) -> str:
    return key.replace(".", "_")


def _torchvision_swin_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename torchvision's Swin to timm's names, since the two order a patch merging differently; keep others."""
    if "features.1.0.attn.relative_position_bias_table" not in state:
        return state

    def timm_name(key: str) -> str:
        key = key.replace("features.0.0.", "patch_embed.proj.").replace("features.0.2.", "patch_embed.norm.")
        key = re.sub(r"^features\.([1357])\.", lambda found: f"layers.{int(found[1]) // 2}.blocks.", key)
        key = re.sub(r"^features\.([246])\.", lambda found: f"layers.{int(found[1]) // 2}.downsample.", key)
        return key.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")

    return {timm_name(key): value for key, value in state.items()}


def _match_order(wanted: dict[str, Tensor], state: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    """Match the encoder's tensors with the file's first ones, by kind and shape."""
    if len(state) < len(wanted):
        raise ValueError(f"{what}: holds {len(state)} tensors, the encoder has {len(wanted)}; another network's file?")
    matched = {}
    for (name, ours), (key, theirs) in zip(wanted.items(), state.items(), strict=False):
        if name.rpartition(".")[2] != key.rpartition(".")[2] or ours.shape != theirs.shape:
            raise ValueError(
                f"{what}: neither its names nor their order fit: {one_line(key, 100)} {tuple(theirs.shape)} stands "
                f"where {name} {tuple(ours.shape)} is expected; another network's file?"
            )
        matched[name] = theirs
    return matched
