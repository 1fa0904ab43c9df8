#!/usr/bin/env bash
# Does SRAL help at the paper's length? Train the arms of configs/lists/sral_ablation.yaml, score them, compare them.
#
#   recipes/sral_ablation.sh [LIST.yaml]           (PYTHON=path/to/python for another environment; JOBS=2 runs at once)
#
# Needs data/ORSSD and the encoder weights that the list names (weights/README.md). Stopped, the same command continues.
#
# Rule: the test split is scored once, after all runs of all seeds are finished, with the epoch that validation chose.
# Nothing is trained or chosen after that. Step 1 fails if a run is missing, and then step 3 is not reached.
#
#  1. Train all arms with all seeds; after each seed all arms can be compared.
#  2. Measure what the SR branch learned: PSNR and SSIM, and the gradients in the encoder, by epoch, for each run.
#  3. Score the test split under both protocols.
#  4. Write the tables and the figure: OUTPUT/ablation.md, ablation.csv, ablation.png.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
LIST=${1:-configs/lists/sral_ablation.yaml}
JOBS=${JOBS:-2}
OUTPUT=$("$PYTHON" -m tools.ablation --list "$LIST" --print-output)

# 1
"$PYTHON" -m tools.sweep --list "$LIST" --jobs "$JOBS"

# 2
for run in "$OUTPUT"/*/seed_*; do
  case $run in "$OUTPUT"/tsdd/*) continue ;; esac  # it has no SR branch
  if [ ! -s "$run/gradients.txt" ]; then
    "$PYTHON" -m tools.inspect_sr "$run" --weights "$run"/weights/*.safetensors --output "$run/sr.png" > "$run/sr.tmp"
    mv -- "$run/sr.tmp" "$run/sr.txt"
    "$PYTHON" -m tools.gradient_analysis "$run" --weights "$run"/weights/*.safetensors > "$run/gradients.tmp"
    mv -- "$run/gradients.tmp" "$run/gradients.txt"
  fi
done

# 3
"$PYTHON" -m tools.sweep --list "$LIST" --jobs "$JOBS" --test ORSSD=data/ORSSD

# 4
"$PYTHON" -m tools.ablation --list "$LIST" --test ORSSD
