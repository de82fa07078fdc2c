#!/usr/bin/env bash
# All that needs a GPU, by one command, in ten minutes: bench/on_gpu.sh [FOLDER]
#
# For a machine with a GPU, nvcc, g++, and a Python with CuPy, PyTorch, NumPy and pybind11; no network. Each step writes
# FOLDER/STEP.log (default: on-gpu), and one that fails, or takes longer than its share, does not stop the others;
# FOLDER/summary.txt says how each ended, and what is measured goes to bench/results. The exit status is 1 if any failed.
#
# What such a machine may lack can be carried there in build/carried: Python packages (ninja, pytest, ml_dtypes, ...) and
# libconvgpu_cuda.so, which is then linked and not compiled. On a machine with a network, for Python 3.12 there:
#   bench/on_gpu.sh --pack 3.12
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
readonly carried=$PWD/build/carried

if [ "${1:-}" = --pack ]; then
    rm -rf "$carried"
    "${PYTHON:-python3}" -m pip install --quiet --target "$carried" --only-binary=:all: --python-version "${2:?}" \
        ninja pybind11 pytest ml_dtypes hypothesis tqdm "setuptools>=77" nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm
    if [ -f convgpu/libconvgpu_cuda.so ]; then cp convgpu/libconvgpu_cuda.so "$carried"; fi
    exit
fi

readonly out=${1:-on-gpu} python=${PYTHON:-python3} budget=${BUDGET:-600}
mkdir -p "$out"
: >"$out/summary.txt"
export PYTHONPATH=$PWD:$carried${PYTHONPATH:+:$PYTHONPATH} PATH=$carried/bin:$PATH PYTHONUNBUFFERED=1
failed=0

# step NAME SECONDS COMMAND...: the command's output to a file, its end to the summary.
step() {
    local name=$1 limit=$2 start=$SECONDS status=0
    shift 2
    limit=$((limit < budget - SECONDS ? limit : budget - SECONDS))
    if ((limit < 5)); then
        echo "LEFT OUT  $name: the time is spent" | tee -a "$out/summary.txt"
        failed=1
        return
    fi
    echo "+ $name: $*"
    timeout --kill-after=5 $limit "$@" >"$out/$name.log" 2>&1 || status=$?
    if ((status == 0)); then
        echo "ok        $name ($((SECONDS - start)) s)" | tee -a "$out/summary.txt"
    else
        local how="exit status $status"
        if ((status == 124)); then how="longer than its $limit s"; fi
        echo "FAILED    $name ($((SECONDS - start)) s): $how; $out/$name.log" | tee -a "$out/summary.txt"
        failed=1
    fi
}

# shellcheck disable=SC2329  # called through bash -c
build() {
    if "$python" -c "import convgpu._cuda"; then
        echo "convgpu._cuda is there"
        return
    fi
    if [ -f "$carried/libconvgpu_cuda.so" ]; then export CONVGPU_KERNELS=$carried/libconvgpu_cuda.so; fi
    CONVGPU_CUDA=1 CONVGPU_EMULATED=0 "$python" setup.py build_ext --inplace
}

# shellcheck disable=SC2329  # called through bash -c
hopper_probe() {
    nvcc -std=c++17 -O2 -gencode arch=compute_90a,code=sm_90a -o "$out/hopper_probe" bench/hopper_probe.cu \
        csrc/emulator/tensor_core.cpp && timeout 60 "$out/hopper_probe"
}

# A few awkward cases of every family: each kernel once or more, at the tools' tenth of the speed.
readonly cases=(channels_17_33 groups_3_strided padding_asymmetric conv3d depthwise_7x7 depthwise_3x3_strided
    transposed_4x4_stride_2 tile_edges block_edge_257 odd_31_5_63 channels-16-shared-window channels-24-disjoint
    adaptive-uneven 4x16x16x17 2x67x5x15)

# shellcheck disable=SC2329  # called through bash -c
# CuPy's pool would hide what lies beyond an array: without it, every array is an allocation of its own.
sanitizer() {
    local names=()
    for name in "${cases[@]}"; do names+=(--case "$name"); done
    compute-sanitizer --tool "$1" --error-exitcode 1 "$python" -c '
import sys, cupy
cupy.cuda.set_allocator(None)
from convgpu.cli import main
sys.exit(main(sys.argv[1:]))' verify --backend cuda --quick "${names[@]}"
}

export -f build hopper_probe sanitizer
export out python carried
nvidia-smi >"$out/machine.log" 2>&1
step build 240 bash -c build
architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1)
if [ "$architecture" = 9.0 ]; then step hopper_probe 90 bash -c hopper_probe; fi
step verify 180 "$python" -m convgpu verify --backend cuda --json "$out/verify.json"
step pytest 120 "$python" -m pytest -q -m gpu -p no:cacheprovider tests
for tool in memcheck racecheck initcheck synccheck; do
    step "$tool" 45 bash -c "cases=(${cases[*]}); sanitizer $tool"
done
step sass 60 "$python" bench/sass.py
if [ "$architecture" = 9.0 ]; then
    step float32_accuracy 60 "$python" bench/float32_accuracy.py --backend cuda --json "$out/float32_accuracy.json"
    step hopper 300 "$python" bench/kernels.py --hopper --record
fi
step kernels 180 "$python" bench/kernels.py --record
cat "$out/summary.txt"
exit $failed
