"""Pairs of files damaged in every way: each is opened whole, or refused in one line that names it, soon and in little
memory.

`FUZZ=30000 pytest -s tests/datasets/test_pairs.py` damages that many pairs (3000 by default) and prints the outcomes.
"""

import io
import os
import random
import resource
import signal
import struct
import time
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.catalog import Pair, find_pairs
from datasets.file_warnings import FileWarning, mask_warnings, warning_lines
from datasets.pairs import open_pair

FUZZ = int(os.environ.get("FUZZ", "3000"))
SECONDS, MEBIBYTES = 5, 1024
"""What one pair may take. 89 million pixels, the most that are decoded at all, are 340 MiB as Pillow keeps RGB."""

SIZE = WIDTH, HEIGHT = 24, 18
IMAGE_KINDS = {
    "jpg": {"format": "JPEG"},
    "progressive.jpg": {"format": "JPEG", "progressive": True},
    "png": {"format": "PNG"},
    "bmp": {"format": "BMP"},
    "tif": {"format": "TIFF"},
    "lzw.tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "webp": {"format": "WEBP"},
}
MASK_KINDS = {
    "png": {"format": "PNG"},
    "bmp": {"format": "BMP"},
    "tif": {"format": "TIFF", "compression": "tiff_deflate"},
}


