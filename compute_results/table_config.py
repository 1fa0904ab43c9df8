"""What a call of `compute_metrics.py` is to score: methods' map folders against data sets' masks.

A YAML file (`--config`) names a whole paper's table. Paths in it are relative to the file's own folder:

    protocol: authors                     # or field; --protocol overrides it
    out: scores/authors                   # optional; --out overrides it
    datasets:                             # the table's column groups, in this order
      ORSSD: {root: ../data/ORSSD}        # a data set known by its name; its test split unless split says otherwise
      E: {dataset: EORSSD, root: ../data/EORSSD, split: test}   # the same, under another name in the table
      Mine: {masks: ../data/mine/labels}  # any folder of masks
    methods:                              # the table's rows, in this order
      HFANet-R: maps/HFANet_R/{dataset}   # {dataset} stands for each column's name in turn
      SDNet:                              # or folder by folder; a set left out stays empty in the table
        ORSSD: maps/SDNet_ORSSD
        Mine: maps/SDNet_mine
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from compute_results.matching import find_masks
from compute_results.result import FIGURES
from datasets.catalog import find_pairs


@dataclass(frozen=True)
class MaskSource:
    """Where a set's masks are: a folder of `masks`, or the data set `dataset` below `root` in its `split`."""

    masks: Path | None = None
    dataset: str = ""
    root: Path | None = None
    split: str = "test"

    def find(self) -> dict[str, Path]:
        """The masks by stem.

        Raises:
            OSError, ValueError: they are not there, or not as the data set should have them.
        """
        if self.masks is not None:
            return find_masks(self.masks)
        return {pair.stem: pair.mask for pair in find_pairs(self.dataset, self.root, self.split)}


@dataclass(frozen=True)
class Plan:
    """What is to be scored.

    Attributes:
        sets: where each data set's masks are, by the name in the table.
        maps: each method's folder of maps on a data set, by (method, data set), in the table's order.
        protocol: `authors` or `field`, if the plan says so.
        out: the folder for the scores, if the plan says so.
    """

    sets: dict[str, MaskSource]
    maps: dict[tuple[str, str], Path] = field(default_factory=dict)
    protocol: str | None = None
    out: Path | None = None

    @property
    def datasets(self) -> list[str]:
        """The data sets that a method has maps for, in the table's order."""
        return [name for name in self.sets if any(dataset == name for _, dataset in self.maps)]


def plan_from_arguments(name: str, source: MaskSource, maps: Iterable[str]) -> Plan:
    """The plan of one data set from `METHOD=DIR` arguments.

    Raises:
        ValueError: an argument is not of that form, or names a method twice.
    """
    return Plan({name: source}, {(method, name): folder for method, folder in maps_by_method(maps).items()})


def maps_by_method(arguments: Iterable[str]) -> dict[str, Path]:
    """Each method's folder of maps from `METHOD=DIR` arguments, in their order.

    Raises:
        ValueError: an argument is not of that form, or names a method twice.
    """
    maps: dict[str, Path] = {}
    for argument in arguments:
        method, equals, folder = argument.partition("=")
        if not (method and equals and folder):
            raise ValueError(f"--maps {argument}: write METHOD=DIR, the name for the table and the folder of its maps")
        if method in maps:
            raise ValueError(f"--maps names {method} twice: give each method once")
        maps[method] = Path(folder)
    return maps


def read_plan(path: Path) -> Plan:
    """Read a plan from a YAML file laid out as above.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not YAML, or not of that layout.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    reader = _Reader(path)
    top = reader.mapping(content, "the file", {"protocol", "out", "datasets", "methods"}, {"datasets", "methods"})
    protocol, out = top.get("protocol"), top.get("out")
    if protocol not in (None, *FIGURES):
        raise ValueError(f"{path}: no protocol {protocol!r}: choose {' or '.join(FIGURES)}")
    datasets, methods = (reader.mapping(top[key], key) for key in ("datasets", "methods"))
    sets = {str(name): reader.source(str(name), body) for name, body in datasets.items()}
    maps = {}
    for method, body in methods.items():
        for dataset, folder in reader.folders(str(method), body, sets).items():
            maps[str(method), dataset] = folder
    return Plan(sets, maps, protocol, None if out is None else reader.path(out, "out"))


class UniqueKeys(yaml.SafeLoader):
    """YAML whose repeated keys are an error, so that of two entries of one name none is lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{repeated!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Reader:
    """Reads the parts of a plan, naming the file and the key in every error."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def mapping(
        self, value: object, where: str, allowed: Set[str] = frozenset(), needed: Set[str] = frozenset()
    ) -> dict:
        """`value`, if it is a mapping with no key but those allowed (any, if none are named) and all those needed."""
        if not isinstance(value, dict) or not value:
            raise ValueError(f"{self.file}: {where} must be a mapping of names, see --help for the layout")
        unknown = [str(key) for key in value if allowed and key not in allowed]
        if unknown:
            raise ValueError(f"{self.file}: {where} has no key {unknown[0]}: choose from {', '.join(sorted(allowed))}")
        missing = sorted(needed - value.keys())
        if missing:
            raise ValueError(f"{self.file}: {where} lacks the key {missing[0]}")
        return value

    def path(self, value: object, where: str) -> Path:
        if not isinstance(value, str):
            raise ValueError(f"{self.file}: {where} must be a path, not {value!r}")
        return self.file.parent / value

    def source(self, name: str, body: object) -> MaskSource:
        body = self.mapping(body, f"data set {name}", {"masks", "root", "split", "dataset"})
        if ("masks" in body) == ("root" in body):
            raise ValueError(f"{self.file}: data set {name} needs either masks or root")
        if "masks" in body:
            if len(body) > 1:
                raise ValueError(f"{self.file}: data set {name} has masks, so split and dataset mean nothing there")
            return MaskSource(masks=self.path(body["masks"], f"{name}'s masks"))
        root = self.path(body["root"], f"{name}'s root")
        return MaskSource(dataset=str(body.get("dataset", name)), root=root, split=str(body.get("split", "test")))

    def folders(self, method: str, body: object, sets: dict[str, MaskSource]) -> dict[str, Path]:
        """A method's folders of maps by data set."""
        if isinstance(body, dict):
            named = {str(name): folder for name, folder in self.mapping(body, f"method {method}").items()}
            unknown = [name for name in named if name not in sets]
            if unknown:
                raise ValueError(f"{self.file}: {method} has maps for {unknown[0]}, which datasets does not name")
            return {name: self.path(folder, f"{method}'s maps for {name}") for name, folder in named.items()}
        pattern = str(self.path(body, f"{method}'s maps"))
        if len(sets) > 1 and "{dataset}" not in pattern:
            raise ValueError(f"{self.file}: {method} has one folder for {len(sets)} sets: put {{dataset}} in its path")
        return {name: Path(pattern.replace("{dataset}", name)) for name in sets}
