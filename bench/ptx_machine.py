"""How many warp instructions the machine that runs PTX executes in a second, on one core and on all.

    python bench/ptx_machine.py [--repeat 5] [--json OUT.json]

Each kernel's result is compared with NumPy's before it is timed. Times are of the process's CPU where one worker runs,
so that a busy machine changes them little, and of the wall where several do.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

import numpy as np

from convgpu import ptx

SOURCE = r"""
extern "C" __global__ void saxpy(const float* x, float* y, float a, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) y[i] = a * x[i] + y[i];
}
extern "C" __global__ void arithmetic(float* y, int n) {
    float a = threadIdx.x, b = 1.0001f; int k = threadIdx.x;
    #pragma unroll 1
    for (int i = 0; i < n; ++i) {
        a = fmaf(a, b, 0.5f); k = k * 3 + i; a = fmaf(a, 0.99f, (float)(k & 7)); k ^= k >> 3;
    }
    y[blockIdx.x * blockDim.x + threadIdx.x] = a + k;
}
extern "C" __global__ void reduce(const float* x, float* y, int n) {
    __shared__ float s[256]; int t = threadIdx.x; float v = 0;
    for (int i = blockIdx.x * 256 + t; i < n; i += gridDim.x * 256) v += x[i];
    s[t] = v; __syncthreads();
    for (int o = 128; o > 0; o >>= 1) { if (t < o) s[t] += s[t + o]; __syncthreads(); }
    if (t == 0) y[blockIdx.x] = s[0];
}
extern "C" __global__ void matmul(const float* a, const float* b, float* c, int n) {
    __shared__ float as[16][16], bs[16][16];
    int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x; float sum = 0;
    for (int at = 0; at < n; at += 16) {
        as[threadIdx.y][threadIdx.x] = a[row * n + at + threadIdx.x];
        bs[threadIdx.y][threadIdx.x] = b[(at + threadIdx.y) * n + column];
        __syncthreads();
        for (int i = 0; i < 16; ++i) sum += as[threadIdx.y][i] * bs[i][threadIdx.x];
        __syncthreads();
    }
    c[row * n + column] = sum;
}
"""


def launches() -> dict[str, tuple[Callable[..., ptx.Report], Callable[[], None]]]:
    """For each kernel a launch, and a check of what it computed."""
    module, rng = ptx.compile(SOURCE, "sm_80"), np.random.default_rng(0)
    x, y, z = rng.random(1 << 19, np.float32), np.zeros(1 << 19, np.float32), np.zeros(64, np.float32)
    a, b, c = (rng.random((128, 128), np.float32) for _ in range(3))
    w = np.zeros(32 * 256, np.float32)

    def of(name: str, grid: object, block: object, *arguments: object) -> Callable[..., ptx.Report]:
        return lambda **options: module[name].launch(grid, block, arguments, **options)

    def close(got: np.ndarray, expected: np.ndarray) -> None:
        np.testing.assert_allclose(got, expected, rtol=1e-4)

    def looped(n: int) -> np.ndarray:
        p, k = np.tile(np.arange(256, dtype=np.float64), 32), np.tile(np.arange(256, dtype=np.int32), 32)
        for i in range(n):
            p = (p * np.float32(1.0001) + 0.5).astype(np.float32).astype(np.float64)
            k = k * np.int32(3) + np.int32(i)
            p = (p * np.float32(0.99) + (k & 7)).astype(np.float32).astype(np.float64)
            k ^= k >> 3
        return (p.astype(np.float32) + k.astype(np.float32))

    return {
        "saxpy": (of("saxpy", 64, 256, x, y, 0.0, len(x)), lambda: close(y, 0 * x)),
        "arithmetic": (of("arithmetic", 32, 256, w, 2000), lambda: close(w, looped(2000))),
        "reduce": (of("reduce", 64, 256, x, z, len(x)), lambda: close(z, x.reshape(-1, 64, 256).sum((0, 2)))),
        "matmul": (of("matmul", (8, 8), (16, 16), a, b, c, 128), lambda: close(c, a @ b)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="the best of so many runs counts (default: 5)")
    parser.add_argument("--json", metavar="OUT.json", help="write every sample")
    options = parser.parse_args()
    cores, rows = len(os.sched_getaffinity(0)), []
    print(f"{'kernel':12s} {'races':>6s} {'workers':>8s}  million warp instructions per second")
    for name, (launch, check) in launches().items():
        launch()
        check()
        for races in (False, True):
            for workers in sorted({1, cores}):
                clock = time.process_time if workers == 1 else time.perf_counter
                samples = []
                for _ in range(options.repeat):
                    begin = clock()
                    report = launch(races=races, workers=workers)
                    samples.append(report.warp_instructions / (clock() - begin) / 1e6)
                print(f"{name:12s} {'yes' if races else 'no':>6s} {workers:8d}  {max(samples):6.1f}")
                rows.append({"kernel": name, "races": races, "workers": workers, "samples": samples})
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
