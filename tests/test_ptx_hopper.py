"""Hopper's instructions on the machine that runs PTX: mbarriers, TMA, wgmma and clusters, and faults of their use."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from ptx_kernels import needs_machine, needs_nvrtc

from convgpu import ptx

pytestmark = [needs_machine, needs_nvrtc]



SOURCE = (Path(__file__).parent / "ptx" / "hopper.cu").read_text(encoding="utf-8")


@cache
def compiled(*options: str, source: str = SOURCE) -> ptx.Module:
    return ptx.compile(source, "sm_90a", options=options)


def unswizzled(y: np.ndarray, rows: int, row_bytes: int, swizzle: int) -> np.ndarray:
    """The box as TMA lays it out, undone: chunk c of 16 bytes of the row r lies at c ^ (r % 8), in 128-byte swizzle."""
    bits = {0: 0, 32: 1, 64: 2, 128: 3}[swizzle]
    address = np.arange(rows * row_bytes)
    moved = address ^ ((address >> 7) & ((1 << bits) - 1)) << 4
    return y.view(np.uint8).reshape(-1)[moved].view(np.float32).reshape(rows, -1)


@pytest.mark.parametrize("swizzle", [0, 32, 64, 128])
@pytest.mark.parametrize("px, py", [(0, 0), (8, 3), (-4, -2), (60, 37)])
def test_tiles_of_a_matrix(px: int, py: int, swizzle: int) -> None:
    x = np.random.default_rng(1).random((40, 64), np.float32)
    columns = swizzle // 4 or 32
    y = np.full(16 * columns, 7, np.float32)
    compiled()["tile"][1, 64](ptx.tensor_map(x, (16, columns), swizzle=swizzle), y, 16, columns, px, py)
    padded = np.zeros((200, 300), np.float32)
    padded[100:140, 100:164] = x
    expected = padded[100 + py:116 + py, 100 + px:100 + px + columns]
    np.testing.assert_array_equal(unswizzled(y, 16, 4 * columns, swizzle), expected)


def test_a_tile_that_is_read_before_it_lands() -> None:
    x, y = np.ones((40, 64), np.float32), np.zeros(512, np.float32)
    report = compiled("-DFAULT")["tile"].launch(1, 64, [ptx.tensor_map(x, (16, 32)), y, 16, 32, 0, 0])
    assert {finding.kind for finding in report.findings} == {"in flight", "race"}, report


def test_bytes_that_nobody_brings_are_a_deadlock() -> None:
    x, y = np.ones((40, 64), np.float32), np.zeros(512, np.float32)
    wrong = compiled("-DMORE=16")
    report = wrong["tile"].launch(1, 64, [ptx.tensor_map(x, (16, 32)), y, 16, 32, 0, 0])
    assert [finding.kind for finding in report.findings] == ["deadlock"]
    assert "in a loop that tests memory" in report.findings[0].message


@pytest.mark.parametrize("px, py", [(0, 0), (48, 30), (-8, -1)])
def test_stores_of_tiles(px: int, py: int) -> None:
    x = np.zeros((40, 64), np.float32)
    compiled()["store"][1, 64](ptx.tensor_map(x, (16, 32)), px, py)
    padded = np.zeros((100, 150), np.float32)
    padded[20 + py:36 + py, 20 + px:52 + px] = np.arange(512).reshape(16, 32)
    np.testing.assert_array_equal(x, padded[20:60, 20:84])


@pytest.mark.parametrize("option, kinds", [("-DNO_FENCE", {"proxy"}), ("-DNO_WAIT", {"in flight"}),
                                           ("-DOVERWRITE", {"race", "proxy"})])
def test_faults_of_stores(option: str, kinds: set[str]) -> None:
    map_ = ptx.tensor_map(np.zeros((40, 64), np.float32), (16, 32))
    report = compiled(option)["store"].launch(1, 64, [map_, 0, 0])
    assert report.findings and {finding.kind for finding in report.findings} <= kinds, report


def test_im2col_takes_the_taps_of_a_window() -> None:
    n, h, w, c = 2, 7, 6, 8
    x = np.random.default_rng(2).random((n, h, w, c), np.float32)
    module = compiled()
    # A 3x3 window, padding 1: positions from -1 to h - 2 and w - 2.
    map_ = ptx.im2col_map(x, (-1, -1), (-1, -1), 8, 32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    positions = [(i, p, q) for i in range(n) for p in range(h) for q in range(w)]
    for r, s in ((0, 0), (1, 2), (2, 1)):
        y = np.zeros((32, 8), np.float32)
        module["taps"][1, 32](map_, y, 2, -1, 0, r, s)
        start = positions.index((0, 0, 3))
        expected = [padded[i, p + r, q + s] for i, p, q in positions[start:start + 32]]
        np.testing.assert_array_equal(y, expected)


def test_bulk_copies_of_bytes() -> None:
    module = compiled()
    x, y = np.random.default_rng(3).random(1024, np.float32), np.zeros(1024, np.float32)
    module["bytes"][4, 256](x, y)
    np.testing.assert_array_equal(y, x + 1)


@pytest.mark.parametrize("options", [{}, {"seed": 1}, {"seed": 2, "early_copies": True}])
def test_a_ring_of_slots(options: dict) -> None:
    x, y = np.random.default_rng(4).random((96, 32), np.float32), np.zeros(64, np.float32)
    report = compiled()["ring"].launch(1, 96, [ptx.tensor_map(x, (16, 32)), y, 6], **options)
    assert not report.findings, report
    np.testing.assert_allclose(y, x.reshape(-1, 64).sum(0), rtol=1e-5)


@pytest.mark.parametrize("option", ["-DFAULT", "-DEARLY"])
def test_a_slot_that_is_filled_before_all_have_read_it(option: str) -> None:
    x = np.random.default_rng(5).random((96, 32), np.float32)
    kinds = set()
    for seed in range(3):
        arguments = [ptx.tensor_map(x, (16, 32)), np.zeros(64, np.float32), 6]
        report = compiled(option)["ring"].launch(1, 96, arguments, seed=seed, early_copies=seed > 0)
        kinds |= {finding.kind for finding in report.findings}
    assert kinds and kinds <= {"race", "in flight", "barrier"}, kinds


def test_clusters_share_memory_and_loads() -> None:
    x, y = np.random.default_rng(6).random((32, 32), np.float32), np.zeros((4, 16, 32), np.float32)
    compiled()["pair"][4, 32](ptx.tensor_map(x, (16, 32)), y)
    for block in range(4):
        np.testing.assert_array_equal(y[block], x[16 * (block // 2):][:16] + np.float32(101 - block % 2))
    with pytest.raises(ValueError, match="expected a number of blocks that clusters of 2 divide, got 3"):
        compiled()["pair"][3, 32](ptx.tensor_map(x, (16, 32)), y)
    report = compiled("-DFAULT")["pair"].launch(4, 32, [ptx.tensor_map(x, (16, 32)), y])
    assert {finding.kind for finding in report.findings} & {"race", "uninitialised"}, report


def gemm_source(n: int, type_: str, a_registers: bool) -> str:
    """D = A B of one warpgroup: A 64 x 64, B n x 64 both with K contiguous, in slots of 128-byte swizzle."""
    sums = ", ".join(f"%{k}" for k in range(n // 2))
    outputs = ", ".join(f'"+f"(d[{k}])' for k in range(n // 2))
    base = n // 2
    a_operand = "{" + ", ".join(f"%{base + k}" for k in range(4)) + "}" if a_registers else f"%{base}"
    after = base + (4 if a_registers else 1)
    inputs = ", ".join(f'"r"(a[{k}])' for k in range(4)) if a_registers else '"l"(da)'
    tail = "1, 1, 0" if a_registers else "1, 1, 0, 0"
    return SOURCE + rf"""
