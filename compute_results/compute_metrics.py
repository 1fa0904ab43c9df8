"""Score saliency maps against masks: tables, curves and per-image scores, under one of two protocols.

    python compute_results/compute_metrics.py --dataset ORSSD --root data/ORSSD --protocol authors \\
        --maps HFANet-R=maps/HFANet_R SRAL=runs/demo/maps --output scores/authors
    python compute_results/compute_metrics.py --masks data/mine/labels --maps SRAL=maps/mine --protocol field
    python compute_results/compute_metrics.py --config table.yaml --protocol field

The map of a mask is `<stem>.png` or `<stem>_<anything>.png`, in the same sub-folder as the mask. Files in --output:

    scores.json  scores.csv   the metrics at full precision
    scores.md    scores.tex   the table, the best three of each column marked
    pr_<set>, fbeta_<set>     precision-recall and Fβ-threshold curves of all methods, as .png and .pdf
    curves.csv                the points of those curves
    per_image.csv             each image's metrics; within a method and set the lowest Sm comes first
"""

import argparse
import io
import os
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

from compute_results import table_config
from compute_results.matching import Matching, describe, match_maps
from compute_results.options import CommandParser, check_name, maps_by_method
from compute_results.protocols import PROTOCOLS
from compute_results.result import Scores
from compute_results.scoring import load_protocol, score
from compute_results.table_config import MaskSource, TableConfig
from datasets.catalog import DATASETS
from utils.files import atomic_files


def main() -> None:
    """Run the command; bad input ends in one line on standard error and exit status 1."""
    arguments = _parser().parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot print β still shows the scores
    try:
        config = _config(arguments)
        protocol = arguments.protocol or config.protocol
        if protocol is None:
            raise ValueError(f"choose --protocol {' or '.join(PROTOCOLS)}: their figures cannot be compared")
        load_protocol(protocol)
        output = arguments.output or config.output or Path("runs") / f"scores_{protocol}"
        if output.exists() and not output.is_dir():
            raise ValueError(f"{output} is a file: give --output a folder")
        scores = Scores(protocol, config.datasets)
        score_all(scores, match_all(config, arguments.allow_missing), arguments.workers)
        files = render(scores)
        table = files.pop("")
        write_all(files, output)
        print(table, end="")
        print(f"Written to {output}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def match_all(config: TableConfig, allow_missing: bool) -> dict[tuple[str, str], Matching]:
    """Find the maps of every method before any is scored.

    Raises:
        ValueError: maps are missing or surplus (unless `allow_missing`), or a method has none on a set.
    """
    masks = {name: _find(name, config.sets[name]) for name in config.datasets}
    matchings, problems = {}, []
    for (method, dataset), folder in config.maps.items():
        matching = matchings[method, dataset] = match_maps(masks[dataset], folder)
        if not matching.pairs or ((matching.missing or matching.surplus) and not allow_missing):
            problems.append(f"{method} on {dataset} ({folder}): {describe(matching)}")
        if not matching.pairs:
            problems[-1] += "; no map fits a mask: they must be called <stem>.png or <stem>_<anything>.png"
    if problems:
        remedy = "" if allow_missing else " [--allow-missing scores the maps that have a mask]"
        raise ValueError("\nerror: ".join(problems) + remedy)
    return matchings


def score_all(scores: Scores, matchings: Mapping[tuple[str, str], Matching], workers: int | None = None) -> None:
    """Score every method on every set into `scores`; missing or surplus maps become a note under the table."""
    for (method, dataset), matching in matchings.items():
        start = time.perf_counter()
        result = score(matching.pairs, scores.protocol, workers, label=f"{method} on {dataset}")
        seconds = time.perf_counter() - start
        spent = f"{seconds:.1f} s, {1000 * seconds / result.images:.1f} ms per image"
        print(f"{method} on {dataset}: {result.images} images in {spent}", file=sys.stderr)
        scores.results[method, dataset] = result
        if matching.missing or matching.surplus:
            total = result.images + len(matching.missing)
            note = f"{method} on {dataset}: {result.images} of {total} masks scored; {describe(matching)}."
            scores.notes.append(note)


def render(scores: Scores) -> dict[str, str | bytes]:
    """Return the content of every file by name; the name "" has the table for the terminal."""
    from compute_results import curves, tables  # pandas and matplotlib take a second: import them after scoring

    return {
        "": tables.as_text(scores),
        "scores.json": tables.as_json(scores),
        "scores.csv": tables.as_csv(scores),
        "scores.md": tables.as_markdown(scores),
        "scores.tex": tables.as_latex(scores),
        "per_image.csv": tables.per_image_csv(scores),
        "curves.csv": curves.curves_csv(scores),
        **dict(curves.draw_curves(scores)),
    }


def write_all(files: Mapping[str, str | bytes], folder: Path) -> None:
    """Write files by name into a folder: all of them, or none.

    Raises:
        OSError: a file cannot be written; the message names it.
    """
    atomic_files({folder / name: content for name, content in files.items()})


def _find(name: str, source: MaskSource) -> dict[str, Path]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        masks = source.find(name)
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    return masks


def _config(arguments: argparse.Namespace) -> TableConfig:
    """Return what the arguments name, in one of three ways."""
    if arguments.split and not arguments.root:
        raise ValueError("--split belongs to --dataset NAME --root DIR")
    if arguments.config:
        if arguments.masks or arguments.root or arguments.maps or arguments.dataset:
            raise ValueError("--config names masks and maps by itself: leave out --masks, --dataset, --root and --maps")
        return table_config.read_table_config(arguments.config)
    if bool(arguments.masks) == bool(arguments.root):
        raise ValueError("give the masks as --masks DIR or --dataset NAME --root DIR, or everything as --config FILE")
    if not arguments.maps:
        raise ValueError("give the maps as --maps METHOD=DIR [METHOD2=DIR ...]")
    if not (arguments.dataset or arguments.masks):
        raise ValueError("--root needs --dataset, the data set's name")
    if arguments.masks:
        source = MaskSource(masks=arguments.masks)
    else:
        source = MaskSource(root=arguments.root, split=arguments.split or "test")
    name = check_name(arguments.dataset or arguments.masks.resolve().name)
    maps = {(method, name): folder for method, folder in maps_by_method(arguments.maps).items()}
    return TableConfig({name: source}, maps)


def _parser() -> CommandParser:
    layout = (table_config.__doc__ or "").partition("\n\n")[2]
    parser = CommandParser(description=__doc__, epilog=layout)
    masks = parser.add_argument_group("masks and maps of one data set")
    masks.add_argument(
        "--dataset", metavar="NAME", help=f"one of {', '.join(DATASETS)}; with --masks: a name for the table"
    )
    masks.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder")
    masks.add_argument("--split", choices=("train", "test"), help="with --root: the split (default: test)")
    masks.add_argument("--masks", type=Path, metavar="DIR", help="any folder of masks, sub-folders included")
    masks.add_argument(
        "--maps", nargs="+", action="extend", metavar="METHOD=DIR", help="each method's name and folder of PNG maps"
    )
    several = parser.add_argument_group("several data sets")
    several.add_argument("--config", type=Path, metavar="FILE", help="YAML file of methods and data sets, see below")
    parser.add_argument("--protocol", choices=list(PROTOCOLS), help="authors: the paper's Table I; field: PySODMetrics")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write (default: runs/scores_PROTOCOL)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), metavar="N", help="processes (default: one per processor)"
    )
    parser.add_argument("--allow-missing", action="store_true", help="score the maps that exist, and report the count")
    parser.add_renamed("--out", "--output")
    return parser


if __name__ == "__main__":
    command.run(main)
