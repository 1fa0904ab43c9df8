#!/usr/bin/env bash
# Does SRAL help at the paper's length? Train the arms of configs/lists/sral_ablation.yaml, score them, compare them.
#
#   recipes/sral_ablation.sh [LIST.yaml]           (PYTHON=path/to/python for another environment; JOBS=2 runs at once)
#
# Needs data/ORSSD and the encoder weights that the list names (weights/README.md). Stopped, the same command continues.
# JOBS=0 trains nothing: what is finished is examined, scored and recorded in the list's folder of results. A machine
# that will not be kept does that last; with those results, another one trains the other runs.
#
# Rule: arms, seeds and epochs are fixed in the list before the first run. The test split is scored once a run, with the
# epoch that validation chose. Nothing is chosen, stopped or trained again by a test score.
#
#  1. Train all arms with all seeds; after each seed all arms can be compared.
#  2. Measure what the SR branch learned: PSNR and SSIM, and the gradients in the encoder, by epoch, for each run.
#  3. Score the test split under both protocols.
#  4. Record the results; write the tables and the figure: OUTPUT/ablation.md, ablation.csv, ablation.png.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
LIST=${1:-configs/lists/sral_ablation.yaml}
JOBS=${JOBS:-2}
OUTPUT=$("$PYTHON" -m tools.ablation --list "$LIST" --print-output)

# 1
if [ "$JOBS" != 0 ]; then
  "$PYTHON" -m tools.sweep --list "$LIST" --jobs "$JOBS"
fi

# 2
for run in "$OUTPUT"/*/seed_*; do
  case $run in "$OUTPUT"/tsdd/*) continue ;; esac  # it has no SR branch
  if [ -f "$run/finished.json" ] && [ ! -s "$run/gradients.csv" ]; then
    "$PYTHON" -m tools.inspect_sr "$run" --weights "$run"/weights/*.safetensors --output "$run/sr.png" --csv "$run/sr.csv"
    "$PYTHON" -m tools.gradient_analysis "$run" --weights "$run"/weights/*.safetensors --csv "$run/gradients.csv"
  fi
done

# 3
"$PYTHON" -m tools.sweep --list "$LIST" --score-only --jobs "$((JOBS > 0 ? JOBS : 1))" --test ORSSD=data/ORSSD

# 4
if [ "$JOBS" != 0 ]; then
  "$PYTHON" -m tools.ablation --list "$LIST" --test ORSSD
else
  "$PYTHON" -m tools.ablation --list "$LIST"
fi
