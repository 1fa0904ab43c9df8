#!/usr/bin/env bash
# Prune the best of three seeds to fp16: recipes/ship_best.sh RUN OUTPUT, with the runs RUN_0, RUN_1 and RUN_2.
#
# The best is the one whose last epoch has the highest validation Sm, the last column of log.csv.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
for seed in 0 1 2; do
  if [ ! -e "$1_$seed/finished.json" ]; then
    echo "$1_$seed is not finished: no network is chosen before all three are; the recipe continues it" >&2
    exit 1
  fi
done
best=$(for seed in 0 1 2; do echo "$(tail -n 1 "$1_$seed/log.csv" | sed 's/.*,//') $1_$seed"; done | sort -g | tail -n 1)
echo "the highest validation Sm of the last epoch: $best"
"$PYTHON" -m tools.prune "${best#* }/last.safetensors" --output "$2" --half
