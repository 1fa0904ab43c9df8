"""Trained weights to saliency maps, as fast as the hardware allows."""
