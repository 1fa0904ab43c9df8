"""Score saliency maps against masks: tables, curves and per-image scores, under one of two protocols or both.

    python compute_results/compute_metrics.py --dataset ORSSD --root data/ORSSD --protocol authors \\
        --maps HFANet-R=maps/HFANet_R SRAL=runs/demo/maps --output scores/authors
    python compute_results/compute_metrics.py --masks data/mine/labels --maps SRAL=maps/mine --protocol field
    python compute_results/compute_metrics.py --config table.yaml --protocol authors field --groups

The map of a mask is `<stem>.png` or `<stem>_<anything>.png`, in the same sub-folder as the mask. Files in --output:

    scores.json  scores.csv   the metrics at full precision
    scores.md    scores.tex   the table, the best three of each column marked
    pr_<set>, fbeta_<set>     precision-recall and Fβ-threshold curves of all methods, as .png and .pdf
    curves.csv                the points of those curves
    significance.*            with two methods or more: each one's difference from --reference, is it real?
    groups.*                  with --groups: the metrics by object size and by other groups of images
    per_image.csv             each image's metrics; within a method and set the lowest Sm comes first
"""

import argparse
import io
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

from compute_results import table_config
from compute_results.evaluation import evaluate
from compute_results.exclusion import leave_out, read_stems
from compute_results.matching import Matching, describe, match_maps
from compute_results.options import CommandParser, check_name, dots_per_inch, maps_by_method
from compute_results.protocols import PROTOCOLS
from compute_results.protocols.own import read_metric_files
from compute_results.result import Scores
from compute_results.scoring import load_protocol
from compute_results.table_config import MaskSource, TableConfig
from datasets.catalog import DATASETS, run_if_file
from utils.files import atomic_files
from utils.outputs import check_folder, refuse_inputs
from utils.text import encodable

if TYPE_CHECKING:
    from compute_results.groups import Request

REPLACED = [
    *(f"{name}.{ending}" for name in ("scores", "significance", "groups") for ending in ("csv", "md", "tex")),
    "scores.json", "per_image.csv", "curves.csv",
]  # fmt: skip
"""Files of an earlier run that are replaced, or removed where the run has none of them."""


