"""Files of tensors from strangers: read so that nothing in them runs, and none claims more memory than it has bytes."""

import math
import mmap
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import torch
from torch import Tensor

from utils.text import one_line

HEADER_LIMIT = 8 << 20
"""Bytes that the header of a .safetensors file may have: 70,000 tensors'. Parsed, it takes several times its size."""
PICKLE_LIMIT = 2 << 20
"""Bytes that a pickle may have: 14,000 tensors'. One byte of it can stand for an object of 64."""
RECORD_LIMIT = 100_000
"""Records that a zip file may have."""
BROKEN = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError, struct.error, zipfile.BadZipFile)
"""What comes of a file that makes no sense."""
STREAM_START = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The pickled number that a file starts with in the format that torch.save wrote before 1.6."""


def read_saved_state(path: Path) -> Any:
    """What torch.save wrote into a file; of a dict with a dict `state_dict` or `model` in it, that one.

    Nothing in the file is imported or called, and nothing is allocated for its tensors: they stay mapped from the
    file. torch.load(weights_only=True) runs no code either, but 400 bytes can make it fill gigabytes (a bytearray of
    any size, a compressed record) and 150 kB end the process (a deeply nested key).

    Returns:
        A dict of tensors on the CPU, and of whatever else it holds as plain data; or plain data that is no dict.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is broken, or there is more in it than tensors, numbers, strings, lists, tuples and dicts.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            saved, start_of = _from_zip(file, data) if data[:4] == b"PK\3\4" else _from_stream(data)
            for key in ("state_dict", "model"):
                if isinstance(saved, dict) and isinstance(saved.get(key), dict):
                    saved = saved[key]
            if not isinstance(saved, dict):
                return saved
            return {k: v.mapped(data, start_of(v.storage)) if isinstance(v, _Saved) else v for k, v in saved.items()}
        except BROKEN as error:
            raise ValueError(one_line(error)) from error


@dataclass(frozen=True)
class _Storage:
    """A storage that a pickle speaks of: its name, type and number of elements."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class _Saved:
    """A tensor that a pickle describes: the part of a storage that it is."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def mapped(self, data: mmap.mmap, start: int) -> Tensor:
        """The tensor on the file's own bytes, its storage starting at byte `start`. It must lie within its storage."""
        if len(self.size) > 16 or any(type(n) is not int or n < 0 for n in (self.offset, *self.size, *self.stride)):
            raise ValueError("a tensor has no proper size and stride")
        elements = math.prod(self.size)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if elements == 0:
            return torch.empty(self.size, dtype=self.storage.dtype)
        if max(last + 1, elements) > self.storage.count:
            raise ValueError(f"a tensor has {elements:,} elements, its storage {self.storage.count:,}")
        whole = torch.frombuffer(data, dtype=self.storage.dtype, count=self.storage.count, offset=start)
        return whole.as_strided(self.size, self.stride, self.offset)


def _from_zip(file: BinaryIO, data: mmap.mmap) -> tuple[Any, Callable[[_Storage], int]]:
    """The pickle of a zip file, what torch.save writes since 1.6, and where in the file a storage starts."""
    records = _records(file, data)
    folder = next((name.removesuffix("data.pkl") for name in records if name.endswith("/data.pkl")), None)
    if folder is None:
        raise ValueError("a zip file, but not of torch.save")
    order = slice(*records.get(f"{folder}byteorder", (0, 0)))
    if data[order] not in (b"", b"little"):
        raise ValueError("it was written on a big-endian machine")

    def start_of(storage: _Storage) -> int:
        start, end = records[f"{folder}data/{storage.key}"]
        if end - start != storage.count * storage.dtype.itemsize:
            raise ValueError(f"a storage of {storage.count:,} elements has {end - start:,} bytes")
        return start

    return _unpickled(data, *records[f"{folder}data.pkl"])[0], start_of


def _records(file: BinaryIO, data: mmap.mmap) -> dict[str, tuple[int, int]]:
    """Where each record of a zip file starts and ends."""
    if sum(1 for _ in islice(re.finditer(b"PK\1\2", data), RECORD_LIMIT + 1)) > RECORD_LIMIT:
        raise ValueError(f"it has more than {RECORD_LIMIT:,} records")
    with zipfile.ZipFile(file) as archive:
        found = archive.infolist()
    records = {}
    for record in found:
        if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
            raise ValueError("it has compressed records, which torch.save never writes")
        at = record.header_offset
        start = at + 30 + sum(struct.unpack("<HH", data[at + 26 : at + 30]))
        records[record.filename] = (start, start + record.file_size)
    return records


def _from_stream(data: mmap.mmap) -> tuple[Any, Callable[[_Storage], int]]:
    """The same of a stream of pickles with the storages' bytes behind them, what torch.save wrote before 1.6."""
    if data[: len(STREAM_START)] != STREAM_START:
        raise ValueError("not a file of torch.save")
    storages: dict[str, _Storage] = {}
    _, at = _unpickled(data, len(STREAM_START))  # a protocol version
    _, at = _unpickled(data, at)  # the machine
    saved, at = _unpickled(data, at, storages=storages)
    keys, at = _unpickled(data, at)
    starts = {}
    for key in keys:
        storage = storages[str(key)]
        (count,) = struct.unpack("<q", data[at : at + 8])
        if count != storage.count:
            raise ValueError(f"a storage of {storage.count:,} elements has {count:,}")
        starts[storage] = at + 8
        at += 8 + count * storage.dtype.itemsize
    return saved, starts.__getitem__


