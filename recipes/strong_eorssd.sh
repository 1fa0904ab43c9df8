#!/usr/bin/env bash
# Train runs/strong_eorssd.safetensors, the shipped network strong, again. Run from the project's root:
#
#   recipes/strong_eorssd.sh           (PYTHON=path/to/python for another environment; docs/experiments has the times)
#
# Needs data/EORSSD, data/efficientnet_lite2.safetensors and data/dinov2_small.safetensors (weights/README.md). Stopped,
# the same command continues. Each training starts from the weights of the stage before, with the learning rate restarted.
#
#  1. Train by the configuration; train further twice. Average the last two and prune the mean to fp16.
#  2. Train two seeds further in batches of 16; average them.
#  3. Add zero-initialized refined blocks: train the detector alone with the whole transformer frozen.
#  4. Train two seeds with half the transformer and the SR branch; average them with their start.
#  5. Train three seeds so on all training images (no validation part); average them with their start.
#  6. Train two seeds of the detector alone, with the transformer frozen; average them with their start.
#  7. Do that again with two other seeds; average the two.
#  8. Train two seeds further on whole images, without crops; average them.
#  9. Prune to fp16: the shipped file.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}

train() { "$PYTHON" train.py --config configs/strong.yaml --resume "$@"; }
average() { "$PYTHON" -m tools.average_weights "$@"; }
prune() { "$PYTHON" -m tools.prune "$@" --half; }

ALONE=(--super_resolution false --guidance false)                    # the detector without its training branches
FURTHER=(--optimizer.lr 6e-4 --optimizer.warmup_epochs 0.3)           # for a network that is already trained
DETECTOR=("${ALONE[@]}" "${FURTHER[@]}" --data.validation 0)
WHOLE=("${DETECTOR[@]}" --data.augmentation.scale_probability 0)     # no crops
LONG=(--batch_size 16 --optimizer.lr 7e-4 --optimizer.warmup_epochs 0.5)
REFINED=(--detector.refined true --detector.drop_path 0.2 --foreground_prior 0.05 --optimizer.encoder_lr_factor 0.2)
FROZEN=(--optimizer.frozen_blocks 12)                                # all blocks of the transformer

# 1
train --output runs/strong
train --weights runs/strong/best.safetensors --epochs 6 --optimizer.lr 7e-4 --optimizer.warmup_epochs 0.3 \
  --output runs/strong2
train --weights runs/strong2/best.safetensors --epochs 5 "${FURTHER[@]}" --seed 2022 --output runs/strong3
average runs/strong3/last.safetensors runs/strong2/best.safetensors --output runs/strong_mean.safetensors
prune runs/strong_mean.safetensors --output runs/strong_half.safetensors

# 2
for seed in 2024 2025; do
  train "${LONG[@]}" --weights runs/strong_half.safetensors --epochs 23 --seed $seed --output runs/strong_$seed
done
average runs/strong_2024/last.safetensors runs/strong_2025/last.safetensors --output runs/strong_siblings.safetensors

# 3
train "${ALONE[@]}" "${REFINED[@]}" "${FURTHER[@]}" --weights runs/strong_siblings.safetensors --epochs 9 \
  "${FROZEN[@]}" --seed 2041 --output runs/strong_refined

# 4
for seed in 2051 2052; do
  train "${REFINED[@]}" "${LONG[@]}" --weights runs/strong_refined/last.safetensors --epochs 30 \
    --seed $seed --output runs/strong_$seed
done
average runs/strong_2051/last.safetensors runs/strong_2052/last.safetensors runs/strong_refined/last.safetensors \
  --output runs/strong_three.safetensors

# 5
for seed in 2053 2054 2055; do
  train "${REFINED[@]}" "${LONG[@]}" --weights runs/strong_three.safetensors --epochs 27 \
    --data.validation 0 --seed $seed --output runs/strong_$seed
done
average runs/strong_2053/last.safetensors runs/strong_2054/last.safetensors runs/strong_2055/last.safetensors \
  runs/strong_three.safetensors --output runs/strong_four.safetensors

# 6
for seed in 2056 2057; do
  train "${DETECTOR[@]}" "${REFINED[@]}" --weights runs/strong_four.safetensors --epochs 6 \
    "${FROZEN[@]}" --seed $seed --output runs/strong_$seed
done
average runs/strong_2056/last.safetensors runs/strong_2057/last.safetensors runs/strong_four.safetensors \
  --output runs/strong_six.safetensors

# 7
for seed in 2058 2059; do
  train "${DETECTOR[@]}" "${REFINED[@]}" --weights runs/strong_six.safetensors --epochs 8 \
    "${FROZEN[@]}" --seed $seed --output runs/strong_$seed
done
average runs/strong_2058/last.safetensors runs/strong_2059/last.safetensors --output runs/strong_eight.safetensors

# 8
for seed in 2066 2067; do
  train "${WHOLE[@]}" "${REFINED[@]}" --weights runs/strong_eight.safetensors --epochs 12 \
    "${FROZEN[@]}" --seed $seed --output runs/strong_$seed
done
average runs/strong_2066/last.safetensors runs/strong_2067/last.safetensors --output runs/strong_ten.safetensors

# 9
prune runs/strong_ten.safetensors --output runs/strong_eorssd.safetensors
