"""Optimizers, their parameter groups and the learning-rate schedule."""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from training.optimizer_config import OptimizerConfig


def build_optimizer(network: nn.Module, encoder: nn.Module, settings: OptimizerConfig) -> Optimizer:
    """Return fused SGD with momentum or AdamW, over up to six groups: tokens, encoder and rest, decayed and not."""
    groups = parameter_groups(network, encoder, settings)
    if settings.name == "sgd":
        return SGD(groups, lr=settings.lr, momentum=settings.momentum, fused=True)
    return AdamW(groups, lr=settings.lr, fused=True)


def parameter_groups(network: nn.Module, encoder: nn.Module, settings: OptimizerConfig) -> list[dict]:
    """Return the trainable parameters, grouped by learning rate and weight decay."""
    factors = {"encoder": settings.encoder_lr_factor, "tokens": settings.token_lr_factor, "rest": 1.0}
    parts = {id(parameter): "encoder" for parameter in encoder.parameters()}
    if (tokens := getattr(encoder, "tokens", None)) is not None:
        parts |= {id(parameter): "rest" for parameter in tokens.parameters()}  # the joins are new
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
    """Return the schedule of the learning rates, step by step over the whole run."""
    steps, warmup = epochs * steps_per_epoch, round(settings.warmup_epochs * steps_per_epoch)
    return LambdaLR(optimizer, lambda step: rate_factor(step, steps, warmup, settings.schedule, settings.power))


def rate_factor(step: int, steps: int, warmup: int, schedule: str, power: float) -> float:
    """Return the factor of the learning rate at `step` of `steps`, counted from 0.

    It rises linearly over the first `warmup` steps. Then, with t from 0 to 1 over the rest, it is (1 − t)^power (poly,
    as in the release) or (1 + cos πt)/2 (cosine).
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    passed = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return (1 - passed) ** power if schedule == "poly" else (1 + math.cos(math.pi * passed)) / 2


def continue_schedule(
    optimizer: Optimizer, schedule: LambdaLR, groups: Sequence[dict[str, Any]], base_rates: Sequence[Any], step: int
) -> None:
    """Make a resumed optimizer follow changed settings, in place of those in its checkpoint.

    Args:
        optimizer, schedule: as restored from the checkpoint.
        groups: the optimizer's groups by the present settings, before the checkpoint was restored.
        base_rates: the schedule's base learning rates by the present settings.
        step: steps done, counted in steps of the present batch size.
    """
    for group, settings in zip(optimizer.param_groups, groups, strict=True):
        group |= {name: value for name, value in settings.items() if name != "params"}
    schedule.base_lrs, schedule.last_epoch = list(base_rates), step
    for group, rate, factor in zip(optimizer.param_groups, base_rates, schedule.lr_lambdas, strict=True):
        group["lr"] = rate * factor(step)
