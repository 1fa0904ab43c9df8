"""The section `optimizer` of the configuration: the optimizer, its schedule and the EMA."""

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from pydantic.dataclasses import dataclass

from utils.config import STRICT, BelowOne


@dataclass(config=STRICT)
class OptimizerConfig:
    """The optimizer, its learning-rate schedule and the moving average of the weights.

    Args:
        name: sgd (with momentum) or adamw.
        lr: learning rate of everything but the encoder.
        encoder_lr_factor: the encoder's learning rate, as a factor of lr.
        token_lr_factor: the same for the transformer in detector.tokens; the layers that join it have lr.
        frozen_blocks: how many of that transformer's first blocks are frozen, with its patch embedding; 0: none.
        momentum: of sgd.
        weight_decay: of every parameter but the biases.
        decay_norms: decay one-dimensional weights too (batch norm's gain, PReLU's slope), as the release does.
        schedule: poly, lr·(1 − step/steps)^power, or cosine to 0; both per step.
        power: of the poly schedule.
        warmup_epochs: epochs over which the rate rises linearly from 0 first.
        clip: largest norm of the gradient, all parameters together; 0 does not clip.
        ema: decay per step of the exponential moving average (EMA) of the weights, in [0, 1); 0 keeps no average.
            After n steps the decay is at most (1 + n)/(10 + n).
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: PositiveFloat = 2e-3
    encoder_lr_factor: PositiveFloat = 1.0
    token_lr_factor: PositiveFloat = 0.1
    frozen_blocks: NonNegativeInt = 0
    momentum: NonNegativeFloat = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    decay_norms: bool = True
    schedule: Literal["poly", "cosine"] = "poly"
    power: PositiveFloat = 0.9
    warmup_epochs: NonNegativeFloat = 0.0
    clip: NonNegativeFloat = 0.0
    ema: BelowOne = 0.0
