"""Tensors to maps and losses: the detector, what is attached for training only, and their weights files."""
