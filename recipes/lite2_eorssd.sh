#!/usr/bin/env bash
# Train runs/lite2_eorssd.safetensors, the shipped network lite2, again. Run from the project's root:
#
#   recipes/lite2_eorssd.sh            (PYTHON=path/to/python for another environment; docs/experiments has the times)
#
# Needs data/EORSSD and data/efficientnet_lite2.safetensors (weights/README.md). Stopped, the same command continues.
#
#  1. Train the detector alone at 128×128.
#  2. Train it at 224×224 with two seeds; the first keeps the settings of stage 1, the second has those of the config.
#  3. Average both, and train on with the SR branch.
#  4. Train three seeds further, with the learning rate restarted; average them.
#  5. Train two seeds further on all training images (no validation part); average them with their start.
#  6. Train three seeds further in batches of 16; average them.
#  7. Train two seeds further without the SR branch; average them. Do it twice.
#  8. Train two seeds further on whole images, without crops; average them.
#  9. Prune to fp16: the shipped file.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}

train() { "$PYTHON" train.py --config configs/lite2.yaml --resume "$@"; }
average() { "$PYTHON" -m tools.average_weights "$@"; }

ALONE=(--super_resolution false --guidance false)                    # the detector without its training branches
FIRST=(--detector.drop_path 0 --optimizer.encoder_lr_factor 0.5)
FURTHER=(--optimizer.lr 6e-4 --optimizer.warmup_epochs 0.3)           # for a network that is already trained
DETECTOR=("${ALONE[@]}" "${FURTHER[@]}" --data.validation 0)
WHOLE=("${DETECTOR[@]}" --data.augmentation.scale_probability 0)     # no crops

# 1
train "${ALONE[@]}" "${FIRST[@]}" --detector.input_size '[128,128]' --epochs 28 --output runs/lite2_small

# 2
train "${ALONE[@]}" "${FIRST[@]}" --weights runs/lite2_small/best.safetensors --epochs 12 \
  --optimizer.warmup_epochs 0.5 --seed 2031 --output runs/lite2_2031
train "${ALONE[@]}" --weights runs/lite2_small/best.safetensors --epochs 12 \
  --optimizer.warmup_epochs 0.5 --seed 2032 --output runs/lite2_2032

# 3
average runs/lite2_2032/last.safetensors runs/lite2_2031/best.safetensors --output runs/lite2_mean.safetensors
train --weights runs/lite2_mean.safetensors --epochs 7 "${FURTHER[@]}" --seed 2033 --output runs/lite2

# 4
for seed in 2034 2035 2036; do
  train --weights runs/lite2/last.safetensors --epochs 14 "${FURTHER[@]}" --seed $seed --output runs/lite2_$seed
done
average runs/lite2_2034/last.safetensors runs/lite2_2035/last.safetensors runs/lite2_2036/last.safetensors \
  --output runs/lite2_three.safetensors

# 5
for seed in 2037 2038; do
  train --weights runs/lite2_three.safetensors --epochs 12 "${FURTHER[@]}" --data.validation 0 \
    --seed $seed --output runs/lite2_$seed
done
average runs/lite2_2037/last.safetensors runs/lite2_2038/last.safetensors runs/lite2_three.safetensors \
  --output runs/lite2_all.safetensors

# 6
for seed in 2039 2040 2044; do
  train --weights runs/lite2_all.safetensors --epochs 36 --data.validation 0 \
    --batch_size 16 --optimizer.lr 8.4e-4 --optimizer.warmup_epochs 0.3 --seed $seed --output runs/lite2_$seed
done
average runs/lite2_2039/last.safetensors runs/lite2_2040/last.safetensors runs/lite2_2044/last.safetensors \
  --output runs/lite2_siblings.safetensors

# 7
for seed in 2045 2046; do
  train "${DETECTOR[@]}" --weights runs/lite2_siblings.safetensors --epochs 18 --seed $seed --output runs/lite2_$seed
done
average runs/lite2_2045/last.safetensors runs/lite2_2046/last.safetensors --output runs/lite2_pair.safetensors
for seed in 2047 2048; do
  train "${DETECTOR[@]}" --weights runs/lite2_pair.safetensors --epochs 24 --seed $seed --output runs/lite2_$seed
done
average runs/lite2_2047/last.safetensors runs/lite2_2048/last.safetensors --output runs/lite2_six.safetensors

# 8
for seed in 2062 2063; do
  train "${WHOLE[@]}" --weights runs/lite2_six.safetensors --epochs 11 --seed $seed --output runs/lite2_$seed
done
average runs/lite2_2062/last.safetensors runs/lite2_2063/last.safetensors --output runs/lite2_eight.safetensors

# 9
"$PYTHON" -m tools.prune runs/lite2_eight.safetensors --output runs/lite2_eorssd.safetensors --half
