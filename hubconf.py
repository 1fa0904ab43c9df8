"""torch.hub's door to the networks; from a checkout, without installing anything:

torch.hub.load("path/to/sral", "sral", source="local", weights="sral.safetensors")   # RGB tensors to logits
torch.hub.load("path/to/sral", "saliency", source="local")  # an image file to its map
"""

import contextlib
import importlib.machinery
import pathlib
import sys
import typing

dependencies = ["torch", "torchvision", "timm", "numpy", "PIL", "safetensors", "simplejpeg"]

if typing.TYPE_CHECKING:
    import collections.abc

    import PIL.Image
    import torch

_ROOT = pathlib.Path(__file__).resolve().parent
_PACKAGES = ("datasets", "inference", "models")


def sral(
    weights: str | pathlib.Path | None = None,
    *,
    training: bool = False,
    encoder_weights: str = "none",
    token_weights: str = "none",
    host_file: str | pathlib.Path | None = None,
    **config: typing.Any,
) -> "torch.nn.Module":
    """A salient object detector, or the network that trains it.

    Args:
        weights: a weights file (.safetensors), which says by itself what network it holds. None builds one with random
            weights from `config`.
        training: give the training network, in training mode: `network(rgb, ycbcr)` is a dict of what the joint loss
            reads. Otherwise the inference network in eval mode, whatever the file holds: `network(rgb)["logits"]`,
            whose sigmoid is the B×1×2H×2W saliency map. `network.config` has input size, mean and standard deviation.
        encoder_weights: without `weights`, the encoder's: 'none', 'imagenet' (downloaded by timm) or a file.
        token_weights: without `weights`, those of the transformer in `tokens`: 'none', 'pretrained' (downloaded) or a
            file.
        host_file: a Python file that registers a network of your own, which `weights` or `host` names; it is run.
        config: without `weights`, what differs from the defaults: `encoder`, `width`, `head_channels`, `input_size`,
            `encoder_size`, `head`, `refined`, `mean`, `std`, `tokens`, `host`; with `training` also
            `drop_path`, `deep_supervision`, `super_resolution`, `guidance`, `asrd` and `tfgm`.

    Raises:
        FileNotFoundError, ValueError: no such file, no such network, or a file that does not hold it.
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
            given = sorted(config) + [name for name, start in starts.items() if start != "none"]
            if given:
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
    symmetries: str | None = None,
    host_file: str | pathlib.Path | None = None,
) -> "collections.abc.Callable[[str | pathlib.Path | PIL.Image.Image], PIL.Image.Image]":
    """A function from an image, a file or a PIL image, to its saliency map, an 8-bit gray PIL image.

    The map is the one that `getsmaps.py` writes.

    Args:
        weights: a weights file (.safetensors), or what inference.export made of one (.onnx, .xml); None is the light
            network in weights/.
        backend: 'torch', 'compile', 'cudagraphs', 'onnxruntime' or 'openvino'; None: 'torch', or an export's own.
        device: 'auto' (a GPU where there is one), 'cpu' or 'cuda'.
        precision: 'fp32', 'bf16', on a GPU 'fp16', or an export's 'int8'; None is the export's own, or 'fp32'.
        size: 'network', twice the network's input (448×448 for the paper's), or 'original', the image's own.
        raw: sigmoid × 255 instead of the release's threshold and stretch.
        symmetries: 'mirror' or 'eight': the mean of the maps of the image's mirror image or of all its symmetries, in
            two or eight passes; None is the image alone.
        host_file: a Python file that registers the network, where it is one of your own; it is run.

    Raises:
        FileNotFoundError, ValueError: no such file, backend, device or precision; by the function, a broken image.
    """
    with _our_packages():
        from datasets.io import read_pixels
        from inference.backends import open_backend
        from inference.maps import gray_map
        from inference.tta import TTA_MODES, mean_over_symmetries
        from models.hosts import run_host_file
        from models.weights import LIGHT

        if size not in ("network", "original"):
            raise ValueError(f"size {size!r}: choose network or original")
        if symmetries not in (None, *TTA_MODES):
            raise ValueError(f"symmetries {symmetries!r}: choose {' or '.join(TTA_MODES)}")
        if host_file is not None:
            run_host_file(host_file)
        network = open_backend(backend, weights or LIGHT, device, precision)
        run = mean_over_symmetries(network, symmetries) if symmetries else network

    def saliency_of(image: "str | pathlib.Path | PIL.Image.Image") -> "PIL.Image.Image":
        pixels, own_size = read_pixels(image, network.input_size)
        return gray_map(run(pixels[None])[0], own_size if size == "original" else None, raw)

    return saliency_of


@contextlib.contextmanager
def _our_packages() -> "collections.abc.Iterator[None]":
    """Import this checkout's packages, whoever else goes by their names, and leave everybody else's in place.

    Hugging Face has a `datasets` too, and many a repository a `models`. Those that are loaded step aside meanwhile;
    afterwards ours keep their names in sys.modules only where no other package has a claim to them. Where one has, what
    looks modules up by name does not find ours: torch.compile, and the pickling of a whole network.
    """
    loaded = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in _PACKAGES}
    others = {name: module for name, module in loaded.items() if not _is_ours(loaded[name.partition(".")[0]])}
    for name in others:
        del sys.modules[name]
    sys.path.insert(0, str(_ROOT))
    try:
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
    """Whether a package of that name is installed or on the path outside this checkout."""
    path = [entry for entry in sys.path if pathlib.Path(entry or ".").resolve() != _ROOT]
    found = importlib.machinery.PathFinder.find_spec(package, path)
    return found is not None and found.origin is not None  # a mere folder of that name is no package
