"""torch.hub entry points; from a checkout, nothing has to be installed:

torch.hub.load("path/to/sral", "sral", source="local", weights="sral.safetensors")   # RGB tensors to logits
torch.hub.load("path/to/sral", "saliency", source="local")  # images to their saliency maps
"""

import contextlib
import importlib.machinery
import pathlib
import sys
import typing

dependencies = ["torch", "torchvision", "timm", "numpy", "PIL", "safetensors", "simplejpeg"]

if typing.TYPE_CHECKING:
    import collections.abc

    import torch

_ROOT = pathlib.Path(__file__).resolve().parent
_PACKAGES = ("datasets", "inference", "models", "utils")


def sral(
    weights: str | pathlib.Path | None = None,
    *,
    training: bool = False,
    encoder_weights: str = "none",
    token_weights: str = "none",
    host_file: str | pathlib.Path | None = None,
    **config: typing.Any,
) -> "torch.nn.Module":
    """Return a salient object detector, or the network that trains it.

    The detector's input is `rgb`, B×3×H×W with H and W multiples of 32: RGB in [0, 1], normalized per channel as
    `(rgb - mean) / std` with `network.config.mean` and `network.config.std`. `network.config.input_size` is the (H, W)
    that it was trained at. It returns a dict:

    - `logits`: B×1×2H×2W; the sigmoid of them is the saliency map.
    - `features`: F1…F5, the encoder's feature maps at strides 2, 4, 8, 16 and 32.
    - `context`: F6, the output of PPM at stride 32.
    - `decoded`: the decoder's feature maps, finest first.

    A host (another network in the detector's place) returns `logits` only.

    The training network, `network(rgb, ycbcr)`, also takes the images as full-range YCbCr in [0, 1], B×3×H×W. Its dict
    holds `logits1` (finest) … `logits5`, B×1×2H×2W, fewer without deep supervision; with ASRD `sr_image`, `sr_residual`
    and `sr_features`; with TFGM `guidance` and `fused`. Its statistics are in `network.config.detector`.

    Args:
        weights: a weights file (.safetensors), which carries its configuration. None: random weights, from `config`.
        training: return the training network in training mode; otherwise the detector in eval mode, also where the
            file holds a training network.
        encoder_weights: weights of the encoder, without `weights`: 'none', 'imagenet' (downloaded by timm) or a file.
        token_weights: the same for the transformer in `tokens`: 'none', 'pretrained' (downloaded) or a file.
        host_file: a Python file that registers your own network, which `weights` or `host` names; it is executed.
        config: settings that differ from the defaults, without `weights`: `encoder`, `width`, `head_channels`,
            `input_size`, `encoder_size`, `head`, `refined`, `mean`, `std`, `tokens`, `host`; with `training` also
            `drop_path`, `deep_supervision`, `super_resolution`, `guidance`, `asrd` and `tfgm`.

    Raises:
        FileNotFoundError, ValueError: no such file or network, or the file does not hold it.
    """
    with _our_packages():
        from models.config import DetectorConfig, SRALConfig, from_dict
        from models.detector import build_detector
        from models.hosts import run_host_file
        from models.sral import build_sral
        from models.weights import load_detector, load_sral

        if host_file is not None:
            run_host_file(host_file)
        starts = {"encoder_weights": encoder_weights, "token_weights": token_weights}
        if weights is not None:
            if given := sorted(config) + [name for name, start in starts.items() if start != "none"]:
                raise ValueError(f"{', '.join(given)}: a weights file says that itself; give one or the other")
            return load_sral(weights) if training else load_detector(weights)
        if not training:
            return build_detector(from_dict(DetectorConfig, config, "sral"), **starts).eval()
        attached = {key: config.pop(key) for key in set(config) & set(SRALConfig.__dataclass_fields__)}
        return build_sral(from_dict(SRALConfig, {"detector": config, **attached}, "sral"), **starts).train()