__device__ u64 descriptor(const void* p) {{
    return (u64)(shared_at(p) >> 4 & 0x3fff) | (u64)1 << 16 | (u64)64 << 32 | (u64)1 << 62;
}}
__device__ void multiply(float* d, u64 da, u64 db, const u32* a, int adds) {{
    asm volatile("{{ .reg .pred p; setp.ne.b32 p, %{after + 1}, 0; "
        "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{type_}.{type_} "
        "{{{sums}}}, {a_operand}, %{after}, p, {tail}; }}"
        : {outputs} : {inputs}, "l"(db), "r"(adds));
}}
extern "C" __global__ void gemm(const __grid_constant__ Map ma, const __grid_constant__ Map mb, const u32* fragments,
                                float* y) {{
    __shared__ alignas(1024) u16 sa[64 * 64]; __shared__ alignas(1024) u16 sb[{n} * 64]; __shared__ u64 bar;
    int t = threadIdx.x; float d[{n // 2}];
    for (int i = 0; i < {n // 2}; ++i) d[i] = 0;
    if (t == 0) init(&bar, 1);
    __syncthreads();
    if (t == 0) {{ expect(&bar, (64 + {n}) * 128); load_2d(sa, &ma, &bar, 0, 0); load_2d(sb, &mb, &bar, 0, 0); }}
    wait(&bar, 0);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
    u64 da = descriptor(sa), db = descriptor(sb);
    u32 a[4][4];
    for (int k = 0; k < 4; ++k)
        for (int i = 0; i < 4; ++i) a[k][i] = {"fragments[(4 * k + i) * 128 + t]" if a_registers else "0"};
    for (int k = 0; k < 4; ++k) multiply(d, da + 2 * k, db + 2 * k, a[k], k > 0);
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#ifndef FAULT
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#endif
    for (int i = 0; i < {n // 2}; ++i)
        y[(16 * (t / 32) + t % 32 / 4 + 8 * (i / 2 % 2)) * {n} + 8 * (i / 4) + 2 * (t % 4) + i % 2] = d[i];
}}
"""


@pytest.mark.parametrize("a_registers", [False, True])
@pytest.mark.parametrize("n, type_", [(8, "bf16"), (64, "f16"), (128, "bf16")])
def test_wgmma(n: int, type_: str, a_registers: bool) -> None:
    dtype, rng = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}[type_], np.random.default_rng(n)
    a, b = rng.integers(-8, 9, (64, 64)).astype(dtype), rng.integers(-8, 9, (n, 64)).astype(dtype)
    t = np.arange(128)
    row, pair = 16 * (t // 32) + t % 32 // 4, 2 * (t % 4)
    fragments = np.stack([a[row[:, None] + 8 * (i & 1), 16 * k + pair[:, None] + 8 * (i >> 1) + np.arange(2)]
                          for k in range(4) for i in range(4)])
    y = np.full((64, n), np.nan, np.float32)
    arguments = [ptx.tensor_map(a.view(np.uint16), (64, 64), swizzle=128),
                 ptx.tensor_map(b.view(np.uint16), (n, 64), swizzle=128),
                 np.ascontiguousarray(fragments).view(np.uint32), y]
    compiled(source=gemm_source(n, type_, a_registers))["gemm"][1, 128](*arguments)
    np.testing.assert_array_equal(y, a.astype(np.float32) @ b.astype(np.float32).T)


def test_accumulators_that_are_read_too_early_are_poison() -> None:
    a = np.ones((64, 64), np.uint16)
    y = np.zeros((64, 8), np.float32)
    compiled("-DFAULT", source=gemm_source(8, "bf16", False))["gemm"].launch(
        1, 128, [ptx.tensor_map(a, (64, 64), swizzle=128), ptx.tensor_map(a[:8].copy(), (8, 64), swizzle=128), None, y])
    assert np.isnan(y).all()


def test_tensor_maps_are_checked() -> None:
    x = np.zeros((8, 32), np.float32)
    with pytest.raises(ValueError, match="tensor map: expected sizes of the box from 1 to 256, got 257"):
        ptx.tensor_map(x, (257, 32))
    with pytest.raises(ValueError, match="expected rows of the box that are multiples of 16 bytes, got 4"):
        ptx.tensor_map(x, (8, 1))
    with pytest.raises(ValueError, match="expected rows of the box of at most 64 bytes, got 128"):
        ptx.tensor_map(x, (8, 32), swizzle=64)
    with pytest.raises(ValueError, match="expected strides that are multiples of 16 bytes, got 12"):
        ptx.tensor_map(np.zeros((8, 3), np.float32), (8, 4))
    with pytest.raises(ValueError, match="expected an array whose last axis is contiguous"):
        ptx.tensor_map(x.T, (8, 8))


@pytest.mark.parametrize("a_registers", [False, True])
def test_a_missing_fence_before_products_is_found(a_registers: bool) -> None:
    source = gemm_source(8, "f16", a_registers)
    fence = '    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");\n'
    assert fence in source
    x, y = np.zeros((64, 64), np.uint16), np.zeros((64, 8), np.float32)
    maps = [ptx.tensor_map(x, (64, 64), swizzle=128), ptx.tensor_map(x[:8].copy(), (8, 64), swizzle=128)]
    fragments = np.zeros(4 * 4 * 128, np.uint32)
    for text, kinds in ((source, set()), (source.replace(fence, ""), {"in flight"})):
        report = compiled(source=text)["gemm"].launch(1, 128, [*maps, fragments, y])
        assert {finding.kind for finding in report.findings} == kinds, report
        assert all("without wgmma.fence" in finding.message for finding in report.findings)


def test_registers_of_warpgroups() -> None:
    source = """extern "C" __global__ void k(float* y) {
    if (threadIdx.x < 128) asm volatile("setmaxnreg.dec.sync.aligned.u32 FEW;");
    else asm volatile("setmaxnreg.inc.sync.aligned.u32 MANY;");
    __syncthreads();
    y[threadIdx.x] = 1;
}"""

    def launched(few: int, many: int) -> ptx.Report:
        text = source.replace("FEW", str(few)).replace("MANY", str(many))
        return ptx.compile(text, arch="sm_90a")["k"].launch(1, 384, [np.zeros(384, np.float32)])

    assert not launched(24, 240).findings
    report = launched(40, 240)
    assert [finding.kind for finding in report.findings] == ["deadlock"] and "(source line 3)" in str(report), report
    with pytest.raises(ValueError, match="multiple of 8 from 24 to 256"):
        launched(25, 240)