def _unpickled(
    data: mmap.mmap, start: int, end: int | None = None, storages: dict[str, _Storage] | None = None
) -> tuple[Any, int]:
    """What the pickle at byte `start` describes, and where it ends; its storages are put into `storages`."""
    if end is not None and end - start > PICKLE_LIMIT:
        raise ValueError(f"its pickle has {end - start:,} bytes, more than {PICKLE_LIMIT:,}")
    pickle = BytesIO(data[start : start + PICKLE_LIMIT if end is None else end])
    machine = _PickleMachine({} if storages is None else storages)
    for opcode, argument, _ in pickletools.genops(pickle):
        machine.step(opcode.name, argument)
    return machine.stack.pop(), start + pickle.tell()


class _PickleMachine:
    """Follows a pickle's opcodes as far as a state dict needs them, on plain data.

    Args:
        storages: by their keys, the storages that it meets are put here.
    """

    CONSTANTS: ClassVar = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
    ARGUMENTS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "BINSTRING")

    def __init__(self, storages: dict[str, _Storage]):
        self.storages = storages
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Do what one opcode says. Raises a ValueError or LookupError where it makes no sense in a state dict."""
        if name in self.ARGUMENTS:
            self.stack.append(argument)
        elif name in self.CONSTANTS:
            self.stack.append(self.CONSTANTS[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST"):
            self.stack.append({} if name == "EMPTY_DICT" else [])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif name not in ("PROTO", "STOP"):
            self._combine(name, argument)

    def _combine(self, name: str, argument: Any) -> None:
        if name == "TUPLE":
            self.stack.append(tuple(self._above_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            self.stack.append(tuple(self._above(int(name[-1]))))
        elif name in ("APPEND", "APPENDS"):
            items = self._above(1) if name == "APPEND" else self._above_mark()
            self._top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._above(2) if name == "SETITEM" else self._above_mark()
            self._top(dict).update(_keyed(zip(items[::2], items[1::2], strict=True)))
        elif name == "BUILD":  # attributes: a state dict's own version, a parameter's hooks
            self._above(1)
        else:
            self._call(name, argument)

    def _call(self, name: str, argument: Any) -> None:
        if name == "GLOBAL":
            self.stack.append(_named(argument))
        elif name == "BINPERSID":
            storage = _storage(*self._top(tuple))
            self.stack[-1] = self.storages[storage.key] = storage
        elif name in ("REDUCE", "NEWOBJ"):
            function, arguments = self._above(2)
            self.stack.append(function(*arguments))
        else:
            raise ValueError(f"its pickle has the opcode {name}, which no state dict needs")

    def _top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"its pickle has a {type(self.stack[-1]).__name__} where a {kind.__name__} belongs")
        return self.stack[-1]

    def _above(self, count: int) -> list[Any]:
        return self._cut(len(self.stack) - count)

    def _above_mark(self) -> list[Any]:
        return self._cut(self.marks.pop())

    def _cut(self, place: int) -> list[Any]:
        if not 0 <= place <= len(self.stack):
            raise IndexError("its pickle takes more than it has put down")
        items = self.stack[place:]
        del self.stack[place:]
        return items


def _keyed(pairs: Iterable[tuple[Any, Any]]) -> dict[str | int, Any]:
    found = dict[str | int, Any]()
    for key, value in pairs:
        if type(key) not in (str, int):  # hashing a deeply nested tuple ends the process
            raise TypeError(f"its pickle has a dict with a {type(key).__name__} for a key")
        found[key] = value
    return found


def _storage(kind: Any, dtype: Any, key: Any, _location: Any, count: Any, view: Any = None) -> _Storage:
    """The storage of a persistent id, as torch.save writes it."""
    if kind != "storage" or type(dtype) is not torch.dtype or type(key) is not str or type(count) is not int:
        raise TypeError("its pickle refers to something other than a tensor's storage")
    if count < 0 or view is not None:
        raise ValueError("its pickle refers to a storage within another")
    return _Storage(key, dtype, count)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Saved:
    if not (isinstance(storage, _Storage) and isinstance(size, tuple) and isinstance(stride, tuple)):
        raise TypeError("its pickle has a tensor without a storage, size or stride")
    return _Saved(storage, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered(pairs: list[Any] | tuple[()] = ()) -> dict[str | int, Any]:
    found = _keyed(pairs)
    if pairs:
        pairs.clear()  # used once: copies of one list could fill the memory
    return found


def _named(name: str) -> Any:
    """What stands for a Python name in a pickle, "module name". None of them is imported."""
    module, _, plain = name.partition(" ")
    if module in ("torch", "torch.cuda") and plain in _DTYPES:
        return _DTYPES[plain]
    if name not in _NAMES:
        raise ValueError(f"it asks for {'.'.join(name.split())}, which no state dict needs")
    return _NAMES[name]


_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_NAMES = {
    "collections OrderedDict": _ordered,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch.nn.parameter Parameter": _parameter,
}
