"""Run trained networks: from weights and images to saliency maps.

Command lines read the names below before torch is imported, which takes seconds.
"""

BACKEND_NAMES = ("torch", "compile", "cudagraphs", "onnxruntime", "openvino")
PRECISION_NAMES = ("fp32", "bf16", "fp16", "int8")
BACKEND_PRECISIONS = {
    "torch": ("fp32", "bf16", "fp16"),
    "compile": ("fp32", "bf16", "fp16"),
    "cudagraphs": ("fp32", "bf16", "fp16"),
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
}
"""The precisions that each backend may support, depending on the machine."""
