"""Find what a command asks for: images or scenes in folders, lists, Parquet files and object stores."""

import os
import tempfile
import uuid
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from datasets.catalog import IMAGE_SUFFIXES
from inference.cluster.addresses import is_url, join, name_of, public, suffix_of, without_scheme
from inference.cluster.storage import Folder, local_copy
from inference.plan import find_requested
from inference.scenes.sources import LIST_SUFFIXES, RASTER_SUFFIXES, find_scenes

PARQUET = (".parquet", ".pq")
COLUMNS = ("input", "path", "image", "scene", "file", "filename", "url", "uri")
"""Names of the column of a Parquet file that holds paths or addresses, the first that is there."""
NOWHERE = Path(tempfile.gettempdir(), f"sral-{uuid.uuid4().hex}")


@dataclass(frozen=True)
class Requested:
    """The images or scenes of a run, in order.

    Attributes:
        sources: file or address of each.
        stems: name of each one's output, relative to the output folder, without suffix.
    """

    sources: Sequence[str]
    stems: Sequence[str]


def find_inputs(options: Namespace) -> Requested:
    """Return what a command line asks for, sorted as `getsmaps.py` sorts it.

    Args:
        options: `input`, `dataset`, `root`, `split`, `output` and `scene`.

    Raises:
        FileNotFoundError, ValueError: there is nothing of that kind, or two inputs would have the same output.
    """
    if options.dataset:
        found = find_requested(None, options.dataset, options.root, options.split or "test", _own_output(options))
        return _requested(found)
    source = without_scheme(options.input)
    if suffix_of(source) in PARQUET:
        return _checked(_named(_read_parquet(source), source))
    if is_url(source):
        return _checked(_at_url(source, RASTER_SUFFIXES if options.scene else IMAGE_SUFFIXES))
    if (lines := _listed_urls(source)) is not None:
        return _checked(_named(lines, source))
    if options.scene:
        output = _own_output(options)
        scenes = find_scenes(source, output)
        names = (scene.map_file.relative_to(output).as_posix().removesuffix(".tif") for scene in scenes)
        return Requested([_of_all_machines(scene.source) for scene in scenes], list(names))
    return _requested(find_requested(Path(source), None, None, "test", _own_output(options)))


def _own_output(options: Namespace) -> Path:
    """Return the output folder, in which no inputs are looked for; of a store, a folder that cannot hold any."""
    return NOWHERE if is_url(options.output) else Path(without_scheme(options.output))


def _requested(found: Iterable[tuple[str, str]]) -> Requested:
    """Return (stem, source) pairs as columns."""
    pairs = list(found)
    return Requested([_of_all_machines(source) for _, source in pairs], [stem for stem, _ in pairs])


def _of_all_machines(source: str) -> str:
    """Return a file's absolute path, since workers have working folders of their own; other addresses as they are."""
    if os.path.isabs(source) or is_url(source) or not os.path.exists(source):  # GDAL knows names that are no files
        return source
    return os.path.abspath(source)


def _checked(found: list[tuple[str, str]]) -> Requested:
    """Return the pairs, or raise a ValueError where two have the same stem."""
    for (stem, source), (next_stem, next_source) in pairwise(sorted(found)):
        if stem == next_stem:
            raise ValueError(
                f"{public(source)} and {public(next_source)} would write the same map, {stem}: rename one or leave it "
                "out"
            )
    return _requested(found)


def _at_url(source: str, suffixes: frozenset[str] | set[str]) -> list[tuple[str, str]]:
    """Return (stem, address) of everything that a URL stands for: one file, a list, or all files below a prefix."""
    suffix = suffix_of(source)
    if suffix in LIST_SUFFIXES:
        with local_copy(source) as copy:
            return _named(_lines(copy, public(source)), source)
    if suffix in suffixes:
        return [(os.path.splitext(name_of(source))[0], source)]
    folder = Folder(source)
    names = (name for name in folder.names() if suffix_of(name) in suffixes)
    visible = sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))
    if not visible:
        known = ", ".join(sorted(suffixes))
        raise ValueError(f"{public(source)}: nothing below it ends in {known}: give a prefix, an image or a list")
    return sorted((os.path.splitext(name)[0], folder.of(name)) for name in visible)


def _listed_urls(source: str) -> list[str] | None:
    """Return the lines of a local text file, if one of them is a URL; None for any other input."""
    path = Path(source)
    if path.suffix.lower() in IMAGE_SUFFIXES | RASTER_SUFFIXES or not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8-sig") as file:
            if not any(is_url(line.strip()) for line in file):
                return None
    except UnicodeDecodeError:
        return None
    return _lines(path, source)


def _lines(path: Path, name: str) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is no UTF-8 list, one path a line: {error}") from error
    return [line for line in lines if line]


def _read_parquet(source: str) -> list[str]:
    """Return the paths in a Parquet file's column: one of `COLUMNS`, or the only one of text."""
    import pyarrow
    from pyarrow import parquet

    with local_copy(source) as copy:
        try:
            schema = parquet.read_schema(copy)
            column = _column(schema, public(source))
            values = parquet.read_table(copy, columns=[column])[column]
        except (pyarrow.ArrowInvalid, pyarrow.ArrowIOError) as error:
            raise ValueError(f"{public(source)} is no Parquet file: {error}") from error
    return [value.strip() for value in values.to_pylist() if value and value.strip()]


def _column(schema: Any, name: str) -> str:
    import pyarrow

    texts = [
        field.name
        for field in schema
        if pyarrow.types.is_string(field.type) or pyarrow.types.is_large_string(field.type)
    ]
    chosen = next((known for known in COLUMNS if known in texts), texts[0] if len(texts) == 1 else None)
    if chosen is None:
        raise ValueError(
            f"{name} has the columns {', '.join(schema.names)}: call the one of paths or addresses 'input'"
        )
    return chosen


def _named(lines: list[str], listing: str) -> list[tuple[str, str]]:
    """Return (stem, address) of each line of a list; relative paths are relative to the list's folder or prefix.

    The stems of files below that folder begin there, those of all others at the deepest folder that they share.
    """
    if not lines:
        raise ValueError(f"{public(listing)} lists nothing")
    home = public(listing).rpartition("/")[0] if is_url(listing) else os.path.abspath(os.path.dirname(listing))
    places = [line if is_url(line) else _absolute(without_scheme(line), home) for line in lines]
    plain = [public(place) for place in places]
    home = home.rstrip("/") + "/"
    folders = {place.rpartition("/")[0] + "/" for place in plain if not place.startswith(home)}
    shared = _shared(folders)
    return [
        (os.path.splitext(name.removeprefix(home) if name.startswith(home) else name[len(shared) :])[0], place)
        for name, place in zip(plain, places, strict=True)
    ]


def _absolute(path: str, home: str) -> str:
    if is_url(home):
        return path if path.startswith("/") else join(home, path)
    return os.path.normpath(os.path.join(home, path))


def _shared(folders: set[str]) -> str:
    """Return the deepest folder that contains all the given ones, each of which ends in a slash."""
    first, last = min(folders, default=""), max(folders, default="")
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    shared = first[: first.rfind("/", 0, same) + 1]
    return "" if shared.endswith("://") else shared
