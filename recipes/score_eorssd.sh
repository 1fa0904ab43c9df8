#!/usr/bin/env bash
# Score the test splits once, for all seeds of recipes/lite2_eorssd.sh and recipes/strong_eorssd.sh.
#
#   recipes/score_eorssd.sh            (PYTHON=path/to/python for another environment; SETS="ORSSD" for one set)
#
# Needs data/ORSSD and data/EORSSD with their test splits, and the finished runs of both recipes. Stopped, the same command
# continues.
#
# Rule: it runs when both recipes are final and committed. No recipe, epoch or seed is chosen after it. A recipe's file
# replaces the chained trainings' file in weights/ if its Sm on ORSSD (field, single pass) is at most 0.003 lower.
#
#  1. Write maps of both test splits with the last epoch of each seed, and with the chosen seeds and --tta mirror.
#  2. Score them under both protocols: runs/scores/SET.
#  3. Print mean ± standard deviation over the seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
SETS=${SETS:-ORSSD EORSSD}

for network in lite2 strong; do
  for seed in 0 1 2; do
    if [ ! -e "runs/${network}_$seed/finished.json" ]; then
      echo "runs/${network}_$seed is not finished: the test splits are scored once, when all runs are" >&2
      exit 1
    fi
  done
done

maps() {  # NAME WEIGHTS [options]
  "$PYTHON" getsmaps.py --weights "$2" --dataset "$set" --root "data/$set" --output "runs/maps/$set/$1" --resume "${@:3}"
  methods+=("$1=runs/maps/$set/$1")
}

scored=()
for set in $SETS; do
  methods=()
  # 1
  for network in lite2 strong; do
    for seed in 0 1 2; do maps "${network}_$seed" "runs/${network}_$seed/last.safetensors"; done
    maps "${network}_mirror" "runs/${network}_eorssd.safetensors" --tta mirror
  done
  # 2
  "$PYTHON" compute_results/compute_metrics.py --dataset "$set" --root "data/$set" --maps "${methods[@]}" \
    --protocol authors field --output "runs/scores/$set"
  scored+=("$set=runs/scores/$set")
done

# 3
"$PYTHON" -m tools.seed_table --runs lite2=runs/lite2 strong=runs/strong --scores "${scored[@]}"
