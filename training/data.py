"""The pairs that a run trains on and is validated by, as its settings name them."""

from pathlib import Path

from datasets.catalog import Pair, find_pairs, pair_folders
from datasets.split import leave_out, split_validation
from tools.make_sample import make_sample_set
from training.config import DataConfig


def find_data(settings: DataConfig) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """The training split's pairs: all, those that are trained on, and the validation part. The test split is not read.

    The sample set is rendered where it is not there.

    Raises:
        FileNotFoundError, ValueError: as `datasets.catalog`'s functions.
    """
    if settings.dataset == "folders":
        pairs = pair_folders(settings.images, settings.masks)
    else:
        if settings.dataset == "sample":
            make_sample_set(Path(settings.root))
        pairs = find_pairs(settings.dataset, settings.root, "train")
    parts = split_validation(pairs, settings.validation, settings.validation_seed, settings.exclude)
    return leave_out(pairs, settings.exclude), *parts
