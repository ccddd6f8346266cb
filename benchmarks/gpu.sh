#!/usr/bin/env bash
# Speed, memory and where the time goes on one GPU, in at most nine minutes on a bare machine that has PyTorch and JAX.
#
#   bash benchmarks/gpu.sh wheels            where there is a network: keras and the small rest into build/wheels
#   OUT=runs/gpu bash benchmarks/gpu.sh      on the machine: installs them, measures, writes OUT/*.txt and OUT/*.json
#
# Each part has a time limit of its own, and what was measured before it stays. WHEELS names another folder.
set -euo pipefail
cd "$(dirname "$0")/.."
WHEELS="${WHEELS:-build/wheels}"
if [ "${1:-}" = wheels ]; then
    # Without PyTorch and JAX, which the machine has in its own builds.
    python -m pip download --quiet --dest "$WHEELS" --constraint constraints.txt --no-deps \
        keras absl-py rich namex optree ml-dtypes markdown-it-py mdurl pygments h5py \
        click pydantic pydantic-core annotated-types typing-extensions typing-inspection pyyaml \
        tifffile imagecodecs contourpy pycocotools jinja2 markupsafe pillow scipy matplotlib \
        cycler fonttools kiwisolver pyparsing python-dateutil six packaging
    exit
fi
: "${OUT:?Give an output folder as OUT=DIR}"
mkdir -p "$OUT"
export PYTHONPATH="$PWD" TF_CPP_MIN_LOG_LEVEL=3
python -m pip install --quiet --no-index --find-links "$WHEELS" --no-deps "$WHEELS"/*.whl 2>&1 | tail -3 || true
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$OUT/gpu.txt" || true
measure() { # NAME SECONDS ARGUMENTS...
    local name=$1 limit=$2
    shift 2
    timeout "$limit" python benchmarks "$@" --out "$OUT/$name.json" 2>"$OUT/$name.log" | tee "$OUT/$name.txt" ||
        echo "$name ended early; see $OUT/$name.log"
}
measure profile 60 profile --backbone resnet50 --crop 321 --batch 8
measure profile-bf16 60 profile --backbone resnet50 --crop 321 --batch 8 --precision mixed_bfloat16
measure torch 180 step --backend torch --backbone resnet50 --crop 321,513 --batch 8 --steps 5 --no-shares \
    --precision float32,tf32,mixed_bfloat16
measure jax 200 step --backend jax --backbone resnet50 --crop 321 --batch 8 --steps 5 --no-shares --precision tf32
