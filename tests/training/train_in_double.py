"""train.py in float64: where a difference that single precision would blow up within a few steps stays at rounding."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor

import train

build_sral, make_views, single = train.build_sral, train.Views.__call__, Tensor.float
train.build_sral = lambda *arguments: build_sral(*arguments).double()
train.Views.__call__ = lambda *arguments: {name: view.double() for name, view in make_views(*arguments).items()}
Tensor.float = lambda tensor: tensor if tensor.dtype == torch.float64 else single(tensor)
train.main()
