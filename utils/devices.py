"""Where a network runs, in which precision and on how many threads: what is asked for is there, or it is an error."""

import contextlib
import ctypes
import functools
import importlib
import mmap
import os
import sys
from collections.abc import Iterator
from types import ModuleType

import torch

from utils.device_names import check_device_name

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What torch computes in. int8 is for exported networks alone."""


def find_device(name: str, process: int | None = None) -> torch.device:
    """The device of that name; 'auto' is a GPU where there is one. Raises ValueError where it is not there.

    Where several processes share a machine's GPUs, each has the one of its own number. `accelerate launch --cpu` makes
    'auto' the CPU. 'mps' is Apple's GPU, 'cuda:1' the second of Nvidia's or AMD's.
    """
    check_device(name)
    kind, _, number = name.partition(":")
    if kind == "mps" or number:
        if process:
            raise ValueError(f"device {name}: {process + 1} or more processes would share it; use auto, cpu or cuda")
        return torch.device(name)
    launched_for_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")
    if name == "cpu" or (name == "auto" and launched_for_cpu) or not torch.cuda.is_available():
        return torch.device("cpu")
    if process is None:
        return torch.device("cuda")
    if process >= torch.cuda.device_count():
        raise ValueError(
            f"{process + 1} or more processes share {torch.cuda.device_count()} GPU(s): launch one process a GPU, "
            "or use the device cpu"
        )
    return torch.device("cuda", process)


def check_device(name: str) -> None:
    """Raise a ValueError of one line where a device is not there; 'auto' and 'cpu' always are."""
    kind, _, number = check_device_name(name).partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name}: torch {torch.__version__} finds no GPU here; use cpu or auto")
    if number and int(number) >= (count := torch.cuda.device_count()):
        raise ValueError(f"device {name}: torch finds {count} GPU(s) here, cuda:0 to cuda:{count - 1}; choose one")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device mps: torch {torch.__version__} finds no Apple GPU here; use cpu or auto")


def find_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision of that name. Raises ValueError where torch does not have it on the device."""
    if name == "int8":
        raise ValueError(
            "precision int8 is for exported networks: python -m inference.export --int8 makes one, "
            "which --weights takes in place of the .safetensors"
        )
    if name not in PRECISIONS:
        raise ValueError(f"precision {name!r}: choose {', '.join(PRECISIONS)}, or int8 with an exported network")
    if name == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 needs a GPU (the device is cpu): use bf16 or fp32")
    on_cpu = device.type == "cpu"
    if name == "bf16" and not has_bf16(on_cpu):
        where, others = ("this CPU", "fp32") if on_cpu else (gpu_name(), "fp16 or fp32")
        raise ValueError(f"precision bf16: {where} does not have it; use {others}")
    return PRECISIONS[name]


def has_bf16(on_cpu: bool) -> bool:
    """Whether the CPU, or the GPU, multiplies bfloat16 itself.

    torch takes it on others too, and is slower with it than in fp32: on a CPU, a training step takes ten times as long.
    """
    if on_cpu:
        return any(there for name, there in torch.cpu.get_capabilities().items() if name.endswith("bf16"))
    if not torch.cuda.is_available():
        return torch.backends.mps.is_available() and torch.backends.mps.is_macos_or_newer(14, 0)
    return torch.cuda.is_bf16_supported(including_emulation=False)


MOST_THREADS = 4096
"""More than any machine has cores."""


def has_vnni() -> bool:
    """Return whether the CPU has instructions for products of int8, without which int8 is no faster."""
    return any(there for name, there in torch.cpu.get_capabilities().items() if name.endswith("vnni"))


def gpu_name() -> str:
    """The name of this process's GPU."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "this GPU"


def use_threads(count: int | None) -> None:
    """Let this process's networks compute on so many threads; None leaves it at OMP_NUM_THREADS or the cores.

    torch's count is everybody's: the other runtimes are told what torch has.

    Raises:
        ValueError: less than one, or more than `MOST_THREADS`.
    """
    if count is not None:
        if count < 1:
            raise ValueError(f"{count} threads: give at least 1")
        if count > MOST_THREADS:
            raise ValueError(f"{count} threads: give at most {MOST_THREADS}; OpenMP ends the process otherwise")
        torch.set_num_threads(count)


def thread_count() -> int:
    """Threads that a network computes on."""
    return torch.get_num_threads()


def compute_alone() -> None:
    """Let torch compute on one thread where the calling thread calls it; other threads keep their number."""
    torch.set_num_threads(1)


@functools.cache
def compute_alone_after_fork() -> None:
    """Let processes that are forked from this one compute on one thread.

    torch's other threads exist in this process alone: a forked one would wait for them forever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


def optional(package: str, requirements: str) -> ModuleType:
    """A package that not everybody needs. Raises ValueError that says how to install it where it is not there."""
    try:
        with _without_telemetry():
            return importlib.import_module(package)
    except ImportError as error:
        raise ValueError(f"{package} cannot be imported ({error}): pip install -r {requirements}") from error


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Hide OpenVINO's telemetry: it sends what is done here to a server unasked, and needs a home folder."""
    name = "openvino_telemetry"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # importing it fails, which OpenVINO and NNCF expect
    try:
        yield
    finally:
        del sys.modules[name]


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""glibc's numbers for mallopt."""
MOST = 2**31 - 1
LARGE_PAGES = 14
"""Linux's number for madvise."""
BLOCK = 1 << 30
BLOCKS = 8
"""Address space that is reserved for arrays in large pages; it becomes memory where it is written to."""


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, in pages of 2 MiB; with another C library, nothing changes.

    Otherwise a batch's larger features are given back to the system after each layer, and every page of the next one's
    has to be cleared: a fifth of torch's time for a light network in batches of 8, a quarter of a step of its training.
    In a virtual machine of a busy host, small pages cost as much as the arithmetic (`docs/benchmarks.md`).
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt"):
        return
    libc.mallopt(TRIM_THRESHOLD, -1)  # never
    libc.mallopt(MMAP_THRESHOLD, MOST)
    _ask_for_large_pages(libc)
    global _large_pages
    _large_pages = True


_large_pages = False


def _ask_for_large_pages(libc: ctypes.CDLL) -> None:
    """Reserve blocks of address space with the advice; glibc keeps them when they are freed."""
    libc.malloc.restype = ctypes.c_void_p
    physical = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE
    blocks = [libc.malloc(ctypes.c_size_t(BLOCK)) for _ in range(min(BLOCKS, physical // 2 // BLOCK))]
    for block in filter(None, blocks):
        page = block // mmap.PAGESIZE * mmap.PAGESIZE
        libc.madvise(ctypes.c_void_p(page), ctypes.c_size_t(BLOCK), LARGE_PAGES)
    for block in reversed(blocks):
        libc.free(ctypes.c_void_p(block))


ARENA_MAX = -8
RETURNED = 1 << 20
"""Bytes from which an allocation is returned as soon as it is freed."""


def return_freed_memory() -> None:
    """Let glibc return what is freed, from now on; with another C library, nothing changes.

    Otherwise every thread keeps memory of its own for arrays that are long gone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, RETURNED)
        mallopt(ARENA_MAX, 2)
    global _large_pages
    _large_pages = False


def trim_memory() -> None:
    """Return what glibc keeps of freed memory to the system once; with another C library, do nothing.

    Large pages stay asked for where `keep_freed_memory` did.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
        if _large_pages:  # their addresses went back too
            _ask_for_large_pages(libc)
