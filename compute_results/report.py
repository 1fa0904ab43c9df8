"""Write a report to browse: a folder of static HTML that opens from disk, without a server and without a network.

    python compute_results/report.py --dataset ORSSD --root data/ORSSD --output runs/report \\
        --maps HFANet-R=maps/HFANet_R SRAL=runs/demo/maps
    python compute_results/report.py --images data/mine/images --masks data/mine/labels --maps SRAL=maps/mine \\
        --output runs/report

Open index.html in --output. It has the tables of both protocols with significance and groups, curves that respond to
the pointer, all images to sort and filter, and a page for each image with its maps, their errors and a slider between
two methods. The folder can be moved and zipped. Its pictures are reduced; figures come from the files themselves.

A second run keeps the pictures whose image, mask and maps are unchanged. A run that was cut off is continued by the
same command. The map of a mask is `<stem>.png` or `<stem>_<anything>.png`, as for compute_metrics.py.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import command

if __name__ == "__main__":
    command.begin("an older report is as it was; the same command continues")  # before the imports, which take seconds

from compute_results.compute_metrics import score_all
from compute_results.html_report.folder import check_free, claim, finish, write_asset
from compute_results.html_report.pictures import Pictures, Scene, make_pictures
from compute_results.matching import match_maps
from compute_results.options import CommandParser, check_name, maps_by_method
from compute_results.protocols import PROTOCOLS
from compute_results.protocols.own import read_metric_files
from compute_results.result import Scores
from compute_results.table_config import MaskSource, TableConfig
from datasets.catalog import DATASETS, SAMPLE_ROOT, Pair, find_pairs, pair_folders, run_if_file

_BUILT_IN_GROUPS = ("size", "objects", "border")


def main() -> None:
    """Run the command; bad input ends in one line on standard error and exit status 1."""
    options = _parser().parse_args()
    try:
        read_metric_files(options.metric_file)
        check_free(options.output)
        plotly = _plotly()
        pairs, config = _input(options)
        tables = score_all(config, options.protocol, options)
        scenes = find_scenes(pairs, config, tables)
        claim(options.output)
        pictures, kept = make_pictures(scenes, options.output, options.picture_size, options.workers)
        size = write_report(options.output, tables, scenes, pictures, plotly)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    made = f"pictures of {len(scenes) - kept} made, of {kept} kept"
    print(f"{options.output / 'index.html'}: {len(scenes)} images ({made}), {size / 1e6:.1f} MB")
    unread = [problem for of in pictures for problem in of.problems]
    if problems := dict.fromkeys([*unread, *(problem for scores in tables.values() for problem in scores.problems)]):
        print("\n".join(problems), file=sys.stderr)
        sys.exit(f"error: {len(problems)} problems, see above; the report is written without these files")


def find_scenes(pairs: Sequence[Pair], config: TableConfig, tables: Mapping[str, Scores]) -> list[Scene]:
    """Return the images with each method's map, without those that were excluded by name."""
    scores = next(iter(tables.values()))
    (dataset,) = config.datasets
    excluded = set(scores.excluded.get(dataset, []))
    masks = {pair.stem: pair.mask for pair in pairs}
    found = [
        {match.stem: match.map for match in match_maps(masks, config.maps[method, dataset]).pairs}
        for method in scores.methods
    ]
    tops = tuple(scores.tops.get((method, dataset)) for method in scores.methods)
    return [
        Scene(pair.stem, pair.image, pair.mask, tuple(maps.get(pair.stem) for maps in found), tops)
        for pair in pairs
        if pair.stem not in excluded
    ]


def write_report(
    folder: Path, tables: Mapping[str, Scores], scenes: Sequence[Scene], pictures: Sequence[Pictures], plotly: str
) -> int:
    """Write everything but the pictures, the page last; return the size of the report in bytes."""
    from compute_results.html_report import data, page  # pandas takes half a second

    (dataset,) = next(iter(tables.values())).datasets
    contents = {name: (page.ASSETS / name).read_text(encoding="utf-8") for name in (page.STYLE, *page.SCRIPTS)}
    contents["plotly.js"] = plotly
    contents["data.js"] = data.data_script(dataset, tables, scenes, pictures)
    addresses = {name: write_asset(folder, name, content) for name, content in contents.items()}
    files = [*addresses.values(), *(address for made in pictures for address in (made.thumbnails, made.script))]
    return finish(folder, page.render(dataset, tables, len(scenes), addresses), files)


def _plotly() -> str:
    """Return the script of the library that draws the curves."""
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise OSError("the report's curves need plotly: pip install -r requirements-report.txt") from error
    return get_plotlyjs()


def _input(options: argparse.Namespace) -> tuple[list[Pair], TableConfig]:
    """Return the images with their masks, and what is to be scored."""
    if options.workers < 1:
        raise ValueError(f"{options.workers} workers: give at least 1")
    if options.picture_size and not 64 <= options.picture_size <= 4096:
        raise ValueError(
            f"--picture-size {options.picture_size}: give 64 to 4096 pixels, or 0 for the images' own size"
        )
    if options.images and options.masks and not options.root:
        pairs, source = pair_folders(options.images, options.masks), MaskSource(masks=options.masks)
        name = check_name(options.dataset or Path(os.path.realpath(options.images)).name)
    elif options.dataset and not (options.images or options.masks):
        sample = options.root is None and options.dataset.casefold() == "sample"
        root = SAMPLE_ROOT if sample else options.root
        if root is None:
            raise ValueError(f"--dataset {options.dataset} needs --root, the data set's folder")
        source, name = MaskSource(root=root, split=options.split), check_name(run_if_file(options.dataset))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scoring finds the same masks and says it
            pairs = find_pairs(name, root, options.split)
    else:
        raise ValueError("give either --images DIR and --masks DIR, or --dataset NAME and --root DIR")
    maps = {(method, name): folder for method, folder in maps_by_method(options.maps).items()}
    options.groups = [*_BUILT_IN_GROUPS, *(str(path) for path in options.groups)]
    return pairs, TableConfig({name: source}, maps)


def _parser() -> CommandParser:
    parser = CommandParser(description=__doc__)
    source = parser.add_argument_group("images and masks: a known data set, or two folders")
    source.add_argument(
        "--dataset", metavar="NAME", help=f"one of {', '.join(DATASETS)}; with --images: a name for the report"
    )
    source.add_argument("--root", type=Path, metavar="DIR", help="with --dataset: its folder")
    source.add_argument("--split", choices=("train", "test"), default="test", help="with --dataset (default: test)")
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    source.add_argument("--masks", type=Path, metavar="DIR", help="folder of masks")
    parser.add_argument(
        "--maps", nargs="+", action="extend", required=True, metavar="METHOD=DIR", help="methods' folders of PNG maps"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write, or an older report")
    parser.add_argument(
        "--protocol",
        nargs="+",
        choices=list(PROTOCOLS),
        default=list(PROTOCOLS),
        help="authors: the paper's Table I; field: PySODMetrics (default: both)",
    )
    parser.add_argument(
        "--reference", metavar="METHOD", help="the method that the others are compared with (default: the first)"
    )
    parser.add_argument(
        "--groups",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="CSV files with a column stem, whose other columns group the images; size, objects and border always do",
    )
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
        "--allow-missing", action="store_true", help="show and score the maps that exist, and say which"
    )
    parser.add_argument(
        "--picture-size",
        type=int,
        default=640,
        metavar="N",
        help="longer side of the pictures in pixels, at most (default: 640); 0 keeps each image's own size",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), metavar="N", help="processes (default: one per processor)"
    )
    return parser


if __name__ == "__main__":
    command.run(main)
