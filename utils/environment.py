"""Environment variables that would change a result: refused, or taken out of this process's environment."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ON = ("1", "true", "yes", "on", "y", "t")
_RESULTS = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "gradients would be divided by it",
    "ACCELERATE_TORCH_DEVICE": "it names another device; use the option device",
    "ACCELERATE_USE_DEEPSPEED": "weights and optimizer would be DeepSpeed's",
    "ACCELERATE_USE_FSDP": "each process would have a part of the weights",
    "ACCELERATE_USE_MEGATRON_LM": "weights and optimizer would be Megatron-LM's",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "each process would have a part of the weights",
    "ACCELERATE_USE_SAGEMAKER": "processes would be SageMaker's",
    "ONEDNN_DEFAULT_FPMATH_MODE": "fp32 would be computed in a lower precision; use the option precision",
    "DNNL_DEFAULT_FPMATH_MODE": "fp32 would be computed in a lower precision; use the option precision",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "fp32 would be computed in TF32; use the option precision",
    "NVIDIA_TF32_OVERRIDE": "fp32 would be computed in TF32; use the option precision",
}
_NEUTRAL = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1",),
    "ONEDNN_DEFAULT_FPMATH_MODE": ("strict",),
    "DNNL_DEFAULT_FPMATH_MODE": ("strict",),
}
_OFF = ("", "0", "false", "no", "off", "n", "f")
_UNCOMPILED = ("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_SUPPRESS_ERRORS")
_LAUNCHER = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_MPI = {
    "PMI_SIZE": "PMI_RANK",
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",
    "MV2_COMM_WORLD_SIZE": "MV2_COMM_WORLD_RANK",
}
WAITING = 5
"""Seconds after which a process says that it waits for the others."""


def check_environment(compiled: bool = False) -> None:
    """Refuse variables that change what a network or a training computes.

    Args:
        compiled: also those by which torch.compile silently compiles nothing.

    Raises:
        ValueError: there is such a variable.
    """
    for name, meaning in _RESULTS.items():
        value = os.environ.get(name, "").strip()
        if value.lower() not in (*_OFF, *_NEUTRAL.get(name, ())):
            raise ValueError(f"{name}={value} is set in the environment: {meaning}; unset it")
    for name in _UNCOMPILED if compiled else ():
        if os.environ.get(name, "").strip().lower() in _ON:
            raise ValueError(
                f"{name}={os.environ[name]} is set in the environment: nothing would be compiled; unset it"
            )


def count(name: str, default: int, least: int = 1) -> int:
    """Return the integer that a variable holds, `default` where it is not set or empty.

    Raises:
        ValueError: it holds something else, or less than `least`.
    """
    text = os.environ.get(name, "").strip()
    try:
        value = int(text) if text else default
    except ValueError:
        value = least - 1
    if value < least:
        raise ValueError(
            f"{name}={text} is set in the environment: expected an integer from {least}; set it, or unset it"
        )
    return value


def launched_processes() -> int:
    """Return how many processes a launcher (torchrun, accelerate launch) started; 1 without one.

    Raises:
        ValueError: its variables are missing or contradict each other; they may be left over from another launch.
    """
    processes = count("WORLD_SIZE", 1)
    if processes == 1:
        return 1
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise ValueError(
            f"WORLD_SIZE is {processes}, but {', '.join(missing)} not set: launch the processes with torchrun or "
            "accelerate launch, or unset WORLD_SIZE"
        )
    own, here = count("LOCAL_RANK", 0, 0), count("LOCAL_WORLD_SIZE", processes)
    for name, value, size, of in (
        ("RANK", count("RANK", 0, 0), processes, "WORLD_SIZE"),
        ("LOCAL_RANK", own, here, "LOCAL_WORLD_SIZE"),
        ("MASTER_PORT", count("MASTER_PORT", 0), 1 << 16, "the highest port"),
    ):
        if value >= size:
            raise ValueError(f"{name}={value} in the environment must be below {of}, {size}: launch with torchrun")
    for name in _MPI:
        if count(name, processes) not in (1, processes):
            raise ValueError(f"{name} is {os.environ[name]}, WORLD_SIZE {processes}: unset the one that is left over")
    return processes


def leave_launchers() -> None:
    """Take launchers' and MPI's variables out of the environment of a process that was started alone.

    accelerate would wait for the processes that they speak of.

    Raises:
        ValueError: MPI started several processes, which would each do the same.
    """
    for size, rank in _MPI.items():
        if (found := count(size, 1)) > 1:
            raise ValueError(
                f"{size} is {found}: processes that mpirun starts do not work together; use torchrun or accelerate "
                f"launch, or unset {size} and {rank}"
            )
    for name in (*_LAUNCHER, *_MPI, *_MPI.values()):
        os.environ.pop(name, None)


@contextmanager
def saying_that_it_waits(processes: int) -> Iterator[None]:
    """Say which processes are waited for, if the block takes longer than a few seconds."""
    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    line = f"waiting at {where} for all {processes} processes; if there is but this one, stop it and unset WORLD_SIZE"
    timer = threading.Timer(WAITING, lambda: print(line, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
