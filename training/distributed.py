"""One device or many: accelerate's engine, and what makes N processes with a part of each batch train as one would."""

import torch
import torch.distributed
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from utils.devices import has_bf16


def build_accelerator(
    device: str, precision: str, compiled: bool = False, equal_norms: bool = True, threads: int = 0
) -> Accelerator:
    """The device, precision and processes that were asked for.

    Args:
        device: 'auto' (a GPU where there is one), 'cpu' or 'cuda'.
        precision: 'fp32', 'bf16', 'fp16', or 'auto': bf16 where the device computes in it, fp32 elsewhere.
        compiled: compile the network with torch.compile's inductor.
        equal_norms: batch norms will be those of `train_as_one`, whose buffers are alike in all processes.
        threads: CPU threads of torch; 0 leaves it to torch.

    Raises:
        ValueError: no such device here, or it does not have the precision.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise ValueError("device cuda: torch finds no GPU here; set device to auto or cpu")
    on_cpu = device == "cpu" or not has_gpu
    precision = find_precision(precision, on_cpu)
    if threads:
        torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True  # every batch has the same shape
    # A static graph: parameters that no loss reaches (the SR features without guidance) are no error then.
    distributed = DistributedDataParallelKwargs(
        static_graph=True, gradient_as_bucket_view=True, broadcast_buffers=not equal_norms
    )
    return Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        cpu=on_cpu,
        dynamo_backend="inductor" if compiled else None,
        kwargs_handlers=[distributed],
    )


def find_precision(wanted: str, on_cpu: bool) -> str:
    """'fp32', 'bf16' or 'fp16': what was asked for, or what 'auto' means here.

    Raises:
        ValueError: the device does not compute in it.
    """
    if wanted == "auto":
        return "bf16" if has_bf16(on_cpu) else "fp32"
    if wanted == "fp16" and on_cpu:
        raise ValueError("precision fp16: only on a GPU; set precision to auto or fp32")
    if wanted == "bf16" and not has_bf16(on_cpu):
        device = "this CPU" if on_cpu else torch.cuda.get_device_name()
        raise ValueError(f"precision bf16: {device} does not have it; set precision to auto or fp32")
    return wanted


def precision_of(accelerator: Accelerator) -> str:
    """What it computes in: 'fp32', 'bf16' or 'fp16'."""
    return "fp32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision


def train_as_one(network: nn.Module, processes: int, process: int, equal_norms: bool) -> nn.Module:
    """Make the network compute in each of several processes what one process would with the whole batch.

    Dropout draws for the whole batch, from a random state that all processes share, and takes this process's part.
    With `equal_norms` batch norm's statistics are over the whole batch; without, over each process's own images, which
    spares traffic and is no longer what one process computes.

    Returns:
        The network, its batch norms and dropouts replaced; parameters and names stay. As it was for one process.
    """
    if processes == 1:
        return network
    on_gpu = next(network.parameters()).is_cuda

    def replaced(module: nn.Module) -> nn.Module:
        if isinstance(module, nn.Dropout):
            return SharedDropout(module.p, processes, process)
        if isinstance(module, nn.BatchNorm2d) and equal_norms and not on_gpu:
            return SharedBatchNorm(module)
        for name, child in module.named_children():
            setattr(module, name, replaced(child))
        return module

    network = replaced(network)
    if equal_norms and on_gpu:
        from timm.layers import convert_sync_batchnorm  # torch's own would lose the activations of timm's norms

        network = convert_sync_batchnorm(network)
    return network


class SharedDropout(nn.Module):
    """Dropout of one process's part of a batch, as it falls when the whole batch is in one process.

    Args:
        p: share that is zeroed.
        processes, process: how many parts there are, and which is here.
    """

    def __init__(self, p: float, processes: int, process: int):
        super().__init__()
        self.p, self.processes, self.process = p, processes, process

    def forward(self, x: Tensor) -> Tensor:
        """B×… to the same shape."""
        if not self.training:
            return x
        # The same layout as the whole batch has: random numbers are drawn in the order of memory.
        whole = torch.empty((len(x) * self.processes, *x.shape[1:]), dtype=x.dtype, device=x.device)
        layout = torch.channels_last if x.ndim == 4 and not x.is_contiguous() else torch.contiguous_format
        kept = nn.functional.dropout(whole.fill_(1).contiguous(memory_format=layout), self.p)
        return x * kept[self.process * len(x) : (self.process + 1) * len(x)]


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics are those of all processes' images, of which each has as many; for CPUs.

    (torch's SyncBatchNorm runs on GPUs only; there it is what is used.) timm's norms with an activation keep theirs.

    Args:
        norm: what it replaces, and whose parameters and buffers it takes.
    """

    def __init__(self, norm: nn.BatchNorm2d):
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self.drop, self.act = (getattr(norm, name, nn.Identity()) for name in ("drop", "act"))
        self.training = norm.training

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W to the same shape."""
        return self.act(self.drop(self._normalized(x) if self.training else super().forward(x)))

    def _normalized(self, x: Tensor) -> Tensor:
        values = x.to(self.running_mean.dtype)  # not autocast's
        mean = self._over_processes(values.mean((0, 2, 3)))
        centerd = values - mean.view(1, -1, 1, 1)
        variance = self._over_processes(centerd.square().mean((0, 2, 3)))
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach(), x.numel() // x.shape[1])
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        result = centerd * scale.view(1, -1, 1, 1)
        return (result + self.bias.view(1, -1, 1, 1) if self.affine else result).to(x.dtype)

    def _over_processes(self, local: Tensor) -> Tensor:
        return all_reduce(local) / torch.distributed.get_world_size()

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, local_count: int) -> None:
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        count = local_count * torch.distributed.get_world_size()
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1), momentum)
