#!/usr/bin/env bash
# Train runs/lite2_crops_SEED: the stages that lite2_eorssd.sh and strong_eorssd.sh share. Both run this script.
#
#   recipes/detector_eorssd.sh         (PYTHON=path/to/python for another environment; SEEDS="1" for one seed)
#
# Needs data/EORSSD and data/efficientnet_lite2.safetensors (weights/README.md). Stopped, the same command continues.
#
#  1. Train the detector alone at 128×128.
#  2. Train it at 224×224.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SEEDS=${SEEDS:-0 1 2}

train() {  # the detector without its training branches
  "$PYTHON" train.py --config configs/lite2.yaml --resume --super_resolution false --guidance false --batch_size 16 "$@"
}

for seed in $SEEDS; do
  # 1
  train --seed "$seed" --detector.input_size 128 --epochs 40 --validate_every 4 --optimizer.lr 1.4e-3 \
    --output "runs/lite2_small_$seed"
  # 2
  train --seed "$seed" --weights "runs/lite2_small_$seed/last.safetensors" --epochs 20 \
    --optimizer.lr 1e-3 --optimizer.warmup_epochs 0.3 --output "runs/lite2_crops_$seed"
done
