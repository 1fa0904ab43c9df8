"""Write a trained network as a file for another runtime."""

FORMATS = {"onnx": ".onnx", "openvino": ".xml", "deepness": ".onnx"}
"""Formats and their file suffixes. OpenVINO's .xml has its tensors in a .bin of the same name."""
