"""Damaged files are refused or remarked on: a decoder that reads on gives pixels that look like any others."""

import random
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.file_warnings import FileWarning
from datasets.io import inspect_image, inspect_map, inspect_mask, inspect_pixels
from tests.helpers import picture

SOUND = {
    "lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "old deflate": ("TIFF", {"compression": "tiff_deflate"}),
    "zstd": ("TIFF", {"compression": "zstd"}),
    "jpeg in tiff": ("TIFF", {"compression": "jpeg"}),
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "webp": ("WEBP", {"lossless": True}),
    "jpeg 2000": ("JPEG2000", {}),
    "gif": ("GIF", {}),
    "avif": ("AVIF", {}),
}
CHECKED = ("deflate", "old deflate", "png")
"""Formats with a checksum, which no damage of the pixels passes."""
REMARKED = ("jpeg in tiff", "jpeg", "progressive")
"""Formats whose decoder remarks on corrupt data, though not on all of it."""


def saved(name: str, image: Image.Image) -> bytes:
    kind, options = SOUND[name]
    file = BytesIO()
    try:
        image.save(file, kind, **options)
    except (KeyError, OSError) as error:
        pytest.skip(f"Pillow writes no {name} here: {error}")
    return file.getvalue()


def outcome(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "damaged" if FileWarning.DAMAGED in inspect_image(path)[1] else "read"
    except ValueError as error:
        return "refused" if str(path) in str(error) and "\n" not in str(error) else f"not named: {error}"


@pytest.mark.parametrize("name", SOUND)
def test_sound_files_have_no_remark_and_short_ones_are_refused(name: str, tmp_path: Path) -> None:
    for image in (picture(300, 200), picture(61, 33).convert("L")):
        content = saved(name, image)
        assert outcome(tmp_path / "file", content) == "read"
        assert outcome(tmp_path / "file", content[: len(content) // 2]) == "refused"


@pytest.mark.parametrize("name", [*CHECKED, *REMARKED])
def test_damage_in_the_middle_is_refused_or_remarked_on(name: str, tmp_path: Path) -> None:
    content, found = saved(name, picture(300, 200)), []
    for seed in range(24):
        chance = random.Random(seed)
        place = chance.randrange(len(content) // 4, len(content) // 4 * 3)
        damaged = content[:place] + chance.randbytes(40) + content[place + 40 :]
        found.append(outcome(tmp_path / "file", damaged))
    if name in CHECKED:
        assert set(found) == {"refused"}
    else:
        assert found.count("read") < 12, found
        assert found.count("damaged") > 6, found


def test_every_door_remarks_on_a_damaged_jpeg(tmp_path: Path) -> None:
    content = saved("jpeg", picture(300, 200).convert("L"))
    content = content[: len(content) // 2] + bytes(60) + content[len(content) // 2 + 60 :]
    (tmp_path / "a.jpg").write_bytes(content)
    assert FileWarning.DAMAGED in inspect_image(tmp_path / "a.jpg")[1]
    assert FileWarning.DAMAGED in inspect_mask(tmp_path / "a.jpg")[1]
    assert FileWarning.DAMAGED in inspect_map(tmp_path / "a.jpg").warnings
    assert FileWarning.DAMAGED in inspect_pixels(tmp_path / "a.jpg", (32, 32))[2]
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(inspect_image(tmp_path / "a.jpg")[0]))


def test_a_tiff_whose_parts_unpack_to_gigabytes_ends(tmp_path: Path) -> None:
    """Every strip is the same 16 MB of zeros; the image has 64 bytes."""
    strip = zlib.compress(bytes(1 << 24))
    count = 64
    entries = [(256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (278, 4, 1, 1)]
    end = 8 + 2 + 8 * 12 + 4
    entries += [(273, 4, count, end), (279, 4, count, end + 4 * count)]
    content = struct.pack("<4sIH", b"II*\0", 8, len(entries))
    content += b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries)) + bytes(4)
    content += struct.pack(f"<{count}I", *[end + 8 * count] * count) + struct.pack(f"<{count}I", *[len(strip)] * count)
    assert outcome(tmp_path / "bomb.tif", content + strip) in ("read", "refused")
