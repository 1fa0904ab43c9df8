"""Leave named images out of the scores."""

from collections.abc import Collection, Mapping
from pathlib import Path

from compute_results.matching import Matching
from datasets.catalog import composed
from utils.text import read_text


def read_stems(path: Path) -> list[str]:
    """Return the stems in a UTF-8 file: one a line; blank lines and lines that start with # are skipped.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not UTF-8, or names no stem.
    """
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"--exclude {path} is not UTF-8 text: save it as UTF-8, one stem a line") from error
    stems = list(dict.fromkeys(composed(line) for line in lines if line and not line.startswith("#")))
    if not stems:
        raise ValueError(f"--exclude {path} names no image: write one stem a line")
    return stems


def leave_out(
    matchings: Mapping[tuple[str, str], Matching], stems: Collection[str]
) -> tuple[dict[tuple[str, str], Matching], dict[str, list[str]]]:
    """Return the matchings without the named masks, and the stems that were left out of each data set that has them.

    Raises:
        ValueError: no mask has one of the stems, or a method is left without images.
    """
    kept, excluded, named = {}, {}, set(stems)
    for (method, dataset), matching in matchings.items():
        masks = {pair.stem for pair in matching.pairs} | set(matching.missing)
        excluded[dataset] = [stem for stem in stems if stem in masks]
        pairs = [pair for pair in matching.pairs if pair.stem not in named]
        if not pairs:
            raise ValueError(f"--exclude leaves no image of {method} on {dataset}: exclude fewer")
        kept[method, dataset] = Matching(pairs, [s for s in matching.missing if s not in named], matching.surplus)
    found = set().union(*excluded.values())
    unknown = [stem for stem in stems if stem not in found]
    if unknown:
        raise ValueError(f"--exclude names {', '.join(unknown[:5])}, but no mask has that stem: correct the file")
    return kept, {dataset: stems for dataset, stems in excluded.items() if stems}