def picture(size: tuple[int, int] = SIZE) -> Image.Image:
    pixels = np.random.default_rng(1).integers(40, 215, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def shape(size: tuple[int, int] = SIZE) -> Image.Image:
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return Image.fromarray((((x - 9) ** 2 + 2 * (y - 8) ** 2) < 60).astype(np.uint8) * 255)


def encoded(image: Image.Image, **how) -> bytes:
    file = io.BytesIO()
    image.save(file, **how)
    return file.getvalue()


@dataclass(frozen=True)
class Case:
    """A pair as bytes, None for a missing file; `hurt` is the file that was damaged, `must` what has to come of it."""

    image: bytes | None
    mask: bytes | None
    image_name: str
    mask_name: str
    hurt: str = "image"
    must: str = "either"  # or "accepted" or "refused"
    says: str = ""
    warns: FileWarning | None = None

    def damaged(self, change: Callable[[bytes], bytes | None], **more) -> "Case":
        return replace(self, **{self.hurt: change(getattr(self, self.hurt))}, **more)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes) -> bytes:
    """A PNG that claims a size and holds a few bytes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def tiff(width: int, height: int) -> bytes:
    """The same as a TIFF: one gray strip, packed with deflate."""
    data = zlib.compress(bytes(99))
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 273: 122, 277: 1, 278: height, 279: len(data)}
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + data


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 154, 0, 54, 40, width, height, 1, 24, 0, 99, 0, 0, 0, 0) + bytes(99)


BOMBS = {"png": png(60000, 60000), "tif": tiff(60000, 60000), "bmp": bmp(60000, 60000)}
TEXT_BOMB = png(*SIZE, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 26))))


def cut(rng: random.Random, case: Case) -> Case:
    return case.damaged(lambda data: data[: rng.randrange(1, len(data))])


def bytes_changed(rng: random.Random, case: Case) -> Case:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            changed[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(changed)

    return case.damaged(change)


def head_changed(rng: random.Random, case: Case) -> Case:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 2, 4))):
            changed[rng.randrange(min(len(data), 64))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return case.damaged(change)


def zeroed(rng: random.Random, case: Case) -> Case:
    def change(data: bytes) -> bytes:
        first, last = sorted(rng.sample(range(len(data) + 1), 2))
        return data[:first] + bytes(last - first) + data[last:]

    return case.damaged(change)


def end_lost(rng: random.Random, case: Case) -> Case:
    """Zeros in the place of the end, as an interrupted copy leaves them."""
    image = rng.choice(("jpg", "progressive.jpg", "png"))
    data = encoded(picture(), **IMAGE_KINDS[image])
    kept = rng.randrange(1, len(data) - 20)
    return replace(case, image=data[:kept] + bytes(len(data) - kept), image_name=image, hurt="image", must="refused")


def spliced(rng: random.Random, case: Case) -> Case:
    """A piece of it is gone, or is there twice, or noise lies in it."""

    def change(data: bytes) -> bytes:
        first, last = sorted(rng.sample(range(len(data) + 1), 2))
        piece = rng.choice((b"", data[first:last] * 2, rng.randbytes(last - first)))
        return data[:first] + piece + data[last:]

    return case.damaged(change)


def another_header(rng: random.Random, case: Case) -> Case:
    heads = [encoded(picture(), **how) for how in IMAGE_KINDS.values()] + [b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
    head = rng.choice(heads)[: rng.choice((2, 4, 8, 16, 64))]
    return case.damaged(lambda data: head + data[len(head) :])


def noise(rng: random.Random, case: Case) -> Case:
    return case.damaged(lambda data: rng.randbytes(rng.randrange(1, 400)), must="refused")


def zero_bytes(rng: random.Random, case: Case) -> Case:
    return case.damaged(lambda data: b"", must="refused", says="is empty, it has zero bytes")


def missing(rng: random.Random, case: Case) -> Case:
    return case.damaged(lambda data: None, must="refused", says="is not there")


def another_suffix(rng: random.Random, case: Case) -> Case:
    return replace(case, image_name="swapped.png", mask_name="swapped.jpg", must="accepted")


def another_size(rng: random.Random, case: Case) -> Case:
    size = (rng.randrange(1, 60), HEIGHT + rng.choice((-1, 1)))
    return replace(case, mask=encoded(shape(size), format="PNG"), must="refused", says=f"{WIDTH}×{HEIGHT} pixels, its")


def turned(rng: random.Random, case: Case) -> Case:
    mask = encoded(shape((HEIGHT, WIDTH)), format="PNG")
    return replace(case, mask=mask, must="refused", says=f"{HEIGHT}×{WIDTH}: width and height are swapped")


def swapped(rng: random.Random, case: Case) -> Case:
    names = {"image_name": f"im-{case.mask_name}", "mask_name": f"gt-{case.image_name}"}
    return replace(case, image=case.mask, mask=case.image, **names, must="refused", says="is no mask: ")


def swapped_and_dark(rng: random.Random, case: Case) -> Case:
    mask = encoded(picture().point(lambda value: value // 20), format="PNG")
    return replace(case, image=case.mask, mask=mask, image_name="dark.png", must="refused", says="may be swapped")


def all_255(rng: random.Random, case: Case) -> Case:
    mask = encoded(Image.new(rng.choice("L1"), SIZE, 255), format="PNG")
    return replace(case, mask=mask, must="accepted", warns=FileWarning.FULL)


def no_foreground(rng: random.Random, case: Case) -> Case:
    mask = encoded(Image.new(rng.choice(("L", "1", "RGB")), SIZE), format="PNG")
    return replace(case, mask=mask, must="accepted", warns=FileWarning.EMPTY)


def in_between(rng: random.Random, case: Case) -> Case:
    mask = np.array(shape())
    mask[rng.randrange(HEIGHT), : rng.randrange(1, WIDTH)] = rng.randrange(1, 255)
    return replace(case, mask=encoded(Image.fromarray(mask), format="PNG"), must="accepted", warns=FileWarning.GRAY)


def bomb(rng: random.Random, case: Case) -> Case:
    return case.damaged(lambda data: rng.choice([*BOMBS.values()]), must="refused", says="pixels")


def text_bomb(rng: random.Random, case: Case) -> Case:
    return case.damaged(lambda data: TEXT_BOMB, must="refused")


def whole(rng: random.Random, case: Case) -> Case:
    return replace(case, must="accepted")


DAMAGES = {
    damage.__name__: damage
    for damage in (
        whole, cut, bytes_changed, head_changed, zeroed, end_lost, spliced, another_header, noise, zero_bytes, missing,
        another_suffix, another_size, turned, swapped, swapped_and_dark, all_255, no_foreground, in_between, bomb,
        text_bomb,
    )
}  # fmt: skip


WILD = ("bytes_changed", "head_changed", "zeroed", "spliced")
"""Damage that may leave an image of other pixels in a file without checksums."""


class TookTooLong(BaseException):
    """No Exception, so that nothing in between takes it for an error of the file."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    def stop(*_) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def written(case: Case, folder: Path) -> Pair:
    paths = {}
    for what, name in (("image", case.image_name), ("mask", case.mask_name)):
        paths[what] = folder / f"{what}-{name}"
        data = getattr(case, what)
        if data is None:
            paths[what].unlink(missing_ok=True)
        else:
            paths[what].write_bytes(data)
    return Pair("0001", **paths)


