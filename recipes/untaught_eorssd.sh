#!/usr/bin/env bash
# What does the teacher gain? Train stage 3 of recipes/lite2_eorssd.sh without its maps, and compare on validation.
#
#   recipes/untaught_eorssd.sh         (PYTHON=path/to/python for another environment; SEEDS="1" for one seed)
#
# Needs what recipes/lite2_eorssd.sh needs but the teacher, and the runs of stage 2. Stopped, the same command continues.
# The comparison needs all runs of both; no test split is scored.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SEEDS=${SEEDS:-0 1 2}

for seed in $SEEDS; do
  "$PYTHON" train.py --config configs/lite2.yaml --resume --super_resolution false --guidance false \
    --batch_size 16 --seed "$seed" \
    --weights "runs/lite2_crops_$seed/last.safetensors" --epochs 14 --optimizer.lr 5e-4 \
    --optimizer.warmup_epochs 0.3 --data.augmentation.scale_probability 0 \
    --output "runs/untaught_$seed"
done

"$PYTHON" -m tools.seed_table --runs untaught=runs/untaught lite2=runs/lite2
