"""Run trained networks: from weights and images to saliency maps.

Command lines read the names below before torch is imported, which takes seconds.
"""

from dataclasses import dataclass

PRECISION_NAMES = ("fp32", "bf16", "fp16", "int8")


@dataclass(frozen=True)
class BackendKind:
    """What is known of a backend before it is imported.

    Attributes:
        place: module and class, MODULE:CLASS.
        precisions: those that it may support, depending on the machine.
        files: suffixes of the exported files that it runs.
        requirements: the file that lists what a weights file's conversion takes; empty: it runs them as they are.
        converts: the precisions in which it runs a converted weights file.
    """

    place: str
    precisions: tuple[str, ...]
    files: tuple[str, ...] = ()
    requirements: str = ""
    converts: tuple[str, ...] = ()


BACKENDS = {
    "torch": BackendKind("inference.backends.eager:TorchEager", ("fp32", "bf16", "fp16")),
    "compile": BackendKind("inference.backends.compiled:TorchCompiled", ("fp32", "bf16", "fp16")),
    "cudagraphs": BackendKind("inference.backends.cuda_graphs:CudaGraphs", ("fp32", "bf16", "fp16")),
    "onnxruntime": BackendKind(
        "inference.backends.onnx_runtime:OnnxRuntime",
        ("fp32", "int8"),
        (".onnx",),
        "requirements-onnx.txt",
        ("fp32",),
    ),
    "openvino": BackendKind(
        "inference.backends.open_vino:OpenVino",
        ("fp32", "bf16", "int8"),
        (".onnx", ".xml"),
        "requirements-openvino.txt",
        ("fp32", "bf16"),
    ),
}
"""Every backend by name: the only place to add one."""

BACKEND_PRECISIONS = {name: kind.precisions for name, kind in BACKENDS.items()}


def check_backend_name(name: str, also: tuple[str, ...] = ()) -> str:
    """Return the name of a backend: of BACKENDS or `also`, or FILE.py:CLASS of your own. Raise ValueError otherwise."""
    known = (*also, *BACKENDS)
    file, colon, member = name.rpartition(":")
    if name not in known and not (colon and file.endswith(".py") and member.isidentifier()):
        raise ValueError(f"backend {name!r}: choose {', '.join(known)}, or FILE.py:CLASS for one of your own")
    return name
