"""How fast the machine multiplies at best, and how many multiply–adds a network needs.

The best of several ways to multiply two square matrices stands for the machine. A 1×1 convolution is such a product
too, which torch gives to oneDNN (on a GPU to cuDNN); a plain one in fp32 goes to MKL, half as fast on AMD's CPUs.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

SIDES = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the matrices."""
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Product = tuple[str, str]
"""A precision, and what multiplies."""


def products(device: torch.device) -> dict[Product, Callable[[], object]]:
    """Matrix products of `SIDES`³ multiply–adds each, by precision and by what multiplies: calls that end with them."""
    side, made = SIDES[device.type], {}
    for precision, kind in KINDS.items():
        if precision == "fp16" and device.type == "cpu":
            continue
        a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        x = a.view(1, side, side // 32, 32).to(memory_format=torch.channels_last)
        made[precision, "matrix product"] = partial(_wait_for, device, torch.mm, a, b)
        made[precision, "1×1 convolution"] = partial(_wait_for, device, conv2d, x, b.view(side, side, 1, 1))
    a, b = (torch.randint(-128, 128, (side, side), dtype=torch.int8, device=device) for _ in range(2))
    made["int8", "matrix product"] = partial(_wait_for, device, torch._int_mm, a, b)
    return made


def _wait_for(device: torch.device, multiply: Callable[..., Tensor], *factors: Tensor) -> None:
    with torch.no_grad():
        multiply(*factors)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def multiply_adds(network: nn.Module, *inputs: Tensor) -> int:
    """Multiply–adds of a forward pass by torch's counter; network and inputs may be on the `meta` device."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs)
    return counter.get_total_flops() // 2
