"""Optimisers, their groups of parameters, and the learning rate of each step."""

import math

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from training.settings import OptimiserSettings


def build_optimiser(network: nn.Module, encoder: nn.Module, settings: OptimiserSettings) -> Optimizer:
    """SGD with momentum or AdamW, fused, over up to four groups: encoder and the rest, decayed and not."""
    groups = parameter_groups(network, encoder, settings)
    if settings.name == "sgd":
        return SGD(groups, lr=settings.lr, momentum=settings.momentum, fused=True)
    return AdamW(groups, lr=settings.lr, fused=True)


def parameter_groups(network: nn.Module, encoder: nn.Module, settings: OptimiserSettings) -> list[dict]:
    """The network's parameters by learning rate and weight decay, each once."""
    of_encoder = {id(parameter) for parameter in encoder.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        decayed = not name.endswith("bias") and (parameter.ndim > 1 or settings.decay_norms)
        groups.setdefault((id(parameter) in of_encoder, decayed), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.lr * (settings.encoder_lr if in_encoder else 1.0),
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for (in_encoder, decayed), parameters in groups.items()
    ]


def build_schedule(optimiser: Optimizer, settings: OptimiserSettings, epochs: int, steps_per_epoch: int) -> LambdaLR:
    """The factor of every group's rate, step by step, over the whole run."""
    steps, warmup = epochs * steps_per_epoch, round(settings.warmup_epochs * steps_per_epoch)
    return LambdaLR(optimiser, lambda step: rate_factor(step, steps, warmup, settings.schedule, settings.power))


def rate_factor(step: int, steps: int, warmup: int, schedule: str, power: float) -> float:
    """The factor of the learning rate at `step` of `steps`, counted from 0.

    The first `warmup` steps rise linearly; after them the schedule runs over what remains: poly (1 − t)^power as the
    release has it, or cosine (1 + cos πt)/2, t from 0 to 1.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    passed = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return (1 - passed) ** power if schedule == "poly" else (1 + math.cos(math.pi * passed)) / 2
