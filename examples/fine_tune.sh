#!/usr/bin/env bash
# Fine-tune the shipped network lite2 on your own images, 30 or more, and write maps with the result.
#
#   examples/fine_tune.sh IMAGES MASKS RUN [--epochs 20 and other keys of train.py]
#
# IMAGES and MASKS are folders; a mask has its image's name and size, 255 (or 1) on the object and 0 elsewhere.
# A fifth of the pairs validates. Stopped, the same command continues.
# RUN gets best.safetensors (by Sm on the validation part), scores by epoch (log.csv) and maps/, the maps of IMAGES.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '4,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
images=$(realpath "$1") masks=$(realpath "$2") run=$(realpath -m "$3")
shift 3
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}

train=(
  --config configs/lite2.yaml --resume --output "$run"
  --weights weights/lite2_eorssd.safetensors
  --super_resolution false --guidance false        # the detector alone: few images teach the SR branch little
  --data.dataset folders --data.root null --data.images "$images" --data.masks "$masks"
  --data.exclude '[]' --data.validation 0.2 --data.cache "$run/cache"
  --epochs 20 --optimizer.lr 2e-4 --optimizer.ema 0.98   # a tenth of the rate from scratch; a short average
)
"$PYTHON" train.py "${train[@]}" "$@"
"$PYTHON" getsmaps.py --weights "$run/best.safetensors" --input "$images" --output "$run/maps" --size original
