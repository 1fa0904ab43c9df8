"""One or several processes: the device, the precision, batch norm and random numbers of each."""

import os
import random
import warnings
from typing import Any, TypeVar

import utils.torchvision_operators  # noqa: F401 (before timm)

# isort: split
import numpy as np
import torch
import torch.distributed
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import gather_object
from timm.layers import convert_sync_batchnorm
from torch import nn

from utils.devices import check_device, gpu_name, has_bf16, use_threads
from utils.environment import check_environment, launched_processes, leave_launchers, saying_that_it_waits

Network = TypeVar("Network", bound=nn.Module)


def build_accelerator(
    device: str, precision: str, compiled: bool = False, sync_norms: bool = True, threads: int = 0
) -> Accelerator:
    """Return accelerate's engine for a device, a precision and the processes that were launched.

    Args:
        device: 'auto' (a GPU if there is one, and `accelerate launch --cpu` was not asked for), 'cpu', 'cuda', 'cuda:N'
            or 'mps'.
        precision: 'fp32', 'bf16', 'fp16', or 'auto': bf16 if the device computes in it, fp32 otherwise.
        compiled: compile the network with torch.compile's inductor.
        sync_norms: `sync_batch_norm` will be applied, so that on GPUs the buffers agree without a broadcast.
        threads: CPU threads of torch; 0 leaves it to torch.

    Raises:
        ValueError: the device does not exist here, it does not compute in the precision, or an environment variable
            would change the training.
    """
    check_environment(compiled)
    processes = launched_processes()
    if processes == 1:
        leave_launchers()
    check_device(device)
    on_gpu, number = device not in ("auto", "cpu"), device.partition(":")[2]
    for_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")
    if on_gpu and for_cpu:
        raise ValueError(
            f"device {device}: ACCELERATE_USE_CPU is set in the environment; unset it, or set device to cpu"
        )
    if processes > 1 and (number or device == "mps"):
        raise ValueError(f"device {device}: {processes} processes would share it; set device to auto, cpu or cuda")
    if number:
        torch.cuda.set_device(int(number))
    on_cpu = not on_gpu and (device == "cpu" or for_cpu or not torch.cuda.is_available())
    precision = find_precision(precision, on_cpu)
    if threads:
        use_threads(threads)
    torch.backends.cudnn.benchmark = True  # every batch has the same shape
    # A static graph accepts parameters that no loss reaches (the SR features without guidance).
    distributed = DistributedDataParallelKwargs(
        static_graph=True, gradient_as_bucket_view=True, broadcast_buffers=on_cpu or not sync_norms
    )
    with saying_that_it_waits(processes):
        return Accelerator(
            mixed_precision="no" if precision == "fp32" else precision,
            cpu=on_cpu,
            dynamo_backend="inductor" if compiled else "no",
            kwargs_handlers=[distributed],
        )


def find_precision(wanted: str, on_cpu: bool) -> str:
    """Return 'fp32', 'bf16' or 'fp16': `wanted`, or what 'auto' means here.

    Raises:
        ValueError: the device does not compute in it.
    """
    if wanted == "auto":
        return "bf16" if has_bf16(on_cpu) else "fp32"
    if wanted == "fp16" and on_cpu:
        raise ValueError("precision fp16: only on a GPU; set precision to auto or fp32")
    if wanted == "bf16" and not has_bf16(on_cpu):
        device = "this CPU" if on_cpu else gpu_name()
        raise ValueError(f"precision bf16: {device} does not have it; set precision to auto or fp32")
    return wanted


def precision_of(accelerator: Accelerator) -> str:
    """Return what the engine computes in: 'fp32', 'bf16' or 'fp16'."""
    return "fp32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision


def sync_batch_norm(network: Network, accelerator: Accelerator) -> Network:
    """Make batch norm use the statistics of all processes' images, on GPUs.

    torch's SyncBatchNorm runs on GPUs only. On CPUs each process uses the statistics of its own images, so that
    several processes do not compute exactly what one process would; a warning says so.

    Returns:
        The network with the same parameters and names; unchanged on CPUs and for one process.
    """
    if accelerator.num_processes == 1:
        return network
    if accelerator.device.type == "cuda":
        return convert_sync_batchnorm(network)  # torch's own would lose the activations of timm's norms
    if accelerator.is_main_process and any(isinstance(each, nn.BatchNorm2d) for each in network.modules()):
        warnings.warn("batch norm on CPUs: each process uses the statistics of its own images", stacklevel=2)
    return network


def broadcast_buffers(network: nn.Module, accelerator: Accelerator) -> None:
    """Give all processes the main process's buffers (batch norm's running statistics), which it saves."""
    if accelerator.num_processes > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)


def gather_random_states(accelerator: Accelerator) -> list[dict[str, Any]]:
    """Return the random states of every process by rank; all processes call this together."""
    version, numbers, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    kind = accelerator.device.type
    own = {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(accelerator.device) if kind == "cuda" else None,
        "mps": torch.mps.get_rng_state() if kind == "mps" else None,
        "python": [version, list(numbers), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(cached)],
    }
    return [own] if accelerator.num_processes == 1 else gather_object([own])


def restore_random_state(states: list[dict[str, Any]], accelerator: Accelerator) -> None:
    """Restore this process's random state; with another number of processes than before a warning is given."""
    if len(states) != accelerator.num_processes and accelerator.is_main_process:
        warnings.warn(
            f"the run had {len(states)} processes so far and goes on with {accelerator.num_processes}: dropout and "
            "stochastic depth draw other masks",
            stacklevel=2,
        )
    if accelerator.process_index >= len(states):
        return
    state = states[accelerator.process_index]
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], accelerator.device)
    if state.get("mps") is not None and accelerator.device.type == "mps":
        torch.mps.set_rng_state(state["mps"])
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
