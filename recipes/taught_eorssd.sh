#!/usr/bin/env bash
# What does a teacher gain? Train stage 3 of recipes/lite2_eorssd.sh with its maps too, and compare on validation.
#
#   recipes/taught_eorssd.sh           (PYTHON=path/to/python for another environment; SEEDS="1" for one seed)
#
# Needs what recipes/lite2_eorssd.sh needs, its runs, and the teacher runs/strong_eorssd.safetensors of
# recipes/strong_eorssd.sh. Stopped, the same command continues. The comparison needs all runs of both; no test split is
# scored.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SEEDS=${SEEDS:-0 1 2}

# The teacher was not trained on the validation part.
"$PYTHON" getsmaps.py --weights runs/strong_eorssd.safetensors --dataset EORSSD --root data/EORSSD --split train \
  --tta eight --raw --resume --output runs/strong_maps
for seed in $SEEDS; do
  "$PYTHON" train.py --config configs/lite2.yaml --resume --super_resolution false --guidance false \
    --batch_size 16 --seed "$seed" \
    --weights "runs/lite2_crops_$seed/last.safetensors" --epochs 14 --optimizer.lr 5e-4 \
    --optimizer.warmup_epochs 0.3 --data.augmentation.scale_probability 0 \
    --data.teacher_maps runs/strong_maps --output "runs/taught_$seed"
done

"$PYTHON" -m tools.seed_table --runs lite2=runs/lite2 taught=runs/taught
