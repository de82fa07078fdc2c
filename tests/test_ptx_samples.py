"""Kernels in the styles of samples, tutorials and small language models: sound ones are right and silent, and a planted
fault is found at a line of the source.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ptx_kernels import needs_machine, needs_nvrtc

from convgpu import ptx

pytestmark = [needs_machine, needs_nvrtc]
FOLDER = Path(__file__).parent / "ptx"
RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def near(exact, index, tolerance=1e-3):
    return lambda a: np.abs(a[index] - exact).max() < tolerance


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


X, XI, Y, W = floats(5000), RNG.integers(0, 9, 1000).astype(np.int32), floats(7, 50), floats(50)
A, B, A2, B2, T = floats(32, 48), floats(48, 32), floats(64, 32), floats(32, 128), floats(50, 70)
BYTES, S, U = RNG.integers(0, 256, 4096).astype(np.uint8), floats(256), RNG.integers(0, 1 << 32, 256).astype(np.uint32)
SIGNED, V = RNG.integers(-5, 5, 300).astype(np.int32), RNG.integers(-50, 50, 256).astype(np.int32)
PIPED, Q, K, VALUES = floats(4, 64, 4), floats(64, 16), floats(64, 16), floats(64, 16)
HALVES = floats(64).astype(np.float16)
P, R = (RNG.integers(-2**31, 2**31, 32).astype(np.int32) for _ in "pr")
NORMED = (Y - Y.mean(1, keepdims=True)) / np.sqrt(Y.var(1, keepdims=True) + 1e-5) * W + W
DOTS = (P.view(np.int8).reshape(32, 4).astype(int) * R.view(np.int8).reshape(32, 4)).sum(1) + 7


def of_positive(a):
    return a[1][0] == (SIGNED > 0).sum() and (np.sort(a[0][:a[1][0]]) == np.sort(SIGNED[SIGNED > 0])).all()


# file, kernel, grid, block, dynamic shared memory, arguments, whether they are right after the launch
SOUND = {
    "reduce6": ("reductions", "reduce_6", 4, 256, 1024, lambda: [X, zeros(4), 5000],
                lambda a: abs(a[1].sum() - X.sum()) < 1e-2),
    "reduce0": ("reductions", "reduce_0", 4, 256, 1024, lambda: [XI, zeros(4, dtype=np.int32), 1000],
                lambda a: a[1].sum() == XI.sum()),
    "cooperative": ("cooperative", "total", 3, 128, 0, lambda: [X, zeros(1), 5000], near(X.sum(), 1, 1e-2)),
    "coalesced": ("cooperative", "filter", 2, 160, 0, lambda: [zeros(300, dtype=np.int32), zeros(1, dtype=np.int32),
                                                              SIGNED, 300], of_positive),
    "lanemask": ("cooperative", "filter2", 2, 160, 0, lambda: [zeros(300, dtype=np.int32), zeros(1, dtype=np.int32),
                                                              SIGNED, 300], of_positive),
    "layernorm": ("language_models", "layernorm", 2, 128, 0,
                  lambda: [zeros(7, 50), zeros(7), zeros(7), Y, W, W, 7, 50], near(NORMED, 0)),
    "softmax": ("language_models", "softmax_online", 7, 64, 16, lambda: [Y, zeros(7, 50), 50], near(softmax(Y), 1)),
    "attention": ("language_models", "attn", 2, 32, 4 * (3 * 32 * 16 + 32 * 32),
                  lambda: [Q, K, VALUES, zeros(64, 16), 64, 16, 32], near(softmax(Q @ K.T / 4) @ VALUES, 3)),
    "matrixMul": ("products", "matrixMul", (2, 2), (16, 16), 0, lambda: [zeros(32, 32), A, B, 48, 32], near(A @ B, 0)),
    "sgemm": ("products", "sgemm", (2, 1), 256, 0, lambda: [A2, B2, zeros(64, 128), 64, 128, 32], near(A2 @ B2, 2)),
    "transpose": ("samples", "transpose", (3, 2), (32, 8), 0, lambda: [zeros(70, 50), T, 70, 50],
                  lambda a: (a[0] == T.T).all()),
    "histogram": ("samples", "histogram", 3, 128, 0, lambda: [BYTES, 4096, zeros(256, dtype=np.uint32)],
                  lambda a: (a[2] == np.bincount(BYTES, minlength=256)).all()),
    "scan": ("samples", "scan", 1, 128, 1024, lambda: [S, zeros(256), 256],
             near(np.concatenate([[0], S.cumsum()[:-1]]), 1)),
    "bitonic": ("samples", "bitonic", 1, 256, 0, lambda: [U.copy()], lambda a: (a[0] == np.sort(U)).all()),
    "lock": ("order", "crit", 8, 32, 0, lambda: [zeros(1, dtype=np.int32)], lambda a: a[0][0] == 8),
    "last block": ("order", "last", 4, 64, 0, lambda: [X[:256], zeros(4), zeros(1)], near(X[:256].sum(), 2)),
    "pipeline": ("order", "pipe", 1, 64, 0, lambda: [PIPED, zeros(64), 4], near(PIPED.sum((0, 2))[::-1], 1)),
    "indirect": ("calls", "ind", 1, 32, 0, lambda: [np.full(32, 3, np.float32), 0],
                 lambda a: (a[0].reshape(16, 2) == [9, 27]).all()),
    "virtual": ("calls", "virt", 1, 32, 0, lambda: [zeros(32)], lambda a: (a[0].reshape(16, 2) == [27, 4]).all()),
    "cub": ("cub", "k", 1, 128, 0, lambda: [V[:128].copy(), zeros(128, dtype=np.int32), zeros(1, dtype=np.int32)],
            lambda a: a[2][0] == V[:128].sum() and (a[1] == np.cumsum(V[:128]) - V[:128]).all()),
    "cub sort": ("cub", "sort", 1, 128, 0, lambda: [V.copy()], lambda a: (a[0] == np.sort(V)).all()),
    "types": ("types", "k", 1, 32, 0, lambda: [HALVES, zeros(64, dtype=np.float16), P, R, zeros(32, dtype=np.int32),
                                              zeros(32, dtype=np.int64)],
              lambda a: (a[1] == (4 * HALVES.astype(np.float32)).astype(np.float16)).all() and (a[4] == DOTS).all()),
    "bfloat": ("types", "bf", 1, 32, 0, lambda: [zeros(64, dtype=np.uint16), zeros(64, dtype=np.uint16), floats(64)],
               lambda a: (a[1] == 0x3f80).all()),
    "printf": ("types", "p", 1, 32, 0, lambda: [3], lambda a: True),
}

# of a sound kernel: the kind of a finding, what is replaced in its text, by what
PLANTED = [
    ("reduce6", "race", "sum + s[t + 128];\n        __syncthreads();", "sum + s[t + 128];"),
    ("reduce6", "bounds", "pow2 || i + B < n", "true"), ("reduce0", "race", "s[t + q];\n        __syncthreads();",
                                                       "s[t + q];"),
    ("cooperative", "uninitialised", "sync(b);", ""), ("layernorm", "bounds", "idx >= N", "idx > N"),
    ("layernorm", "bounds", "i < C; i += 32) sum += x[i]", "i <= C; i += 32) sum += x[i]"),
    ("softmax", "race", "sm[0] = S;\n    }\n    __syncthreads();", "sm[0] = S;\n    }"),
    ("softmax", "race", "sm[warp] = s;\n    }\n    __syncthreads();", "sm[warp] = s;\n    }"),
    ("attention", "race", "m = mx;\n        __syncthreads();", "m = mx;"),
    ("matrixMul", "race", "Bs[k][tx];\n        __syncthreads();", "Bs[k][tx];"),
    ("sgemm", "race", "nxt = k & 1", "nxt = (k - 1) & 1"), ("transpose", "race", "__syncthreads();", ""),
    ("transpose", "bounds", "x < h && y", "y"), ("histogram", "race", "h[i] = 0;\n    __syncthreads();", "h[i] = 0;"),
    ("histogram", "race", "atomicAdd(&h[v & 255], 1u)", "h[v & 255]++"),
    ("histogram", "race", "atomicAdd(&out[i], h[i])", "out[i] += h[i]"),
    ("scan", "race", "off >>= 1;\n        __syncthreads();", "off >>= 1;"),
    ("bitonic", "race", "            __syncthreads();\n        }\n    v", "        }\n    v"),
    ("lock", "race", "while (atomicCAS(&lock, 0, 1));", ""), ("last block", "race", "s[0];\n        __threadfence();",
                                                             "s[0];"),
    ("last block", "race", "atomicInc(&done, gridDim.x) == gridDim.x - 1", "blockIdx.x == gridDim.x - 1"),
    ("pipeline", "in flight", "__pipeline_wait_prior(1);", "__pipeline_wait_prior(2);"),
    ("pipeline", "in flight", "__pipeline_wait_prior(1);\n        __syncthreads();", "__pipeline_wait_prior(1);"),
]


def launched(name, old="", new=""):
    file, kernel, grid, block, shared, arguments, right = SOUND[name]
    source = (FOLDER / f"{file}.cu").read_text()
    assert old in source
    module = ptx.compile(source.replace(old, new, 1) if old else source, arch="sm_80", name=f"{file}.cu")
    made = arguments()
    return module[kernel].launch(grid, block, made, shared=shared, limit=10_000_000), right(made), file


@pytest.mark.parametrize("name", SOUND)
def test_sound_kernels_are_right_and_silent(name):
    report, right, _ = launched(name)
    assert not report.findings, report
    assert right
    if name == "printf":
        assert report.output == "".join(f"thread {i} of block  4.50 1099511627776 x%\n" for i in (0, 1))


@pytest.mark.parametrize("name, kind, old, new", PLANTED)
def test_planted_faults_are_found_at_a_line(name, kind, old, new):
    report, _, file = launched(name, old, new)
    found = [finding for finding in report.findings if finding.kind == kind]
    assert found, report
    assert found[0].place.line and Path(found[0].place.file).name in (f"{file}.cu", "cuda_pipeline_primitives.h")


def test_lanes_that_only_volatile_keeps_in_step_are_a_race():
    """Reduction 4 of the samples of old: right before Volta, and wrong since."""
    module = ptx.compile((FOLDER / "reductions.cu").read_text(), arch="sm_80", name="reductions.cu")
    report = module["reduce_4"].launch(2, 128, [X[:512], zeros(2), 512], shared=512)
    assert {finding.kind for finding in report.findings} == {"race"}
    assert all("the same warp" in finding.message for finding in report.findings)


def test_what_the_machine_does_not_have_is_refused_by_name():
    module = ptx.compile((FOLDER / "calls.cu").read_text(), arch="sm_80")
    with pytest.raises(ValueError, match="functions that call themselves, as _Z3fibi does"):
        module["rec"].launch(1, 32, [zeros(32, dtype=np.int32)])
    texture = ptx.compile('extern "C" __global__ void k(cudaTextureObject_t t, float* y)'
                          '{ y[0] = tex2D<float>(t, 0, 0); }', arch="sm_80")
    with pytest.raises(ValueError, match="line .*tex.2d.v4.f32.f32"):
        texture["k"].launch(1, 1, [0, zeros(1)])


def test_an_indirect_call_of_no_function_is_found():
    source = (FOLDER / "calls.cu").read_text().replace("fs[(threadIdx.x + w) % 2]", "((F*)o)[w]")
    report = ptx.compile(source, arch="sm_80")["ind"].launch(1, 32, [np.full(32, 3, np.float32), 1])
    assert "an indirect call of no function" in str(report)


def test_standard_headers():
    source = "".join(f"#include <{name}>\n" for name in ("math.h", "cmath", "cfloat", "limits.h", "cstdint", "stdio.h",
                                                         "cassert", "stdlib.h")) + """
