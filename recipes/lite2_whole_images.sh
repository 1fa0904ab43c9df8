#!/usr/bin/env bash
# Train lite2 on whole images, without crops: recipes/lite2_whole_images.sh RUN [options of train.py].
#
# Stage 3 of recipes/lite2_eorssd.sh and of recipes/taught_eorssd.sh, from runs/lite2_crops_SEED to RUN_SEED. Stopped, the
# same command continues.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
for seed in ${SEEDS:-0 1 2}; do
  "$PYTHON" train.py --config configs/lite2.yaml --resume --super_resolution false --guidance false \
    --batch_size 16 --seed "$seed" \
    --weights "runs/lite2_crops_$seed/last.safetensors" --epochs 14 --optimizer.lr 5e-4 \
    --optimizer.warmup_epochs 0.3 --data.augmentation.scale_probability 0 "${@:2}" --output "$1_$seed"
done
