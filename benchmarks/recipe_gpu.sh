#!/usr/bin/env bash
# What unlabeled images are worth on a GPU in under ten minutes: supervised training, RankMatch and all labels side by side,
# MobileNetV2 from ImageNet, images at full size, 8 + 8 of them in a step.
#
#   VOC=VOC2012 CAMVID=camvid WEIGHTS=mobilenet_v2_imagenet_no_top.weights.h5 OUT=runs/gpu bash benchmarks/recipe_gpu.sh
#
# STEPS sets the length (default 1200); a folder that is not given is left out. Each table is in OUT/<set>/table.md.
set -euo pipefail
: "${WEIGHTS:?Give the encoder's weights as WEIGHTS=FILE}" "${OUT:?Give an output folder as OUT=DIR}"
export KERAS_BACKEND="${KERAS_BACKEND:-torch}"
STEPS="${STEPS:-1200}"
common=(--recipe practical --weights "$WEIGHTS" --methods supervised,rankmatch --batch 8 --steps "$STEPS"
    --interval $((STEPS / 6)) --crop 321 --aspp-filters 256 --decoder-filters 256 --precision mixed_bfloat16 --keep last
    --val-limit 60 --pipeline workers --seeds 1)
compare() { python -m rankmatch_keras compare "$@" "${common[@]}"; }
if [ -n "${VOC:-}" ]; then
    compare --dataset PascalVOC --data "$VOC" --labels 62,all --out "$OUT/voc"
fi
if [ -n "${CAMVID:-}" ]; then
    compare --dataset CamVid --data "$CAMVID" --labels 6,all --out "$OUT/camvid"
fi
