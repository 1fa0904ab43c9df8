"""The record of a run: which input became which output, in Parquet files that a killed run leaves whole.

`OUTPUT/_manifest/_job.json` says what is made, `OUTPUT/_manifest/part-*.parquet` hold a row for each input that was
finished or given up. An input that failed and was made later has two rows: the one with the later time counts.
"""

import io
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from inference.cluster.storage import Folder, read

FOLDER = "_manifest"
JOB = f"{FOLDER}/_job.json"  # readers of Parquet folders leave out names that begin with _
FORMAT = 1
ROWS = 20_000
"""Rows after which a part is written."""
SECONDS = (5.0, 60.0)
"""A part is written at least this often: at the beginning of a run, and after its first hour."""
READERS = 16


@dataclass(frozen=True)
class Row:
    """What became of one input.

    Attributes:
        input: path or address, without credentials.
        output: name below the output folder.
        bytes: size of the input; 0 where it could not be read, or where GDAL read a part of it at a time.
        checksum: 'sha256:…' of the input's bytes, or 'sample:…' of a scene's sampled pixels; '' where it is not known.
        seconds: time of reading, network and writing, without waiting.
        worker: host and process.
        error: why there is no output; None where there is one.
        kind: of the error, such as 'unreadable'; '' without one.
        written: whether this run wrote the output; False where it was there.
        megapixels: of the input.
        time: Unix time of the record.
    """

    input: str
    output: str
    bytes: int = 0
    checksum: str = ""
    seconds: float = 0.0
    worker: str = ""
    error: str | None = None
    kind: str = ""
    written: bool = False
    megapixels: float = 0.0
    time: float = 0.0


_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "str | None": pa.string()}
SCHEMA = pa.schema([(field.name, _TYPES[getattr(field.type, "__name__", str(field.type))]) for field in fields(Row)])


class ManifestWriter:
    """Collects rows and writes a part now and then; each part appears whole.

    Args:
        folder: the output folder.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder, self.run = folder, f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:8]}"
        self.rows: list[Row] = []
        self._parts = 0
        self._start = self._last = time.monotonic()

    def add(self, row: Row) -> None:
        """Add a row, to be written later."""
        self.rows.append(row)

    def flush_if_due(self) -> None:
        """Write the collected rows if they are many, or older than a few seconds; errors as `Folder.put_new`."""
        now = time.monotonic()
        pause = min(max(SECONDS[0], (now - self._start) / 60), SECONDS[1])
        if len(self.rows) >= ROWS or (self.rows and now - self._last >= pause):
            self.flush()

    def flush(self) -> None:
        """Write the collected rows; errors as `Folder.put_new`."""
        if not self.rows:
            return
        columns = zip(*(asdict(row).values() for row in self.rows), strict=True)
        table = pa.table([pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)], SCHEMA)
        content = io.BytesIO()
        parquet.write_table(table, content, compression="zstd")
        self.folder.put_new(f"{FOLDER}/part-{self.run}-{self._parts:06}.parquet", content.getvalue())
        self._parts += 1
        self.rows, self._last = [], time.monotonic()


def parts(folder: Folder) -> list[str]:
    """Return the names of the manifest's parts, sorted."""
    return sorted(name for name in folder.names(FOLDER) if name.endswith(".parquet"))


def read_status(folder: Folder) -> Any:
    """Return a table of two columns: `output`, and `done`, whether the output was made; several rows may name one.

    Raises:
        ValueError: a part is broken.
    """
    schema = pa.schema([("output", pa.string()), ("done", pa.bool_())])

    def status(name: str) -> Any:
        try:
            table = parquet.read_table(io.BytesIO(read(folder.of(name))), columns=["output", "error"])
        except pa.ArrowException as error:
            raise ValueError(f"{folder.of(name)} is broken ({error}): remove it; its maps are found again") from error
        return pa.table([table["output"], table["error"].is_null()], schema=schema)

    with ThreadPoolExecutor(READERS) as pool:
        tables = list(pool.map(status, parts(folder)))
    return pa.concat_tables(tables) if tables else schema.empty_table()


def read_rows(folder: Folder) -> Iterator[dict[str, Any]]:
    """Yield all rows of all parts."""
    for name in parts(folder):
        yield from parquet.read_table(io.BytesIO(read(folder.of(name)))).to_pylist()


def check_job(folder: Folder, job: Mapping[str, Any]) -> None:
    """Record what is made, or compare it with what an earlier run recorded.

    Args:
        folder: the output folder.
        job: what the outputs depend on, as JSON values.

    Raises:
        ValueError: the outputs that are there were made otherwise.
        OSError: the record cannot be written.
    """
    text = json.dumps({"format": FORMAT} | dict(job), indent=1)
    if folder.put_new(JOB, text.encode()):
        return
    there, now = json.loads(read(folder.of(JOB))), json.loads(text)
    for key in dict.fromkeys((*there, *now)):
        if there.get(key) != now.get(key):
            raise ValueError(
                f"{folder} was begun with {key} {there.get(key)}, not {now.get(key)}: repeat that with --resume, or "
                "give another --output"
            )