def outcome_of(case: Case, pair: Pair, pixels: tuple[bytes, bytes]) -> str:
    """Open the pair and hold all against it that holds for any damage."""
    try:
        with at_most(SECONDS):
            image, mask, _ = open_pair(pair)
    except ValueError as error:
        text = str(error)
        assert "\n" not in text
        assert case.must != "accepted", text
        assert str(getattr(pair, case.hurt)) in text
        assert case.says in text, text
        return "refused"
    assert (image.mode, mask.mode) == ("RGB", "L")
    assert image.size == mask.size
    assert case.must != "refused"
    if case.warns is not None:
        assert mask_warnings(mask) == case.warns
        return "warned of"
    return "same pixels" if (image.tobytes(), mask.tobytes()) == pixels else "other pixels"


def peak_mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(outcomes: dict[str, Counter[str]]) -> str:
    columns = ("refused", "same pixels", "warned of", "other pixels")
    lines = ["", " " * 32 + "".join(f"{column:>18}" for column in columns)]
    for kind in sorted(outcomes, key=lambda kind: (kind not in DAMAGES, kind not in WILD)):
        lines.append(f"{kind:32}" + "".join(f"{outcomes[kind][column]:18}" for column in columns))
    return "\n".join(lines)


def test_damaged_pairs(tmp_path: Path) -> None:
    images = {name: encoded(picture(), **how) for name, how in IMAGE_KINDS.items()}
    masks = {name: encoded(shape(), **how) for name, how in MASK_KINDS.items()}
    pixels = {name: Image.open(io.BytesIO(data)).convert("RGB").tobytes() for name, data in images.items()}
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    slowest, before = 0.0, peak_mebibytes()
    for number in range(FUZZ):
        rng = random.Random(f"pair {number}")  # a pair that fails can be damaged again without those before it
        kind = [*DAMAGES][number % len(DAMAGES)]
        image, mask = rng.choice([*images]), rng.choice([*masks])
        case = Case(images[image], masks[mask], image, mask, hurt=rng.choice(("image", "mask")))
        case = DAMAGES[kind](rng, case)
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of odd metadata
                outcome = outcome_of(case, written(case, tmp_path), (pixels[image], shape().tobytes()))
        except BaseException as error:
            error.add_note(f"pair {number}, {kind}: {case}")
            raise
        slowest = max(slowest, time.perf_counter() - start)
        outcomes[kind][outcome] += 1
        hurt = image if case.hurt == "image" else mask
        if kind in WILD:
            outcomes[f"{hurt}, changed or spliced"][outcome] += 1
        if kind != "another_header" and (kind not in WILD or hurt == "png"):  # PNG has checksums
            assert outcome != "other pixels", (number, kind)
    grown = peak_mebibytes() - before
    print(table(outcomes))
    print(f"{FUZZ} pairs; the slowest took {1000 * slowest:.0f} ms; peak memory grew by {grown:.0f} MiB")
    assert grown < MEBIBYTES


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(encoded(shape(), format="PNG"))
    before = peak_mebibytes()
    for suffix, data in {**BOMBS, "text.png": TEXT_BOMB}.items():
        (tmp_path / f"bomb.{suffix}").write_bytes(data)
        with pytest.raises(ValueError, match=rf"bomb\.{suffix} cannot be read") as error:
            open_pair(Pair("bomb", tmp_path / f"bomb.{suffix}", tmp_path / "m.png"))
        assert suffix == "text.png" or "pixels" in str(error.value)
    assert peak_mebibytes() - before < 64


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    picture().save(tmp_path / "im.jpg")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")  # whoever opens it waits for ever
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    with (tmp_path / "vast.png").open("wb") as file:
        file.truncate(1 << 40)  # a hole, which takes no room
    refused = {
        "folder": "is a folder",
        "pipe": "is a pipe, no regular file",
        "link": "is a link to a file that is not there",
        "round": "cannot be read",
        "vast": "has 1099511627776 bytes",
    }
    for name, says in refused.items():
        with at_most(SECONDS), pytest.raises(ValueError, match=rf"{name}\.png {says}"):
            open_pair(Pair("a", tmp_path / "im.jpg", tmp_path / f"{name}.png"))


