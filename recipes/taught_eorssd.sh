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

# The teacher was not trained on the validation part.
"$PYTHON" getsmaps.py --weights runs/strong_eorssd.safetensors --dataset EORSSD --root data/EORSSD --split train \
  --tta eight --raw --resume --output runs/strong_maps
recipes/lite2_whole_images.sh runs/taught --data.teacher_maps runs/strong_maps

"$PYTHON" -m tools.seed_table --runs lite2=runs/lite2 taught=runs/taught
