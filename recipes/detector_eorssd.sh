#!/usr/bin/env bash
# Train runs/lite2_small_SEED: stage 1 of lite2_eorssd.sh and of strong_eorssd.sh. Both run this script.
#
#   recipes/detector_eorssd.sh         (PYTHON=path/to/python for another environment; SEEDS="1" for one seed)
#
# Needs data/EORSSD and data/efficientnet_lite2.safetensors (weights/README.md). Stopped, the same command continues.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SEEDS=${SEEDS:-0 1 2}

for seed in $SEEDS; do
  "$PYTHON" train.py --config configs/lite2.yaml --resume --super_resolution false --guidance false \
    --batch_size 16 --seed "$seed" \
    --detector.input_size 128 --epochs 40 --validate_every 4 --optimizer.lr 1.4e-3 \
    --output "runs/lite2_small_$seed"
done
