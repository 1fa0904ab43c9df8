"""Read many generated and damaged images, masks and maps; report tracebacks, hangs and pixels that are silently wrong.

    python benchmarks/fuzz_images.py                          # 1000 files, seed 0
    python benchmarks/fuzz_images.py --count 10000 --seed 7
    python benchmarks/fuzz_images.py --seed 7 --only 1234     # one file again; --keep FOLDER keeps it

Every file is drawn from (seed, number): format, mode, type, bands, order, compression, size and damage. A whole file
must give the pixels that were written, or a refusal in one line that names it; a plain 8-bit one must be read. Of a
damaged PNG or uncompressed TIFF that GDAL reads too, the pixels must be GDAL's. A PIL image must give its file's
pixels. The exit status is 1 where anything fails. Needs requirements-scenes.txt.
"""

import argparse
import io
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from utils import command

if __name__ == "__main__":
    command.begin("nothing was written")  # before the imports, which take seconds

import numpy as np
from PIL import Image, TiffImagePlugin

from datasets.io import inspect_image, inspect_map, inspect_mask
from datasets.levels import image_rgb
from datasets.memory import decoded_image
from datasets.raster import open_raster

SECONDS = 10
"""A file that takes longer hangs."""

LOSSLESS = {"PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "GIF": ".gif", "WEBP": ".webp", "JPEG2000": ".jp2"}
LOSSY = {"JPEG": ".jpg", "AVIF": ".avif"}
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P"),
    "WEBP": ("RGB", "RGBA"),
    "JPEG2000": ("L", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "AVIF": ("RGB",),
}
PLAIN = ("1", "L", "LA", "P", "RGB", "RGBA")
TYPES = ("uint8", "uint8", "uint16", "uint16", "int8", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class Case:
    """A file: its bytes and suffix, what it is, the RGB that is right (None: unknown), whether it must be read."""

    content: bytes
    suffix: str
    what: str
    rgb: np.ndarray | None = None
    must: bool = False


def draw_case(rng: np.random.Generator) -> Case:
    """Draw a file."""
    kind = rng.choice(["pillow", "gdal", "damaged", "header"], p=[0.3, 0.3, 0.3, 0.1])
    if kind == "pillow":
        return by_pillow(rng)
    if kind == "gdal":
        return by_gdal(rng)
    whole = by_pillow(rng) if rng.random() < 0.6 else by_gdal(rng)
    return damaged(rng, whole) if kind == "damaged" else with_header(rng, whole)


def by_pillow(rng: np.random.Generator) -> Case:
    """Draw a file that Pillow writes."""
    name = str(rng.choice([*LOSSLESS, *LOSSY]))
    mode = str(rng.choice(MODES[name]))
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    image = drawn_image(rng, mode, height, width)
    options: dict = {}
    if name == "TIFF":
        options["compression"] = str(rng.choice(["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]))
    if name == "WEBP":
        options |= {"lossless": True, "exact": True}
    if name == "PNG" and mode in ("L", "RGB") and rng.random() < 0.2:
        options["transparency"] = 0 if mode == "L" else (0, 0, 0)
    if name in ("JPEG", "PNG", "WEBP", "AVIF") and rng.random() < 0.2:
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9))
        options["exif"] = exif
    file = io.BytesIO()
    image.save(file, name, **options)
    rgb = np.asarray(image.convert("RGB")) if mode in (*PLAIN, "CMYK") else None
    if mode == "I;16":
        rgb = np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    known = name in LOSSLESS and not (name == "GIF" and mode == "L")
    suffix = (LOSSLESS | LOSSY)[name]
    return Case(file.getvalue(), suffix, f"{name} {mode} {options}", rgb if known else None, mode in PLAIN)


def drawn_image(rng: np.random.Generator, mode: str, height: int, width: int) -> Image.Image:
    """Draw a Pillow image of a mode: noise, few values, or one value."""
    top = int(rng.choice([2, 3, 256]))
    noise = rng.integers(0, top, (height, width, 4), dtype=np.uint8) * np.uint8(rng.choice([1, 255 // (top - 1)]))
    if mode == "P":
        image = Image.fromarray(noise[..., 0]).convert("P")
        image.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
        return image
    if mode == "I;16":
        return Image.fromarray(noise[..., 0].astype(np.uint16) * np.uint16(rng.choice([1, 8, 256, 257])))
    if mode == "I":
        return Image.fromarray(noise[..., 0].astype(np.int32) * int(rng.choice([1, -1, 300, 1 << 20])))
    if mode == "F":
        return Image.fromarray(noise[..., 0].astype(np.float32) / np.float32(rng.choice([1, 255, -3])))
    if mode == "1":
        return Image.fromarray(noise[..., 0]).convert("1")
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = noise[..., :bands]
    return Image.fromarray(pixels[..., 0] if bands == 1 else np.ascontiguousarray(pixels), mode)


def by_gdal(rng: np.random.Generator) -> Case:
    """Draw a GeoTIFF that GDAL writes: types, bands, order, compression, tiles, nodata, masks."""
    from rasterio.io import MemoryFile

    kind, bands = np.dtype(str(rng.choice(TYPES))), int(rng.choice([1, 1, 2, 3, 3, 4, 5]))
    height, width = (int(side) for side in rng.integers(1, 70, 2))
    scale = {1: [1, 100], 2: [1, 8, 100], 4: [1, 1000], 8: [1, 1000]}[kind.itemsize]
    values = (rng.random((bands, height, width)) * 255).astype(kind) * kind.type(rng.choice(scale) % 127 or 1)
    is_rgb = bands >= 3 and rng.random() < 0.5
    tiled = bool(rng.random() < 0.4)
    options: dict = {
        "interleave": str(rng.choice(["pixel", "band"])),
        "compress": str(rng.choice(["none", "lzw", "deflate", "zstd", "packbits"])),
        "photometric": "RGB" if is_rgb else "MINISBLACK",
        "BIGTIFF": str(rng.choice(["YES", "NO"])),
        "ENDIANNESS": str(rng.choice(["LITTLE", "BIG"])),
    }
    if tiled:
        options |= {"tiled": True, "blockxsize": 16, "blockysize": 16}
    if kind.kind in "iu" and rng.random() < 0.2:
        options["nodata"] = 0
    if options["compress"] in ("lzw", "deflate", "zstd") and kind.itemsize < 8 and rng.random() < 0.4:
        options["predictor"] = 3 if kind.kind == "f" else 2
    with MemoryFile() as memory:
        shape = {"height": height, "width": width, "count": bands, "dtype": kind.name}
        with memory.open(driver="GTiff", **shape, **options) as dataset:
            dataset.write(values)
        content = memory.read()
    rgb = None
    if kind in (np.uint8, np.uint16) and (is_rgb or bands == 1):
        seen = values[:3] if is_rgb else np.repeat(values, 3, axis=0)
        rgb = np.moveaxis(seen >> 8 * (kind.itemsize - 1), 0, 2).astype(np.uint8)
    # What Pillow lacks: these are refused.
    refused = options["BIGTIFF"] == "YES" and options["ENDIANNESS"] == "BIG"
    refused |= bands > 3 and options["interleave"] == "band" and options["compress"] == "none"
    must = not refused and kind == np.uint8 and (bands == 1 or (is_rgb and bands in (3, 4)))
    return Case(content, ".tif", f"GTiff {bands}×{kind.name} {options}", rgb, must)


def damaged(rng: np.random.Generator, case: Case) -> Case:
    """Cut a file off, change, insert, remove or repeat bytes."""
    content = bytearray(case.content)
    how = str(rng.choice(["cut", "change", "start", "insert", "remove", "zero"]))
    place = int(rng.integers(0, len(content)))
    if how == "cut":
        del content[place:]
    elif how in ("change", "start"):  # at the start is what says how the rest is read
        for at in rng.integers(0, min(len(content), 300) if how == "start" else len(content), int(rng.integers(1, 8))):
            content[at] = rng.integers(256)
    elif how == "insert":
        content[place:place] = rng.bytes(int(rng.integers(1, 40)))
    elif how == "remove":
        del content[place : place + int(rng.integers(1, 40))]
    else:
        content[place : place + 64] = bytes(len(content[place : place + 64]))
    return Case(bytes(content), case.suffix, f"{how} {case.what}")


def with_header(rng: np.random.Generator, case: Case) -> Case:
    """Write another size into the header: none, huge, or a little more."""
    content, size = bytearray(case.content), int(rng.choice([0, 1, 41, 30_000, 0x7FFFFFFF, 0xFFFFFFFF]))
    if content[:4] == b"\x89PNG":
        content[16:20] = size.to_bytes(4, "big")
    elif content[:2] == b"BM":
        content[18:22] = size.to_bytes(4, "little")
    elif content[:3] == b"GIF":
        content[6:8] = (size & 0xFFFF).to_bytes(2, "little")
    elif content[:4] in (b"II*\0", b"MM\0*"):
        content = bytearray(_with_tag(bytes(content), int(rng.choice([256, 257, 277, 258])), size))
    return Case(bytes(content), case.suffix, f"size {size} in {case.what}")


def _with_tag(content: bytes, tag: int, value: int) -> bytes:
    order: str = "little" if content[:2] == b"II" else "big"
    directory = int.from_bytes(content[4:8], order)  # type: ignore[arg-type]
    changed = bytearray(content)
    for place in range(directory + 2, len(content) - 12, 12):
        if int.from_bytes(content[place : place + 2], order) == tag:  # type: ignore[arg-type]
            changed[place + 8 : place + 12] = value.to_bytes(4, order)  # type: ignore[arg-type]
            break
    return bytes(changed)


def problem_of(path: Path, case: Case) -> tuple[str, str | None]:
    """Return what became of a file ('read' or 'refused') and what is wrong with that, or None."""
    rgb, problem = _attempt(lambda: np.asarray(inspect_image(path)[0]), path)
    if problem:
        return "failed", problem
    for reader in (lambda: inspect_mask(path), lambda: inspect_map(path).pixels()):
        _, problem = _attempt(reader, path)
        if problem:
            return "failed", problem
    if rgb is None:
        return "refused", "a plain file is refused" if case.must else None
    if case.rgb is not None and (rgb.shape != case.rgb.shape or not np.array_equal(rgb, case.rgb)):
        return "read", "other pixels than were written"
    comparable = case.suffix == ".png" or (case.suffix == ".tif" and ("'raw'" in case.what or "'none'" in case.what))
    other = by_the_other_reader(path) if case.rgb is None and comparable else None
    if other is not None and rgb.shape == other.shape and not np.array_equal(rgb, other):
        return "read", "other pixels than GDAL's"
    return "read", _by_the_other_door(path, rgb)


def by_the_other_reader(path: Path) -> np.ndarray | None:
    """Return the RGB that GDAL reads of an 8-bit or 16-bit gray or RGB file; None where it says something else."""
    try:
        with open_raster(path) as dataset:
            colors = [color.name for color in dataset.colorinterp]
            kinds = set(dataset.dtypes)
            if kinds not in ({"uint8"}, {"uint16"}) or dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "8") != "8":
                return None
            structure = str(dataset.tags(ns="IMAGE_STRUCTURE"))
            if colors[0] not in ("red", "gray") or "CMYK" in structure or "MINISWHITE" in structure:
                return None
            bands = [1, 2, 3] if colors[:3] == ["red", "green", "blue"] else [1, 1, 1]
            values = np.moveaxis(dataset.read(bands), 0, 2)
            if bands[0] == bands[1] and (values[..., :1] != values).any():
                return None  # GDAL gave up in the middle
            return values if kinds == {"uint8"} else (values >> 8).astype(np.uint8)
    except ValueError:
        return None


def _by_the_other_door(path: Path, rgb: np.ndarray) -> str | None:
    """Return what is wrong with the file as a PIL image, opened only and loaded."""
    for load in (False, True):
        try:
            with Image.open(path) as image:
                if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(274, 1) != 1:
                    return None  # Pillow turns it
                if load:
                    image.load()
                found = np.asarray(image_rgb(decoded_image(image)))
        except Exception:  # Pillow's own error, or our refusal
            continue
        if found.shape != rgb.shape or not np.array_equal(found, rgb):
            return f"other pixels as a PIL image{' that is loaded' * load}"
    return None


def _attempt(read, path: Path):  # type: ignore[no-untyped-def]
    try:
        with at_most(SECONDS):
            return read(), None
    except ValueError as error:
        text = str(error)
        wrong = "\n" in text or not text.startswith(str(path)) or type(error).__name__ == "UnicodeDecodeError"
        return None, f"not one line that names it: {text!r}" if wrong else None
    except TimeoutError:
        return None, f"takes more than {SECONDS} s"
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError after some seconds, in the main thread."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(numbers: range, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Return the counts of files by outcome, and one line for each failure, which names its seed and number."""
    counts: Counter[str] = Counter()
    failures = []
    for number in numbers:
        case = draw_case(np.random.default_rng((seed, number)))
        path = folder / f"{number}{case.suffix}"
        path.write_bytes(case.content)
        outcome, problem = problem_of(path, case)
        counts[outcome] += 1
        if problem:
            failures.append(f"--seed {seed} --only {number}: {case.what}: {problem}")
        path.unlink()
    return counts, failures


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="files (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed (default: 0)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this file alone")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="with --only: write the file there")
    options = parser.parse_args()
    numbers = range(options.count) if options.only is None else range(options.only, options.only + 1)
    if options.keep and options.only is not None:
        case = draw_case(np.random.default_rng((options.seed, options.only)))
        options.keep.mkdir(parents=True, exist_ok=True)
        (options.keep / f"{options.only}{case.suffix}").write_bytes(case.content)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts, failures = fuzz(numbers, options.seed, Path(folder))
    print("\n".join(failures))
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"{len(numbers)} files, seed {options.seed}: {outcomes}; {len(failures)} failures; "
          f"{time.perf_counter() - start:.0f} s")  # fmt: skip
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    command.run(main)
