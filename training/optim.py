"""Optimizers, their groups of parameters, and the learning rate of each step."""

import math

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from training.config import OptimizerConfig


def build_optimizer(network: nn.Module, encoder: nn.Module, settings: OptimizerConfig) -> Optimizer:
    """SGD with momentum or AdamW, fused, over up to six groups: tokens, encoder and the rest, decayed and not."""
    groups = parameter_groups(network, encoder, settings)
    if settings.name == "sgd":
        return SGD(groups, lr=settings.lr, momentum=settings.momentum, fused=True)
    return AdamW(groups, lr=settings.lr, fused=True)


def parameter_groups(network: nn.Module, encoder: nn.Module, settings: OptimizerConfig) -> list[dict]:
    """The network's parameters that train by learning rate and weight decay, each once."""
    factors = {"encoder": settings.encoder_lr_factor, "tokens": settings.token_lr_factor, "rest": 1.0}
    parts = {id(parameter): "encoder" for parameter in encoder.parameters()}
    if (tokens := getattr(encoder, "tokens", None)) is not None:
        parts |= {id(parameter): "rest" for parameter in tokens.parameters()}  # what joins them starts from nothing
        parts |= {id(parameter): "tokens" for parameter in tokens.body.parameters()}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decayed = not name.endswith("bias") and (parameter.ndim > 1 or settings.decay_norms)
            groups.setdefault((parts.get(id(parameter), "rest"), decayed), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.lr * factors[part],
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for (part, decayed), parameters in groups.items()
    ]


def build_schedule(optimizer: Optimizer, settings: OptimizerConfig, epochs: int, steps_per_epoch: int) -> LambdaLR:
    """The factor of every group's rate, step by step, over the whole run."""
    steps, warmup = epochs * steps_per_epoch, round(settings.warmup_epochs * steps_per_epoch)
    return LambdaLR(optimizer, lambda step: rate_factor(step, steps, warmup, settings.schedule, settings.power))


def rate_factor(step: int, steps: int, warmup: int, schedule: str, power: float) -> float:
    """The factor of the learning rate at `step` of `steps`, counted from 0.

    The first `warmup` steps rise linearly; after them the schedule runs over what remains: poly (1 − t)^power as the
    release has it, or cosine (1 + cos πt)/2, t from 0 to 1.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    passed = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return (1 - passed) ** power if schedule == "poly" else (1 + math.cos(math.pi * passed)) / 2
