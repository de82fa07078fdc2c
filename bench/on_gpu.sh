#!/usr/bin/env bash
# All that needs a GPU, by one command, in parts of four minutes: bench/on_gpu.sh [--part 1|2|3] [--resume]
# For a machine with an NVIDIA GPU, nvcc, g++, and a Python with CuPy, PyTorch, NumPy and pybind11; no network is needed.
# BUDGET: seconds of each part (240). OUT: the folder of results (on-gpu). WORK: where programs and logs lie meanwhile
# (build/gpu). PYTHON: python3. bench/README.md tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python3}" bench/on_gpu.py "$@"
