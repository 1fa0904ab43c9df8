"""Run trained networks: from weights and images to saliency maps.

Command lines read the names below before torch is imported, which takes seconds.
"""

BACKEND_NAMES = ("torch", "compile", "cudagraphs", "onnxruntime", "openvino")
PRECISION_NAMES = ("fp32", "bf16", "fp16", "int8")
EXPORT_FORMATS = {"onnx": ".onnx", "openvino": ".xml"}
"""Export formats and their file suffixes. OpenVINO's .xml has its tensors in a .bin of the same name."""
