#!/usr/bin/env bash
# Train runs/strong_eorssd.safetensors, a network strong, in three stages. Run from the project's root:
#
#   recipes/strong_eorssd.sh           (PYTHON=path/to/python for another environment; SEEDS="1" for one seed)
#
# Needs data/EORSSD, data/efficientnet_lite2.safetensors and data/dinov2_small.safetensors (weights/README.md). Stopped,
# the same command continues.
#
#  1, 2. Train the detector without the transformer at 128×128, then at 224×224: recipes/detector_eorssd.sh.
#  3. Attach DINOv2's tokens at 16×16, and train with the transformer's last six blocks.
#
# Rule: three seeds are trained; the one whose last epoch has the highest validation Sm is chosen, pruned to fp16.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SEEDS=${SEEDS:-0 1 2}

# 1, 2
recipes/detector_eorssd.sh

# 3
for seed in $SEEDS; do
  "$PYTHON" train.py --config configs/strong.yaml --resume --super_resolution false --guidance false \
    --batch_size 16 --seed "$seed" \
    --weights "runs/lite2_crops_$seed/last.safetensors" --epochs 18 --optimizer.lr 7e-4 \
    --detector.tokens.grid 16,16 --output "runs/strong_$seed"
done

recipes/ship_best.sh runs/strong runs/strong_eorssd.safetensors
