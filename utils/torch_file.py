"""Read files of torch.save that may be untrusted, in a child process with limited memory and time.

`torch.load(weights_only=True)` runs no code from a file, but a few hundred bytes can make it allocate gigabytes or
overflow its stack. Then the child process ends, not the caller.
"""

import json
import re
import signal
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from utils.file_kind import CONVERT, what_it_is
from utils.files import temporary_folder
from utils.safetensors_file import open_safetensors
from utils.text import one_line

try:
    import resource
except ImportError:  # Windows has no such limits: the timeout alone holds there
    resource = None  # type: ignore[assignment]

ALLOWANCE = 256 << 20
"""Bytes that the child may use beside COPIES of the file's size."""
COPIES = 4
"""The file's bytes, the tensors, and what safetensors writes."""
PARTS = (
    "state_dict", "model", "model_state_dict", "net", "network", "params", "weights", "module", "generator",
    "state_dict_ema", "ema_state_dict", "model_ema", "params_ema", "ema",
)  # fmt: skip
"""Names under which training programs save a network's state dict, in the order in which they are taken."""
NESTED = 3
"""Such dicts within one another."""
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes of DataParallel, DistributedDataParallel and torch.compile."""
SECONDS = 60
"""Computing time of the child; it gets one second more per 10 MB of file."""


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a state dict that torch.save wrote; nothing in the file is run.

    Where the file holds a dict of dicts, as training programs save it, the first of `PARTS` that it has is read. A
    warning says so if it has others of them too. Values other than tensors are left out, and wrappers' prefixes, which
    all names share, are dropped.

    Returns:
        CPU tensors by name, in the file's order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a state dict, or reading it takes too much memory or time.
    """
    kind, remedy = what_it_is(path)
    if kind and remedy != CONVERT:
        raise ValueError(f"{kind}: {remedy}")
    seconds = SECONDS + path.stat().st_size / 10e6
    with temporary_folder(Path(tempfile.gettempdir())) as folder:
        target = folder / "tensors.safetensors"
        try:
            child = _run_child(path.resolve(), target, 2 * seconds + 60)
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"reading it takes longer than {error.timeout:.0f} s") from error
        if child.returncode < 0:
            raise ValueError(f"reading it ended with {signal.Signals(-child.returncode).name}")
        if child.returncode:
            raise ValueError(one_line((child.stderr.strip().splitlines() or ["it cannot be read"])[-1]))
        with open_safetensors(target) as file:
            names = json.loads(file.metadata()["names"])
            if remark := file.metadata()["remark"]:
                warnings.warn(f"{path}: {remark}", stacklevel=2)
            return {name: file.get_tensor(str(number)) for number, name in enumerate(names)}


def _run_child(path: Path, target: Path, timeout: float) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "utils.torch_file", str(path), str(target)]
    root = Path(__file__).resolve().parent.parent
    return subprocess.run(command, cwd=root, capture_output=True, text=True, errors="replace", timeout=timeout)


def main(source: Path, target: Path) -> None:
    """Be the child: write the tensors of `source` to the safetensors file `target`, within limits."""
    size = source.stat().st_size
    _limit(size)
    try:
        state, remark = _load(source)
        total = sum(value.nbytes for value in state.values())
        if total > COPIES * size + ALLOWANCE:
            raise ValueError(f"its tensors would take {total:,} bytes, the file has {size:,}")
        numbered = {str(number): value.clone().contiguous() for number, value in enumerate(state.values())}
        save_file(numbered, target, {"names": json.dumps(list(state)), "remark": remark})
    except MemoryError:
        sys.exit(f"reading it takes more memory than {COPIES * size + ALLOWANCE:,} bytes")
    except Exception as error:  # torch has no one error for a file that it cannot read
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].partition("\n")[0]
        if found := re.search(r"GLOBAL (\S+) was not an allowed global", str(error)):
            reason = f"it needs {found[1]}, which only running code from the file could give; save state_dict() alone"
        sys.exit(one_line(reason if type(error) is ValueError else f"{type(error).__name__}: {reason}"))


def _limit(size: int) -> None:
    """Limit this process's memory, computing time and written files for a source of `size` bytes."""
    if resource is None:
        return
    seconds = int(SECONDS + size / 10e6)
    memory = COPIES * size + ALLOWANCE
    limits = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: memory}
    statm = Path("/proc/self/statm")
    if statm.exists():  # Linux; torch itself, which is loaded by now, does not count
        limits[resource.RLIMIT_AS] = int(statm.read_text().split()[0]) * resource.getpagesize() + memory
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))


def _load(source: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors by name, and a remark about what else the file holds."""
    zipped = zipfile.is_zipfile(source)
    if zipped:
        with zipfile.ZipFile(source) as archive:
            if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
                raise ValueError("it has compressed records, which torch.save never writes")
    saved = torch.load(source, map_location="cpu", weights_only=True, mmap=zipped)
    remark = ""
    for _ in range(NESTED):
        parts = [key for key in PARTS if isinstance(saved, dict) and isinstance(saved.get(key), dict)]
        if parts:
            saved, others = saved[parts[0]], ", ".join(parts[1:])
            remark = f"its {parts[0]} is read; it also holds {others}" if others else remark
    if not isinstance(saved, dict):
        raise ValueError(f"it holds a {type(saved).__name__}, something other than a plain state dict of tensors")
    state = {key: value.detach() for key, value in saved.items() if type(key) is str and isinstance(value, Tensor)}
    if not state:
        raise ValueError("it holds no tensors by name")
    return _without_wrappers(state), remark


def _without_wrappers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the prefixes that wrappers of a whole network put before every name."""
    while prefix := next((each for each in WRAPPERS if all(name.startswith(each) for name in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
