"""Read what `compute_metrics.py` is to score: methods' folders of maps, and data sets' masks.

A YAML file (`--config`) names a whole paper's table. Paths in it are relative to the file's own folder:

    protocol: authors                     # or field, or [authors, field]; --protocol overrides it
    output: scores/authors                # optional; --output overrides it
    datasets:                             # the table's column groups, in this order
      ORSSD: {root: ../data/ORSSD}        # a known data set; its test split unless split says otherwise
      E: {dataset: EORSSD, root: ../data/EORSSD, split: test}   # the same, under another name in the table
      Mine: {masks: ../data/mine/labels}  # any folder of masks
    methods:                              # the table's rows, in this order
      HFANet-R: maps/HFANet_R/{dataset}   # {dataset} stands for each column's name in turn
      SDNet:                              # or folder by folder; a data set left out stays empty in the table
        ORSSD: maps/SDNet_ORSSD
        Mine: maps/SDNet_mine
"""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic import model_validator as validator
from pydantic_core import ErrorDetails

from compute_results.matching import find_masks
from compute_results.options import check_name
from compute_results.protocols import PROTOCOLS
from datasets.catalog import Split, find_pairs
from utils.text import one_line, read_text

_EVERY = "{dataset}"
_RENAMED = {"out": "output"}


def _in_folder(value: object, info: ValidationInfo) -> object:
    """Resolve a path against the configuration's folder, which is the validation's context."""
    return info.context / value if info.context and isinstance(value, str) else value


def _by_dataset(value: object) -> object:
    """Turn one pattern for all data sets into a mapping."""
    if isinstance(value, str):
        return {_EVERY: value}
    if not isinstance(value, dict) or not value:
        raise ValueError(f"must be a path or a mapping from data sets to paths, not {value!r}")
    return value


def _as_tuple(value: object) -> object:
    """Turn one protocol, or a list of several, into a tuple."""
    return tuple(value) if isinstance(value, list) else (value,)


_Name = Annotated[str, AfterValidator(check_name)]
_Path = Annotated[Path, BeforeValidator(_in_folder)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class MaskSource(_Strict):
    """Where a data set's masks are: a folder of `masks`, or the data set `dataset` below `root` in its `split`."""

    masks: _Path | None = None
    dataset: str | None = None
    root: _Path | None = None
    split: Split = "test"

    @validator(mode="after")
    def _check(self) -> "MaskSource":
        if (self.masks is None) == (self.root is None):
            raise ValueError("needs either masks or root: give one of them")
        if self.masks and (unused := self.model_fields_set & {"dataset", "split"}):
            raise ValueError(f"has masks, so {min(unused)} means nothing there: leave it out")
        return self

    def find(self, name: str) -> dict[str, Path]:
        """Return the masks by stem; `name` is the data set's where `dataset` is not given.

        Raises:
            OSError, ValueError: the masks are absent, or the data set has another layout.
        """
        if self.root is None:
            assert self.masks is not None
            return find_masks(self.masks)
        return {pair.stem: pair.mask for pair in find_pairs(self.dataset or name, self.root, self.split)}


class _File(_Strict):
    """The layout of the YAML file."""

    protocol: Annotated[tuple[Literal["authors", "field"], ...], BeforeValidator(_as_tuple)] = ()
    output: _Path | None = None
    datasets: Annotated[dict[_Name, MaskSource], Field(min_length=1)]
    methods: Annotated[dict[_Name, Annotated[dict[str, _Path], BeforeValidator(_by_dataset)]], Field(min_length=1)]

    @validator(mode="after")
    def _check(self) -> "_File":
        for method, folders in self.methods.items():
            unknown = [name for name in folders if name not in (_EVERY, *self.datasets)]
            if unknown:
                raise ValueError(f"{method} has maps for {unknown[0]}, which datasets does not name: add it there")
            pattern = str(folders.get(_EVERY, _EVERY))
            if len(self.datasets) > 1 and _EVERY not in pattern:
                raise ValueError(f"{method} has one folder for {len(self.datasets)} sets: put {_EVERY} in its path")
        return self


@dataclass(frozen=True)
class TableConfig:
    """What is to be scored.

    Attributes:
        sets: where each data set's masks are, by the name in the table.
        maps: each method's folder of maps on a data set, by (method, data set), in the table's order.
        protocols: `authors`, `field` or both; none if the file does not name them.
        output: the folder for the scores, if the file names it.
    """

    sets: dict[str, MaskSource]
    maps: dict[tuple[str, str], Path]
    protocols: tuple[str, ...] = ()
    output: Path | None = None

    @property
    def datasets(self) -> list[str]:
        """The data sets that a method has maps for, in the table's order."""
        return [name for name in self.sets if any(dataset == name for _, dataset in self.maps)]


def read_table_config(path: Path) -> TableConfig:
    """Read a configuration from a YAML file laid out as above.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not YAML, or has another layout; the message is one line.
    """
    try:
        content = yaml.load(read_text(path), UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {one_line(error)}") from error
    try:
        file = _File.model_validate(content, context=path.parent)
    except ValidationError as error:
        raise ValueError(f"{path}: {one_line(_message(error.errors()[0]))}") from error
    maps: dict[tuple[str, str], Path] = {}
    for method, folders in file.methods.items():
        if pattern := folders.get(_EVERY):
            folders = {name: Path(str(pattern).replace(_EVERY, name)) for name in file.datasets}
        maps |= {(method, name): folder for name, folder in folders.items()}
    return TableConfig(file.datasets, maps, file.protocol, file.output)


class UniqueKeys(yaml.SafeLoader):
    """YAML whose keys are text as written (`2021`, `on`), and whose repeated keys are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping of a node, refusing a key that is there twice."""
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge")]
        names = set()
        for key in keys:
            key.tag = "tag:yaml.org,2002:str"
            if key.value in names:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
            names.add(key.value)
        return super().construct_mapping(node, deep)


def _message(error: ErrorDetails) -> str:
    """Say in one sentence where the configuration is wrong and what it should be."""
    *parents, key = [str(part) for part in error["loc"] if part != "[key]"] or ["the file"]
    where, kind, found = ".".join(parents) or "the file", error["type"], error["input"]
    if kind == "extra_forbidden":
        if key in _RENAMED and not parents:
            return f"the key {key} is now called {_RENAMED[key]}: rename it"
        known = sorted((MaskSource if parents else _File).model_fields)
        return f"{where} has no key {key}: choose from {', '.join(known)}"
    if kind == "missing":
        return f"{where} lacks the key {key}: add it, see --help for the layout"
    place = ".".join([*parents, key])
    if kind == "value_error":
        return f"{place} {error['ctx']['error']}" if error["loc"] else str(error["ctx"]["error"])
    if "protocol" in (key, *parents):
        return f"no protocol {found!r}: choose {' or '.join(PROTOCOLS)}"
    if kind in ("dict_type", "model_type", "too_short"):
        return f"{place} must be a mapping of names, not {found!r}: see --help for the layout"
    types = {"is_instance_of": "a path", "path_type": "a path", "string_type": "text (in quotes)"}
    expected = types.get(kind) or error.get("ctx", {}).get("expected", error["msg"])
    return f"{place} must be {expected}, not {found!r}: correct it"