def saliency(
    weights: str | pathlib.Path | None = None,
    *,
    backend: str | None = None,
    device: str = "auto",
    precision: str | None = None,
    size: str = "network",
    raw: bool = False,
    tta: str | None = None,
    bands: str | None = None,
    value_range: str | None = None,
    host_file: str | pathlib.Path | None = None,
    output: str = "image",
    input_size: "int | tuple[int, int] | None" = None,
    **renamed: typing.Any,
) -> "collections.abc.Callable[[typing.Any], typing.Any]":
    """Return a function from an image to its saliency map, or from a batch of images to a list of maps.

    An image is a file, a PIL image, an array of H×W gray or H×W×3 RGB values (uint8 or uint16), or a tensor 3×H×W or
    1×H×W (uint8, or float in [0, 1]). A batch is a list of images, an array B×H×W×3 or a tensor B×C×H×W; the network
    computes it in one call. The map is that of `getsmaps.py` with the same
    backend. The function resizes and normalizes the
    image itself, and warns of one that is dark, turned by EXIF, partly transparent or much larger than the network's
    input.

    Args:
        weights: a weights file (.safetensors), or a file that inference.export wrote (.onnx, .xml); None is the network
            lite2 in weights/.
        backend: 'torch', 'compile', 'cudagraphs', 'onnxruntime' or 'openvino'; 'auto', the fastest that is installed
            and gives the same maps in fp32 within one gray level; None: 'torch', or the runtime of an exported file.
        device: 'auto' (a CUDA GPU if there is one), 'cpu', 'cuda', 'cuda:N' or 'mps'.
        precision: 'fp32', 'bf16', 'fp16' (on a GPU), or 'int8' (an exported file's); None: that of an exported file, or
            'fp32'.
        size: 'network', twice the network's input (448×448 in the paper), or 'original', the image's own size.
        raw: return sigmoid × 255, without the threshold and stretch of the released code.
        tta: test-time augmentation, the average over the image and its mirror image ('mirror', 2 passes) or over all
            eight combinations of mirroring and 90° rotations ('eight', 8 passes); None: the image alone.
        bands: numbers of the red, green and blue band of a file that does not say it, such as '3,2,1'.
        value_range: values that become black and white in a file of other than 8-bit values, such as '200:3000'.
        host_file: a Python file that registers your own network; it is executed.
        output: 'image', 8-bit gray PIL images; or 'float', float32 in [0, 1]: an array H×W (B×H×W for an array of
            images, a list for a list); tensors give tensors, 1×H×W or B×1×H×W, on their device.
        input_size: height and width that the image is resized to for the network, multiples of 32; one number for a
            square; None: the size that the network was trained at.

    Raises:
        FileNotFoundError, ValueError: no such file, backend, device, precision or input size. The function raises
            them for an image that is missing or broken, or whose values would be guessed.
    """
    _check_arguments(size, output, renamed)
    with _our_packages():
        if host_file is not None:
            from models.hosts import run_host_file

            run_host_file(host_file)
        from inference.in_memory import ImageSaliency

        run, used_size = _open_network(weights, backend, device, precision, tta, input_size)
        return ImageSaliency(run, used_size, _reading(bands, value_range), size == "original", raw, output)


def _check_arguments(size: str, output: str, renamed: "dict[str, typing.Any]") -> None:
    """Raise a ValueError or TypeError for an argument that does not exist or has another value."""
    if "symmetries" in renamed:
        raise ValueError(f"symmetries is now tta: use tta={renamed['symmetries']!r}")
    if renamed:
        raise TypeError(f"saliency has no argument {', '.join(renamed)}")
    if size not in ("network", "original"):
        raise ValueError(f"size {size!r}: choose network or original")
    if output not in ("image", "float"):
        raise ValueError(f"output {output!r}: choose image or float")


def _open_network(
    weights: "str | pathlib.Path | None",
    backend: str | None,
    device: str,
    precision: str | None,
    tta: str | None,
    input_size: "int | tuple[int, int] | None",
) -> "tuple[typing.Any, tuple[int, int]]":
    """Return what computes the saliency of a batch, and its input size."""
    from inference.fastest import open_fastest
    from inference.tta import TTA_MODES, with_tta
    from models.shipped import LITE2

    if tta not in (None, *TTA_MODES):
        raise ValueError(f"tta {tta!r}: choose {' or '.join(TTA_MODES)}")
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    network, _ = open_fastest(backend, pathlib.Path(weights or LITE2), device, precision, size=size)
    return (with_tta(network, tta) if tta else network), network.input_size


def _reading(bands: str | None, value_range: str | None) -> typing.Any:
    """Return how image files are read."""
    from datasets.io import Reading
    from datasets.raster import parse_bands, parse_range

    bounds = parse_range(value_range) if value_range else None
    if value_range and bounds is None:
        raise ValueError("value_range='auto': one range holds for all images, so give it as 'LOW:HIGH'")
    return Reading(parse_bands(bands) if bands else None, bounds)


@contextlib.contextmanager
def _our_packages() -> "collections.abc.Iterator[None]":
    """Import this checkout's packages inside the block, and leave packages of the same names as they were.

    Hugging Face has a `datasets`, and many repositories have a `models` or `utils`. Such packages leave sys.modules for
    the time of the block. Afterwards ours stay in sys.modules only where no other package has the same name. Where one
    has, code that looks modules up by name does not find ours: torch.compile, and the pickling of a whole network.
    """
    loaded = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in _PACKAGES}
    others = {name: module for name, module in loaded.items() if not _is_ours(loaded[name.partition(".")[0]])}
    for name in others:
        del sys.modules[name]
    sys.path.insert(0, str(_ROOT))
    try:
        from utils.devices import compute_alone_after_fork

        compute_alone_after_fork()
        yield
    finally:
        sys.path.remove(str(_ROOT))
        claimed = {name.partition(".")[0] for name in others}
        claimed.update(package for package in _PACKAGES if package not in loaded and _is_elsewhere(package))
        for name in [name for name in sys.modules if name.partition(".")[0] in claimed]:
            del sys.modules[name]
        sys.modules.update(others)


def _is_ours(package: object) -> bool:
    return pathlib.Path(getattr(package, "__file__", None) or "/").resolve().is_relative_to(_ROOT)


def _is_elsewhere(package: str) -> bool:
    """Return whether a package of that name is installed or on the path outside this checkout."""
    path = [entry for entry in sys.path if pathlib.Path(entry or ".").resolve() != _ROOT]
    found = importlib.machinery.PathFinder.find_spec(package, path)
    return found is not None and found.origin is not None  # a folder without __init__.py is no package
