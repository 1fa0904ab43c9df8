"""Make the report's pictures: for each image a strip of thumbnails, and a script that holds its larger pictures.

A page that was opened from disk may not read other files, except as pictures and scripts. It may not read the pixels
of a picture file either. The larger pictures are therefore text (base64) in a script, which the page loads when the
image is looked at: the error overlay needs their pixels.
"""

import base64
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from datasets.io import open_image, open_mask, read_map
from utils.files import atomic_write
from utils.progress import ProgressBar

THUMBNAIL = 128
"""The longer side of a thumbnail in pixels."""

_FORMAT = 2
"""Part of every picture's key: another number makes all pictures anew."""

_MISSING = 128
_HEAD = 65536

Size = tuple[int, int]


@dataclass(frozen=True)
class Scene:
    """An image, its mask, and each method's map; None where a method has no map of it.

    `tops` are the stored values that are white in the maps, as `datasets.io.read_map` takes them.
    """

    stem: str
    image: Path
    mask: Path
    maps: tuple[Path | None, ...]
    tops: tuple[int | None, ...]


@dataclass(frozen=True)
class Pictures:
    """What was made of a scene.

    Attributes:
        key: the name of both files without folder and ending.
        shown: width and height of the larger pictures in pixels.
        image, mask, maps: width and height of the source files.
        problems: why a source is not shown, one line each.
    """

    key: str
    shown: Size
    image: Size
    mask: Size
    maps: tuple[Size | None, ...]
    problems: tuple[str, ...] = ()

    @property
    def thumbnails(self) -> str:
        """The address of the strip of image, mask and maps: tiles of equal size, side by side."""
        return f"thumbnails/{self.key[:2]}/{self.key}.webp"

    @property
    def script(self) -> str:
        """The address of the script with the larger pictures."""
        return f"pictures/{self.key[:2]}/{self.key}.js"


def make_pictures(scenes: Sequence[Scene], folder: Path, side: int, workers: int) -> tuple[list[Pictures], int]:
    """Make the pictures of all scenes, except those that are there and whose sources are unchanged.

    Args:
        scenes: images with masks and maps.
        folder: the report's folder.
        side: the longer side of the larger pictures in pixels, at most; 0 keeps each image's own size.
        workers: processes; 1 starts none.

    Returns:
        The pictures in the order of the scenes, and how many scenes' pictures were there already.

    Raises:
        OSError: a picture cannot be written, or a worker was killed from outside.
    """
    kept = [_existing(folder, _key(scene, side)) for scene in scenes]
    to_make = [scene for scene, there in zip(scenes, kept, strict=True) if there is None]
    task = partial(_make, folder, side)
    bar = ProgressBar(_run(task, to_make, min(workers, len(to_make))), "pictures", len(to_make), leave=False)
    made = iter(bar)
    found = [next(made) if there is None else there for there in kept]
    bar.close()
    return found, len(scenes) - len(to_make)


def _run(task: partial[Pictures], scenes: Sequence[Scene], workers: int) -> Iterable[Pictures]:
    if workers <= 1:
        yield from map(task, scenes)
        return
    try:
        with ProcessPoolExecutor(workers) as pool:
            yield from pool.map(task, scenes, chunksize=max(1, min(8, len(scenes) // (4 * workers))))
    except BrokenProcessPool as error:
        raise OSError(
            "a process that makes pictures was killed, perhaps for lack of memory: use --workers 1"
        ) from error


def _key(scene: Scene, side: int) -> str:
    """Return a hash of all that the pictures depend on; a source is known by its path, size and time."""
    sources = [None if path is None else _signature(path) for path in (scene.image, scene.mask, *scene.maps)]
    text = json.dumps([_FORMAT, THUMBNAIL, side, scene.stem, sources, scene.tops])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _signature(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return os.path.abspath(path), status.st_size, status.st_mtime_ns


def _existing(folder: Path, key: str) -> Pictures | None:
    """Return the pictures of this key if both files are there; the script's first line tells their sizes."""
    empty = Pictures(key, (0, 0), (0, 0), (0, 0), ())
    try:
        with (folder / empty.script).open(encoding="ascii") as file:
            head = json.loads(file.readline(_HEAD).removeprefix("//"))
        sizes = {name: (int(head[name][0]), int(head[name][1])) for name in ("shown", "image", "mask")}
        maps = tuple(None if size is None else (int(size[0]), int(size[1])) for size in head["maps"])
        problems = tuple(str(problem) for problem in head["problems"])
        found = Pictures(key, sizes["shown"], sizes["image"], sizes["mask"], maps, problems)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    return found if (folder / found.thumbnails).is_file() else None


def _make(folder: Path, side: int, scene: Scene) -> Pictures:
    problems: list[str] = []

    def shown_or_gray(read: Callable[[], Image.Image]) -> Image.Image | None:
        try:
            return read()
        except ValueError as error:
            problems.append(str(error))
            return None

    found, mask = shown_or_gray(partial(open_image, scene.image)), shown_or_gray(partial(open_mask, scene.mask))
    size = found.size if found else mask.size if mask else (THUMBNAIL, THUMBNAIL)
    image, mask = found or Image.new("RGB", size, (_MISSING,) * 3), mask or Image.new("L", size, _MISSING)
    maps = [
        shown_or_gray(partial(_map, path, top)) if path else None
        for path, top in zip(scene.maps, scene.tops, strict=True)
    ]
    scale = min(1.0, side / max(image.size)) if side else 1.0
    shown = _scaled(image.size, scale)
    sizes = tuple(None if saliency is None else saliency.size for saliency in maps)
    made = Pictures(_key(scene, side), shown, image.size, mask.size, sizes, tuple(problems))
    atomic_write(folder / made.thumbnails, _strip([image, mask, *maps]))
    atomic_write(folder / made.script, _script(made, image, mask, maps))
    return made


def _map(path: Path, top: int | None) -> Image.Image:
    return Image.fromarray(read_map(path, top))


def _scaled(size: Size, scale: float) -> Size:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _strip(pictures: Sequence[Image.Image | None]) -> bytes:
    """Return tiles side by side, each in the proportions of the first picture; a missing one is gray."""
    assert pictures[0] is not None
    width, height = _scaled(pictures[0].size, THUMBNAIL / max(pictures[0].size))
    strip = Image.new("RGB", (width * len(pictures), height), (_MISSING,) * 3)
    for index, picture in enumerate(pictures):
        if picture is not None:
            tile = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3)
            strip.paste(tile, (index * width, 0))
    return _encoded(strip, quality=70)


def _script(made: Pictures, image: Image.Image, mask: Image.Image, maps: Sequence[Image.Image | None]) -> str:
    head = {"shown": made.shown, "image": made.image, "mask": made.mask, "maps": made.maps, "problems": made.problems}
    content: Mapping[str, Any] = {
        "image": _address(_encoded(_fit(image, made.shown), quality=75)),
        "mask": _address(_encoded(_fit(mask, made.shown), lossless=True)),
        "maps": [None if one is None else _address(_encoded(_fit(one, made.shown), quality=80)) for one in maps],
    }
    return f'//{json.dumps(head)}\nReport.receive("{made.key}", {json.dumps(content)});\n'


def _fit(picture: Image.Image, size: Size) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR)


def _encoded(picture: Image.Image, **options: int) -> bytes:
    content = io.BytesIO()
    picture.save(content, "WEBP", method=2, **options)
    return content.getvalue()


def _address(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"
