#!/usr/bin/env bash
# What does the teacher gain? Train stages 2 and 3 of recipes/lite2_eorssd.sh without its maps, and compare on validation.
#
#   recipes/untaught_eorssd.sh         (PYTHON=path/to/python for another environment; SEEDS="1" for one seed)
#
# Needs what recipes/lite2_eorssd.sh needs but the teacher, and its runs of stage 1. Stopped, the same command continues.
# The comparison needs all runs of both; no test split is scored.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SEEDS=${SEEDS:-0 1 2}

train() { "$PYTHON" train.py --config configs/lite2.yaml --resume "${ALONE[@]}" --batch_size 16 "$@"; }

ALONE=(--super_resolution false --guidance false --optimizer.warmup_epochs 0.3)

for seed in $SEEDS; do
  # 2
  train --seed "$seed" --weights "runs/lite2_small_$seed/last.safetensors" --epochs 24 \
    --optimizer.lr 1e-3 --output "runs/untaught_crops_$seed"
  # 3
  train --seed "$seed" --weights "runs/untaught_crops_$seed/last.safetensors" --epochs 10 \
    --optimizer.lr 4e-4 --data.augmentation.scale_probability 0 --output "runs/untaught_$seed"
done

"$PYTHON" -m tools.seed_table --runs untaught=runs/untaught lite2=runs/lite2
