#!/usr/bin/env bash
# Train runs/lite2_eorssd.safetensors, a network lite2, in three stages. Run from the project's root:
#
#   recipes/lite2_eorssd.sh            (PYTHON=path/to/python for another environment; SEEDS="1" for one seed)
#
# Needs data/EORSSD and data/efficientnet_lite2.safetensors (weights/README.md). Stopped, the same command continues.
#
#  1. Train the detector alone at 128×128: recipes/detector_eorssd.sh.
#  2. Train it at 224×224.
#  3. Train it on whole images, without crops: recipes/lite2_whole_images.sh.
#
# Rule: three seeds are trained; the one whose last epoch has the highest validation Sm is chosen, pruned to fp16.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SEEDS=${SEEDS:-0 1 2}

# 1
recipes/detector_eorssd.sh

# 2
for seed in $SEEDS; do
  "$PYTHON" train.py --config configs/lite2.yaml --resume --super_resolution false --guidance false \
    --batch_size 16 --seed "$seed" \
    --weights "runs/lite2_small_$seed/last.safetensors" --epochs 20 --optimizer.lr 1e-3 \
    --optimizer.warmup_epochs 0.3 --output "runs/lite2_crops_$seed"
done

# 3
recipes/lite2_whole_images.sh runs/lite2

recipes/ship_best.sh runs/lite2 runs/lite2_eorssd.safetensors
