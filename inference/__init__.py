"""Run trained networks: from weights and images to saliency maps.

Command lines read the names below before torch is imported, which takes seconds.
"""

BACKEND_NAMES = ("torch", "compile", "cudagraphs", "onnxruntime", "openvino")
PRECISION_NAMES = ("fp32", "bf16", "fp16", "int8")
