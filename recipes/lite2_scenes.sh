#!/usr/bin/env bash
# Train runs/lite2_scenes.safetensors, the shipped network for whole scenes. Run from the project's root:
#
#   recipes/lite2_scenes.sh            (PYTHON=path/to/python for another environment; about 80 minutes on two cores)
#
# Needs data/EORSSD. Stopped, the same command continues.
#
#  1. Cut windows of 160 to 1000 pixels out of mosaics of the training images, without those that validate.
#  2. Train the shipped network lite2 on them.
#  3. Prune to fp16: the shipped file.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}

# 0003, 0009, 0011 and 0055 show the scenes of four test images of ORSSD.
[ -d data/eorssd_windows ] || "$PYTHON" -m tools.cut_windows --dataset EORSSD --root data/EORSSD \
  --exclude 0003 0009 0011 0055 --num-windows 6000 --output data/eorssd_windows
"$PYTHON" train.py --config configs/lite2_scenes.yaml --seed 1 --resume
"$PYTHON" -m tools.prune runs/lite2_scenes/last.safetensors --output runs/lite2_scenes.safetensors --half