def main() -> None:
    """Run the command; bad input ends in one line on standard error and exit status 1."""
    arguments = _parser().parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot print β still shows the scores
    try:
        read_metric_files(arguments.metric_file)
        config = _config(arguments)
        protocols = tuple(dict.fromkeys(arguments.protocol or config.protocols))
        if not protocols:
            raise ValueError(f"choose --protocol {' or '.join(PROTOCOLS)}: their figures cannot be compared")
        folders = _folders(protocols, arguments.output or config.output)
        _keep_inputs(arguments, folders.values())
        tables = score_all(config, protocols, arguments)
        files = {protocol: render(scores, arguments.title, arguments.dpi) for protocol, scores in tables.items()}
        shown = "\n".join(str(found.pop("")) for found in files.values())
        older = {folder for folder in folders.values() if (folder / "scores.json").is_file()}
        atomic_files({folders[name] / file: text for name, texts in files.items() for file, text in texts.items()})
        print(shown, end="")
        for protocol, folder in folders.items():
            if folder in older:
                _remove_older(folder, files[protocol])
            print(f"Written to {folder}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    if problems := dict.fromkeys(problem for scores in tables.values() for problem in scores.problems):
        count = f"{len(problems)} file{'s' * (len(problems) > 1)}"
        sys.exit(f"error: {count} could not be scored, see above; the scores of the others are written")


def score_all(config: TableConfig, protocols: Sequence[str], arguments: argparse.Namespace) -> dict[str, Scores]:
    """Score, compare and group as the arguments say; the input is checked before any map is scored.

    Returns:
        The scores by protocol.

    Raises:
        OSError, ValueError: bad input.
    """
    for protocol in protocols:
        load_protocol(protocol)
    methods = list(dict.fromkeys(method for method, _ in config.maps))
    reference = arguments.reference or methods[0]
    if reference not in methods:
        raise ValueError(f"--reference {reference}: no method has that name, choose from {', '.join(methods)}")
    matchings = match_all(config, arguments.allow_missing)
    excluded: dict[str, list[str]] = {}
    if arguments.exclude:
        matchings, excluded = leave_out(matchings, read_stems(arguments.exclude))
    request = _request(arguments.groups, matchings)
    report = partial(print, file=sys.stderr)
    tables = evaluate(matchings, protocols, arguments.workers, config.datasets, request is not None, report)
    for scores in tables.values():
        scores.excluded.update(excluded)
        for dataset, found in excluded.items():
            images = f"{len(found)} image{'' if len(found) == 1 else 's'}"
            scores.notes.append(f"{dataset}: {images} excluded ({', '.join(found)}).")
        _compare(scores, reference)
        if request:
            from compute_results.groups import breakdown

            scores.groups.extend(breakdown(scores, request.groupings(scores.masks)))
    return tables


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


def render(scores: Scores, with_title: bool = True, dpi: int = 200) -> dict[str, str | bytes]:
    """Return the content of every file by name; the name "" has the table for the terminal.

    `with_title` and `dpi` are those of `curves.draw_curves`.
    """
    # pandas and matplotlib take a second: they are imported after scoring
    from compute_results import comparison_tables, curves, tables

    files: dict[str, str | bytes] = {
        "": tables.as_text(scores) + comparison_tables.as_text(scores),
        "scores.json": tables.as_json(scores),
        "scores.csv": tables.as_csv(scores),
        "scores.md": tables.as_markdown(scores),
        "scores.tex": tables.as_latex(scores),
        **comparison_tables.files(scores),
        "per_image.csv": tables.per_image_csv(scores),
        "curves.csv": curves.curves_csv(scores),
        **dict(curves.draw_curves(scores, with_title, dpi)),
    }
    return {name: encodable(content) if isinstance(content, str) else content for name, content in files.items()}


def _keep_inputs(arguments: argparse.Namespace, folders: Iterable[Path]) -> None:
    """Raise ValueError where a file that the command reads would be replaced or removed by the scores."""
    read = [arguments.config, arguments.exclude, *map(Path, arguments.groups or ())]
    for folder in folders:
        for name in REPLACED:
            refuse_inputs(folder / name, [path for path in read if path is not None])


def _remove_older(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Remove comparisons and groups of an earlier run, if this run has none."""
    from compute_results import comparison_tables

    for name in comparison_tables.FILES:
        if name not in files:
            (folder / name).unlink(missing_ok=True)


def _request(names: list[str] | None, matchings: Mapping[tuple[str, str], Matching]) -> "Request | None":
    """Return what `--groups` asks for."""
    if names is None:
        return None
    from compute_results.groups import Request  # pandas takes half a second

    stems: dict[str, dict[str, None]] = {}
    for (_, dataset), matching in matchings.items():
        stems.setdefault(dataset, {}).update({pair.stem: None for pair in matching.pairs})
    return Request(names, {dataset: list(found) for dataset, found in stems.items()})


def _compare(scores: Scores, reference: str) -> None:
    """Add comparisons with the reference, where there is another method."""
    if len(scores.methods) > 1:
        from compute_results.significance import compare, uncompared  # scipy.stats takes a second

        scores.comparisons.extend(compare(scores, reference))
        scores.notes.extend(uncompared(scores, reference))


def _folders(protocols: Sequence[str], output: Path | None) -> dict[str, Path]:
    """Return the folder of each protocol's files: `output` itself of one, a sub-folder for each of several."""
    if output is None:
        folders = {protocol: Path("runs") / f"scores_{protocol}" for protocol in protocols}
    else:
        folders = {protocol: output / protocol if len(protocols) > 1 else output for protocol in protocols}
    for folder in folders.values():
        check_folder(folder)
    return folders


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
    name = check_name(
        run_if_file(arguments.dataset) if arguments.dataset else Path(os.path.realpath(arguments.masks)).name
    )
    maps = {(method, name): folder for method, folder in maps_by_method(arguments.maps).items()}
    return TableConfig({name: source}, maps)


def _parser() -> CommandParser:
    layout = (table_config.__doc__ or "").partition("\n\n")[2]
    parser = CommandParser(description=__doc__, epilog=layout)
    masks = parser.add_argument_group("masks and maps of one data set")
    masks.add_argument(
        "--dataset",
        metavar="NAME",
        help=f"one of {', '.join(DATASETS)}, or FILE.py; with --masks: a name for the table",
    )
    masks.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder")
    masks.add_argument("--split", choices=("train", "test"), help="with --root: the split (default: test)")
    masks.add_argument("--masks", type=Path, metavar="DIR", help="any folder of masks, sub-folders included")
    masks.add_argument(
        "--maps", nargs="+", action="extend", metavar="METHOD=DIR", help="each method's name and folder of PNG maps"
    )
    several = parser.add_argument_group("several data sets")
    several.add_argument("--config", type=Path, metavar="FILE", help="YAML file of methods and data sets, see below")
    parser.add_argument(
        "--protocol",
        nargs="+",
        choices=list(PROTOCOLS),
        help="authors: the paper's Table I; field: PySODMetrics; both: each map is read once",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder to write (default: runs/scores_PROTOCOL); under two protocols DIR/PROTOCOL",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), metavar="N", help="processes (default: one per processor)"
    )
    parser.add_argument("--allow-missing", action="store_true", help="score the maps that exist, and report the count")
    parser.add_argument(
        "--metric-file",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.py",
        help="Python files that register metrics of your own (compute_results/protocols/own.py); they are executed",
    )
    parser.add_argument(
        "--exclude", type=Path, metavar="FILE", help="leave out the images named in FILE, one stem a line"
    )
    parser.add_argument(
        "--reference", metavar="METHOD", help="the method that the others are compared with (default: the first)"
    )
    parser.add_argument(
        "--groups",
        nargs="*",
        metavar="GROUPS",
        help="scores by group: size, objects, border, or a CSV file with a column stem (default: the first three)",
    )
    parser.add_argument("--no-title", dest="title", action="store_false", help="draw the curves without a title")
    parser.add_argument("--dpi", type=dots_per_inch, default=200, metavar="N", help="of the .png curves (default: 200)")
    parser.add_renamed("--out", "--output")
    return parser


if __name__ == "__main__":
    command.run(main)
