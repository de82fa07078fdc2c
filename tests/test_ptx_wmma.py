"""wmma: matrices in the registers of a warp, by nvcuda::wmma, and faults of its use."""

from __future__ import annotations

import numpy as np
import pytest
from ptx_kernels import needs_machine, needs_nvrtc

from convgpu import ptx

pytestmark = [needs_machine, needs_nvrtc]
RNG = np.random.default_rng(0)
SOURCE = r"""
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>
using namespace nvcuda;
extern "C" __global__ void k(const TYPE* a, const TYPE* b, const SUM* c, SUM* d, int lda, int ldb, int ldc) {
    wmma::fragment<wmma::matrix_a, M, N, K, FRAGMENT, wmma::LA> fa;
    wmma::fragment<wmma::matrix_b, M, N, K, FRAGMENT, wmma::LB> fb;
    wmma::fragment<wmma::accumulator, M, N, K, SUM> fc;
    wmma::load_matrix_sync(fa, a, lda);
    wmma::load_matrix_sync(fb, b, ldb);
    wmma::load_matrix_sync(fc, c, ldc, wmma::mem_row_major);
    for (int i = 0; i < fc.num_elements; ++i) fc.x[i] = fc.x[i] + fc.x[i];
    wmma::mma_sync(fc, fa, fb, fc);
    wmma::store_matrix_sync(d, fc, ldc, wmma::mem_row_major);
}
extern "C" __global__ void tiles(const half* x, half* y) {
    __shared__ alignas(32) half s[2][256];
    wmma::fragment<wmma::accumulator, 16, 16, 16, half> f;
    wmma::load_matrix_sync(f, x + threadIdx.x / 32 * 256, 16, wmma::mem_row_major);
    wmma::store_matrix_sync(s[threadIdx.x / 32], f, 16, wmma::mem_col_major);
    BARRIER;
    for (int i = threadIdx.x; i < 512; i += 64) y[i] = s[1 - i / 256][i % 256];
}
"""


def compiled(type_="half", sum_="float", shape=(16, 16, 16), la="row_major", lb="col_major", fragment=None,
             barrier="__syncthreads()"):
    m, n, k = shape
    options = {"TYPE": type_, "SUM": sum_, "M": m, "N": n, "K": k, "LA": la, "LB": lb,
               "FRAGMENT": fragment or type_, "BARRIER": barrier}
    return ptx.compile(SOURCE, arch="sm_80", name="wmma.cu",
                       options=[f"-D{key}={value}" for key, value in options.items()])


def bfloat(x):
    """Floats of bfloat16, and their bits."""
    bits = (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return bits, (bits.astype(np.uint32) << 16).view(np.float32)


TYPES = {"half": (np.float16, 16), "__nv_bfloat16": ("bfloat", 16), "float": (np.float32, 8),
         "signed char": (np.int8, 16), "unsigned char": (np.uint8, 16)}


@pytest.mark.parametrize("type_, sum_, shape, la, lb", [
    ("half", "float", (16, 16, 16), "row_major", "col_major"), ("half", "half", (16, 16, 16), "col_major", "row_major"),
    ("half", "float", (32, 8, 16), "row_major", "row_major"), ("half", "half", (8, 32, 16), "col_major", "col_major"),
    ("__nv_bfloat16", "float", (16, 16, 16), "row_major", "row_major"),
    ("__nv_bfloat16", "float", (8, 32, 16), "row_major", "col_major"),
    ("__nv_bfloat16", "float", (32, 8, 16), "col_major", "row_major"),
    ("float", "float", (16, 16, 8), "row_major", "col_major"),
    ("float", "float", (16, 16, 8), "col_major", "row_major"),
    ("signed char", "int", (16, 16, 16), "row_major", "col_major"),
    ("unsigned char", "int", (32, 8, 16), "col_major", "row_major"),
    ("signed char", "int", (8, 32, 16), "row_major", "row_major"),
])
def test_products(type_, sum_, shape, la, lb):
    (m, n, k), (dtype, _) = shape, TYPES[type_]
    a, b = RNG.standard_normal((m, k)), RNG.standard_normal((k, n))
    wide = np.float32
    if dtype == "bfloat":
        (a, exact_a), (b, exact_b) = bfloat(a), bfloat(b)
    elif np.dtype(dtype).kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        a, b = (RNG.integers(low, high + 1, x.shape).astype(dtype) for x in (a, b))
        exact_a, exact_b, wide = a.astype(np.int64), b.astype(np.int64), np.int32
    else:
        a, b = a.astype(dtype), b.astype(dtype)
        exact_a, exact_b = a.astype(np.float64), b.astype(np.float64)
        if dtype == np.float32:
            a, b = ((x.view(np.uint32) & 0xffffe000).view(np.float32) for x in (a, b))  # numbers of TF32
            exact_a, exact_b = a.astype(np.float64), b.astype(np.float64)
    sums = np.float16 if sum_ == "half" else wide
    c = (10 * RNG.standard_normal((m, n + 16))).astype(sums)
    d = np.zeros((m, n + 16), sums)
    stored = [np.ascontiguousarray(x.T if layout == "col_major" else x) for x, layout in ((a, la), (b, lb))]
    stored = [np.pad(x, ((0, 0), (0, 16 + -x.shape[1] % 16))) for x in stored]
    fragment = "wmma::precision::tf32" if type_ == "float" else None
    module = compiled(type_, sum_, shape, la, lb, fragment)
    report = module["k"].launch(1, 32, [*stored, c, d, stored[0].shape[1], stored[1].shape[1], n + 16])
    assert not report.findings, report
    exact = 2 * c[:, :n].astype(np.float64) + exact_a.astype(np.float64) @ exact_b.astype(np.float64)
    assert np.abs(d[:, :n] - exact).max() <= {"half": 0.05, "float": 2e-5, "int": 0}[sum_]
    assert not d[:, n:].any()


def test_tiles_in_shared_memory():
    x, y = RNG.standard_normal((2, 16, 16)).astype(np.float16), np.zeros((2, 16, 16), np.float16)
    report = compiled()["tiles"].launch(1, 64, [x, y])
    assert not report.findings and (y == x[::-1].transpose(0, 2, 1)).all()
    report = compiled(barrier="__syncwarp()")["tiles"].launch(1, 64, [x, y])
    assert {finding.kind for finding in report.findings} & {"race", "uninitialised"}
    assert 23 in {finding.place.line for finding in report.findings}  # the loop that reads


def test_faults_of_use():
    a, b, c, d = (np.zeros((16, 24), dtype) for dtype in (np.float16, np.float16, np.float32, np.float32))
    kernel = compiled()["k"]
    assert {f.kind for f in kernel.launch(1, 32, [a, b, c, d, 20, 24, 24]).findings} == {"misaligned"}
    assert {f.kind for f in kernel.launch(1, 32, [a[:15], b, c, d, 24, 24, 24]).findings} == {"bounds"}
    assert {f.kind for f in kernel.launch(1, 32, [a, b, c, d[:15], 24, 24, 24]).findings} == {"bounds"}
    assert {f.kind for f in kernel.launch(1, 16, [a, b, c, d, 24, 24, 24]).findings} == {"divergence"}
