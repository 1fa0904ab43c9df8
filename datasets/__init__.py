"""Files to tensors: what each data set is on disk, its views and augmentations, and the rendered sample set."""
