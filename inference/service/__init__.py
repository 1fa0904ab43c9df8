"""A small HTTP service: an image in, its saliency map out. Needs requirements-service.txt, and no torch."""
