"""Score saliency maps against masks: tables, curves and per-image scores, under one of two protocols.

    python compute_results/compute_metrics.py --dataset ORSSD --root data/ORSSD --protocol authors \\
        --maps HFANet-R=maps/HFANet_R SRAL=runs/demo/maps --out scores/authors
    python compute_results/compute_metrics.py --masks data/mine/labels --maps SRAL=maps/mine --protocol field
    python compute_results/compute_metrics.py --config table.yaml --protocol field

A mask's map is `<stem>.png` or `<stem>_<anything>.png`, in the mask's own sub-folder. Written to --out:

    scores.json  scores.csv   the figures at full precision
    scores.md    scores.tex   the table, the best three of each column marked
    pr_<set>, fbeta_<set>     precision-recall and Fβ-threshold curves of all methods, as .png and .pdf
    curves.csv                the points of those curves
    per_image.csv             each image's own figures, within a method and set the worst Sm first
"""

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compute_results import table_config as plans
from compute_results import tables
from compute_results.matching import Matching, describe, match_maps
from compute_results.result import FIGURES
from compute_results.scoring import load_protocol, score
from compute_results.table_config import MaskSource, Plan
from compute_results.tables import Scores
from utils.files import atomic_write


def main() -> None:
    """Run the command; bad input ends in one line on standard error and exit status 1."""
    arguments = _parser().parse_args()
    sys.stdout.reconfigure(errors="replace")  # a terminal that cannot print β is no reason to lose the scores
    try:
        plan = _plan(arguments)
        protocol = arguments.protocol or plan.protocol
        if protocol is None:
            raise ValueError(f"choose --protocol {' or '.join(FIGURES)}: their figures cannot be compared")
        load_protocol(protocol)
        scores = Scores(protocol, plan.datasets)
        score_all(scores, match_all(plan, arguments.allow_missing), arguments.workers)
        print(tables.as_text(scores), end="")
        out = arguments.out or plan.out or Path("runs") / f"scores_{protocol}"
        write_all(scores, out)
        print(f"Written to {out}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def match_all(plan: Plan, allow_missing: bool) -> dict[tuple[str, str], Matching]:
    """Find every method's maps before any is scored.

    Raises:
        ValueError: maps are missing or surplus (unless `allow_missing`), or a method has none on a set.
    """
    masks = {name: _find(plan.sets[name]) for name in plan.datasets}
    matchings, problems = {}, []
    for (method, dataset), folder in plan.maps.items():
        matching = matchings[method, dataset] = match_maps(masks[dataset], folder)
        if not matching.pairs or ((matching.missing or matching.surplus) and not allow_missing):
            problems.append(f"{method} on {dataset} ({folder}): {describe(matching)}")
        if not matching.pairs:
            problems[-1] += "; no map fits a mask: they must be called <stem>.png or <stem>_<anything>.png"
    if problems:
        remedy = "" if allow_missing else " [--allow-missing scores the maps that have a mask]"
        raise ValueError("\nerror: ".join(problems) + remedy)
    return matchings


def score_all(scores: Scores, matchings: dict[tuple[str, str], Matching], workers: int | None = None) -> None:
    """Score every method on every set into `scores`; what was missing or surplus becomes a note under the table."""
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


def write_all(scores: Scores, out: Path) -> None:
    """Write tables, curves and per-image scores into the folder `out`, each file whole or not at all."""
    from compute_results import curves  # matplotlib takes a second to import: not before the input is known to be good

    atomic_write(out / "scores.json", tables.as_json(scores))
    atomic_write(out / "scores.csv", tables.as_csv(scores))
    atomic_write(out / "scores.md", tables.as_markdown(scores))
    atomic_write(out / "scores.tex", tables.as_latex(scores))
    atomic_write(out / "per_image.csv", tables.per_image_csv(scores))
    atomic_write(out / "curves.csv", curves.curves_csv(scores))
    for name, content in curves.draw_curves(scores):
        atomic_write(out / name, content)


def _find(source: MaskSource) -> dict[str, Path]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        masks = source.find()
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    return masks


def _plan(arguments: argparse.Namespace) -> Plan:
    """The plan that the arguments name, in one of three ways."""
    if arguments.split and not arguments.root:
        raise ValueError("--split belongs to --dataset NAME --root DIR")
    if arguments.config:
        if arguments.masks or arguments.root or arguments.maps or arguments.dataset:
            raise ValueError("--config names masks and maps by itself: leave out --masks, --dataset, --root and --maps")
        return plans.read_plan(arguments.config)
    if bool(arguments.masks) == bool(arguments.root):
        raise ValueError("give the masks as --masks DIR or --dataset NAME --root DIR, or everything as --config FILE")
    if not arguments.maps:
        raise ValueError("give the maps as --maps METHOD=DIR [METHOD2=DIR ...]")
    if arguments.masks:
        name = arguments.dataset or arguments.masks.resolve().name
        return plans.plan_from_arguments(name, MaskSource(masks=arguments.masks), arguments.maps)
    if not arguments.dataset:
        raise ValueError("--root needs --dataset, the data set's name")
    source = MaskSource(dataset=arguments.dataset, root=arguments.root, split=arguments.split or "test")
    return plans.plan_from_arguments(arguments.dataset, source, arguments.maps)


def _parser() -> argparse.ArgumentParser:
    layout = "The layout of --config's FILE:\n" + plans.__doc__.partition("\n\n")[2]
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=layout, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    masks = parser.add_argument_group("masks")
    masks.add_argument("--masks", type=Path, metavar="DIR", help="folder of masks, sub-folders included")
    masks.add_argument(
        "--dataset",
        metavar="NAME",
        help="with --root: the data set to read; with --masks: its name in the tables (default: the folder's)",
    )
    masks.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder")
    masks.add_argument("--split", help="with --root: the data set's split (default: test)")
    parser.add_argument(
        "--maps", nargs="+", action="extend", metavar="METHOD=DIR", help="each method's name and folder of maps (PNG)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML naming many methods and sets, see below")
    parser.add_argument("--protocol", choices=list(FIGURES), help="authors: the paper's Table I; field: PySODMetrics")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the scores (default: runs/scores_PROTOCOL)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), metavar="N", help="processes (default: all processors)"
    )
    parser.add_argument("--allow-missing", action="store_true", help="score the maps there are, and say how many")
    return parser


if __name__ == "__main__":
    main()
