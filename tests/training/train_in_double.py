"""train.py in float64 with frozen batch norms: several processes then compute what one does, to rounding."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import train
from datasets.loader import Views
from training import build

build_sral, make_views, single = build.build_sral, Views.__call__, Tensor.float
build.build_sral = lambda *arguments: build_sral(*arguments).double()
Views.__call__ = lambda *arguments: {name: view.double() for name, view in make_views(*arguments).items()}
Tensor.float = lambda tensor: tensor if tensor.dtype == torch.float64 else single(tensor)
_BatchNorm.train = lambda norm, mode=True: nn.Module.train(norm, False)
train.main()
