"""Find the pairs that a configuration trains and validates on: one set or several, and a validation folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.catalog import Pair, dataset_name, find_pairs, pair_folders
from datasets.split import identical_images, leave_out, split_validation
from training.data_config import DataConfig

SHOWN = 5
"""Pairs that an error names."""


def find_data(settings: DataConfig) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to train on and the validation pairs. No test split is read.

    The validation pairs are part of the training sets, unless the configuration names a folder of them.

    Raises:
        FileNotFoundError, ValueError: as `datasets.catalog`'s functions; a validation image is a training image too;
            two sets have the same name.
    """
    pairs = _all_pairs(settings)
    if settings.val_images is None or settings.val_masks is None:
        return split_validation(pairs, settings.validation, settings.validation_seed, settings.exclude)
    training = sorted(leave_out(pairs, settings.exclude), key=lambda pair: pair.stem)
    validation = pair_folders(settings.val_images, settings.val_masks)
    if not training:
        raise ValueError("all training pairs are excluded: exclude fewer")
    _refuse_shared_images(training, validation)
    return training, validation


def _all_pairs(settings: DataConfig) -> list[Pair]:
    """Return the pairs of all training sets; stems of all but the first begin with the set's name."""
    if settings.dataset == "folders":
        assert settings.images is not None
        assert settings.masks is not None
        pairs = pair_folders(settings.images, settings.masks)
    else:
        pairs = find_pairs(settings.dataset, settings.folder, "train")
    stems = {pair.stem for pair in pairs}
    for text in settings.more:
        name, added = _further_set(text)
        added = [replace(pair, stem=f"{name}/{pair.stem}") for pair in added]
        if shared := stems & {pair.stem for pair in added}:
            raise ValueError(
                f"data.more {text}: {len(shared)} of its pairs have names that another set has too, such as "
                f"{min(shared)}; rename the folder, whose name they begin with"
            )
        stems |= {pair.stem for pair in added}
        pairs = [*pairs, *added]
    return pairs


def _further_set(text: str) -> tuple[str, list[Pair]]:
    """Return the name and the pairs of a set in data.more: NAME=DIR, or IMAGES:MASKS."""
    folders = [(text[:place], text[place + 1 :]) for place, letter in enumerate(text) if letter == ":"]
    for images, masks in folders:
        if Path(images).is_dir() and Path(masks).is_dir():
            return Path(images).resolve().name, pair_folders(images, masks)
    dataset, _, root = text.partition("=")
    if root:
        name = dataset_name(dataset)
        return name, find_pairs(name, root, "train")
    missing = f"; there is no folder {_absent(folders[0])}" if folders else ""
    raise ValueError(
        f"data.more {text}: expected NAME=DIR, a known set and its folder, or IMAGES:MASKS, two folders{missing}"
    )


def _absent(folders: Sequence[str]) -> str:
    return next(folder for folder in folders if not Path(folder).is_dir())


def _refuse_shared_images(training: Sequence[Pair], validation: Sequence[Pair]) -> None:
    """Raise a ValueError where a validation image is a training image too, byte for byte."""
    trained = {id(pair) for pair in training}  # the two may be of one folder, and so equal
    shared = []
    for group in identical_images([*training, *validation]):
        ours = [pair for pair in group if id(pair) in trained]
        theirs = [pair for pair in group if id(pair) not in trained]
        if ours and theirs:
            shared.append((theirs[0].image, ours))
    if shared:
        named = "; ".join(f"{image} is {', '.join(pair.stem for pair in ours)}" for image, ours in shared[:SHOWN])
        stems = " ".join(pair.stem for _, ours in shared for pair in ours[:SHOWN])
        raise ValueError(
            f"{len(shared)} images of data.val_images are training images too, byte for byte ({named}"
            f"{'; …' * (len(shared) > SHOWN)}): remove them there, or leave them out with --data.exclude {stems}"
        )
