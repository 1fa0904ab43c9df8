"""Files to tensors: data sets on disk, decoding, the cache, augmentation, batches, and the check of a set."""
