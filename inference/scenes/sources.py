"""Find the scenes that a command asks for, and name their outputs. Reads file names only."""

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from datasets.catalog import IMAGE_SUFFIXES
from utils.outputs import check_folder
from utils.text import read_text

RASTER_SUFFIXES = IMAGE_SUFFIXES | {".gtiff", ".vrt", ".jp2", ".j2k", ".img", ".ntf", ".nitf", ".gif", ".asc", ".bil"}
"""Suffixes of the rasters that are found in a folder. Named by itself, any raster that GDAL reads is taken."""
LIST_SUFFIXES = frozenset({".txt", ".lst", ".list"})
REMOTE = ("/vsi", "s3://", "gs://", "az://", "https://", "http://", "ftp://", "zip://", "zip+")


@dataclass(frozen=True)
class Scene:
    """A scene and its output files.

    Attributes:
        source: file or address.
        map_file, look_file: the COG and the quick look.
        polygon_file: the file of polygons, or None.
        folder: where unfinished work is kept.
    """

    source: str
    map_file: Path
    look_file: Path
    polygon_file: Path | None
    folder: Path


def is_remote(source: str) -> bool:
    """Return whether a source is an address, not a path."""
    return source.startswith(REMOTE)


def find_scenes(source: str, output: Path, suffix: str = "", polygons: Path | None = None) -> list[Scene]:
    """Return the scenes that `source` stands for.

    - A folder: every raster below it, sorted; hidden files and `output` are skipped.
    - A text file (.txt, .lst): a list, one path or address a line; paths are relative to the list's folder.
    - Anything else: one scene.

    Args:
        source: what is asked for.
        output: folder of the outputs: `<stem><suffix>.tif` and `<stem><suffix>_quicklook.png`.
        suffix: text after the stem.
        polygons: the file of polygons. With several scenes it gets their stems: `objects.gpkg`, `objects_<stem>.gpkg`.

    Raises:
        FileNotFoundError, ValueError: there are no scenes, two of them have the same name, or an output is a source.
    """
    check_folder(output)
    found = _found(source, output)
    for (stem, one), (next_stem, other) in pairwise(sorted(found)):
        if stem == next_stem:
            raise ValueError(f"{one} and {other} would write the same map, {stem}: rename one or leave it out")
    several = len(found) > 1 or (not is_remote(source) and Path(source).is_dir())
    scenes = [_named(stem, place, output, suffix, polygons, several) for stem, place in found]
    for scene in scenes:
        for target in (scene.map_file, scene.look_file, scene.polygon_file):
            if target and target.exists() and os.path.exists(scene.source) and target.samefile(scene.source):
                raise ValueError(f"{target} would overwrite its scene: give another --output, or a --suffix")
    return scenes


def _found(source: str, output: Path) -> list[tuple[str, str]]:
    """Return (stem, source) of each scene."""
    if is_remote(source):
        return [(_stem(source), source)]
    path = Path(source)
    if path.is_dir():
        if os.path.realpath(path) == os.path.realpath(output):
            raise ValueError(f"--output {output} is --input too: maps would be taken for scenes the next time")
        return _below(path, output)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: give a raster, a folder of rasters or a list of them")
    if path.suffix.lower() not in LIST_SUFFIXES:
        return [(_stem(source), source)]
    try:
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 list of scenes: {error}") from error
    if not lines:
        raise ValueError(f"{path} lists no scenes")
    places = [line if is_remote(line) else os.path.normpath(path.parent / line) for line in lines]
    return [(_stem(place), place) for place in places]


def _below(folder: Path, output: Path) -> list[tuple[str, str]]:
    left_out, found = output.resolve(), []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and Path(parent, name).resolve() != left_out
        )
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in RASTER_SUFFIXES:
                path = Path(parent, name)
                found.append((path.relative_to(folder).with_suffix("").as_posix(), str(path)))
    if not found:
        raise ValueError(f"{folder}: no rasters in it; known suffixes are {', '.join(sorted(RASTER_SUFFIXES))}")
    return found


def _named(stem: str, source: str, output: Path, suffix: str, polygons: Path | None, several: bool) -> Scene:
    target = output / f"{stem}{suffix}"
    if polygons and several:
        polygons = polygons.with_name(f"{polygons.stem}_{stem.replace('/', '_')}{polygons.suffix}")
    return Scene(
        source=source,
        map_file=target.with_name(target.name + ".tif"),
        look_file=target.with_name(target.name + "_quicklook.png"),
        polygon_file=polygons,
        folder=target.with_name(f".{target.name}.unfinished"),
    )


def _stem(source: str) -> str:
    """Return a scene's name without folder, query and suffix."""
    name = source.partition("?")[0].rstrip("/").rpartition("/")[2] if is_remote(source) else Path(source).name
    return os.path.splitext(name)[0] or "scene"
