#!/usr/bin/env bash
# Train runs/strong_eorssd.safetensors, a network strong, in three stages. Run from the project's root:
#
#   recipes/strong_eorssd.sh           (PYTHON=path/to/python for another environment; SEEDS="1" for one seed)
#
# Needs data/EORSSD, data/efficientnet_lite2.safetensors and data/dinov2_small.safetensors (weights/README.md). Stopped,
# the same command continues.
#
#  1. Train the detector without the transformer at 128×128: recipes/detector_eorssd.sh.
#  2. Attach DINOv2's tokens at 16×16, and train at 224×224 with the transformer's last six blocks.
#  3. Train on whole images, without crops, with the tokens at 24×24 and the whole transformer frozen.
#
# Rule: three seeds are trained; the one whose last epoch has the highest validation Sm is chosen, pruned to fp16.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SEEDS=${SEEDS:-0 1 2}

# 1
recipes/detector_eorssd.sh

for seed in $SEEDS; do
  # 2
  "$PYTHON" train.py --config configs/strong.yaml --resume --super_resolution false --guidance false \
    --batch_size 16 --seed "$seed" \
    --weights "runs/lite2_small_$seed/last.safetensors" --epochs 12 --optimizer.lr 7e-4 \
    --detector.tokens.grid 16,16 --output "runs/strong_crops_$seed"
  # 3
  "$PYTHON" train.py --config configs/strong.yaml --resume --super_resolution false --guidance false \
    --batch_size 16 --seed "$seed" \
    --weights "runs/strong_crops_$seed/last.safetensors" --epochs 6 --optimizer.lr 3e-4 \
    --optimizer.frozen_blocks 12 --data.augmentation.scale_probability 0 --output "runs/strong_$seed"
done

recipes/ship_best.sh runs/strong runs/strong_eorssd.safetensors