def test_both_files_are_named_and_line_breaks_are_not_passed_on(tmp_path: Path) -> None:
    (tmp_path / "a\nb.jpg").touch()
    with pytest.raises(ValueError, match=r"/a b\.jpg is empty, it has zero bytes; .*/gone\.png is not there$") as error:
        open_pair(Pair("a", tmp_path / "a\nb.jpg", tmp_path / "gone.png"))
    assert "\n" not in str(error.value)


def test_masks_of_jpeg_and_soft_masks_are_masks(tmp_path: Path) -> None:
    picture((96, 72)).save(tmp_path / "im.jpg")
    big = Image.fromarray(np.kron(np.asarray(shape()), np.ones((4, 4), np.uint8)))
    big.save(tmp_path / "jpeg.jpg", quality=60)
    big.resize((48, 36), Image.Resampling.BILINEAR).resize((96, 72), Image.Resampling.BICUBIC).save(
        tmp_path / "soft.png"
    )
    for name in ("jpeg.jpg", "soft.png"):
        _, mask, _ = open_pair(Pair("a", tmp_path / "im.jpg", tmp_path / name))
        assert mask_warnings(mask) == FileWarning.GRAY


def test_warnings_add_up() -> None:
    def of(*values: int) -> FileWarning:
        return mask_warnings(Image.fromarray(np.array([values], dtype=np.uint8)))

    assert of(0, 255) == FileWarning(0)
    assert of(0, 0) == FileWarning.EMPTY
    assert of(255, 255) == FileWarning.FULL
    assert of(0, 254) == FileWarning.GRAY
    assert of(0, 3) == FileWarning.EMPTY | FileWarning.GRAY  # numbers of classes
    assert max(FileWarning.EMPTY | FileWarning.FULL | FileWarning.GRAY, 0) < 256
    assert FileWarning(int(of(0, 3))) == of(0, 3)


def test_warning_lines() -> None:
    both = FileWarning.EMPTY | FileWarning.GRAY
    warned = [(f"{number:04}", FileWarning.GRAY) for number in range(7)] + [
        ("a", both),
        ("b", FileWarning.FULL),
        ("c", FileWarning(0)),
    ]
    assert warning_lines("ORSSD", warned, shown=3) == [
        "ORSSD: 8 masks hold values between 0 and 255 (0000, 0001, 0002, …)",
        "ORSSD: 1 mask is all 255 (b)",
        "ORSSD: 1 mask is empty",
    ]
    assert warning_lines("ORSSD", [("c", FileWarning(0))]) == []


def test_real_pairs_open_and_swapped_ones_do_not(shared: Path) -> None:
    for pair in find_pairs("ORSSD", shared / "data" / "ORSSD", "test")[::5]:
        image, mask, _ = open_pair(pair)
        assert image.size == mask.size
        assert mask_warnings(mask) in (FileWarning(0), FileWarning.EMPTY)
        with pytest.raises(ValueError, match="is no mask"):
            open_pair(Pair(pair.stem, pair.mask, pair.image))