extern "C" __global__ void k(float* x, int64_t* y) {
    assert(blockIdx.x == 0);
    x[0] = -INFINITY; x[1] = NAN; x[2] = FLT_MAX; x[3] = FLT_EPSILON; x[4] = M_PI;
    y[0] = INT_MIN; y[1] = UINT_MAX; y[2] = LLONG_MIN; y[3] = sizeof(uint64_t) + sizeof(int16_t);
}"""
    x, y, known = zeros(5), zeros(4, dtype=np.int64), np.finfo(np.float32)
    ptx.compile(source, arch="sm_80")["k"][1, 1](x, y)
    np.testing.assert_array_equal(x, np.array([-np.inf, np.nan, known.max, known.eps, np.pi], np.float32))
    assert y.tolist() == [-2**31, 2**32 - 1, -2**63, 10]


@pytest.mark.parametrize("type_, digits, least, largest", [("e4m3", 3, -6, 448), ("e5m2", 2, -14, 57344)])
def test_floats_of_eight_bits(type_, digits, least, largest):
    """All 256 numbers to halves, and floats around them back: nearest, ties to even, .satfinite."""
    source = """extern "C" __global__ void k(unsigned short* bits, unsigned* halves, const float* x,
                             unsigned short* y) {
    int i = threadIdx.x;
    asm("cvt.rn.f16x2.TYPEx2 %0, %1;" : "=r"(halves[i]) : "h"(bits[i]));
    asm("cvt.rn.satfinite.TYPEx2.f32 %0, %1, %2;" : "=h"(y[i]) : "f"(x[2 * i + 1]), "f"(x[2 * i]));
}""".replace("TYPE", type_)
    bits = np.arange(256, dtype=np.uint8)
    halves, y = zeros(256, dtype=np.float16), zeros(256, dtype=np.uint8)
    grid = np.array([0, *(sign * m * 2.0**(e - digits) for sign in (1, -1) for e in range(least, 17)
                          for m in range(1 if e == least else 2**digits, 2**(digits + 1))
                          if m * 2.0**(e - digits) <= largest)])
    x = np.concatenate([grid[RNG.integers(0, len(grid), 60)] * f for f in (1, 1.02, 0.97)] + [
        (np.sort(grid)[1:] + np.sort(grid)[:-1])[:70] / 2, [1e9, -1e9, np.inf, 2.0**-30, largest * 1.01, np.nan]])
    x = x.astype(np.float32)
    ptx.compile(source, arch="sm_90a")["k"][1, 128](bits, halves, x[:256], y)
    values = halves.astype(np.float64)
    numbers = np.sort(np.unique(values[np.isfinite(values)]))
    assert set(numbers) == set(grid)
    got = values[y]
    wide = x[:256].astype(np.float64)
    distance = np.abs(numbers[None] - np.clip(wide, -largest, largest)[:, None])
    for value, result, apart in zip(wide, got, distance):
        if np.isnan(value):
            assert np.isnan(result)
            continue
        assert abs(result - np.clip(value, -largest, largest)) == apart.min()
        if (apart == apart.min()).sum() == 2:  # a tie goes to the even one
            assert round(abs(result) / 2.0**(max(np.floor(np.log2(abs(result) or 1e-9)), least) - digits)) % 2 == 0
