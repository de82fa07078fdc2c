"""Faults that are planted in kernels are found, with source line, block and thread; their sound twins stay silent.

Each pair is one source: where FAULT is defined, the fault is there. Lines are found by a comment in the source.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from ptx_kernels import HEAD, needs_machine, needs_nvrtc

from convgpu import ptx


class Case(NamedTuple):
    """A kernel k(float* x, float* y, int n) with 256 inputs, 256 outputs; `// here` and `// with` mark its lines."""

    kind: str
    body: str
    before: str = ""
    grid: int = 2
    block: int = 64
    shared: int = 0
    n: int = 256
    with_line: bool = True
    also: tuple[str, ...] = ()  # what follows from the fault, in some orders of the warps


CASES = {
    "missing __syncthreads": Case("race", """
        __shared__ float s[64]; int t = threadIdx.x;
        s[t] = x[t];  // with
#ifndef FAULT
        __syncthreads();
#endif
        y[blockIdx.x * 64 + t] = s[63 - t];  // here
        """, also=("uninitialised",)),
    "a loop that goes on before all have read": Case("race", """
        __shared__ float s[64]; int t = threadIdx.x; float sum = 0;
        #pragma unroll 1
        for (int i = 0; i < 4; ++i) {
            s[t] = x[i * 64 + t];  // here
            __syncthreads();
            sum += s[63 - t];  // with
#ifndef FAULT
            __syncthreads();
#endif
        }
        y[blockIdx.x * 64 + t] = sum;"""),
    "no __syncwarp in a reduction of volatile": Case("race", """
        __shared__ volatile float s[32]; int t = threadIdx.x;
        s[t] = x[t];  // with
#ifndef FAULT
        __syncwarp();
#endif
        float other = s[t ^ 1];  // here
        y[blockIdx.x * 32 + t] = other;""", block=32),
    "a shift in place": Case("race", """
        __shared__ float s[65]; int t = threadIdx.x; s[t] = x[t]; if (t == 0) s[64] = 0;
        __syncthreads();
        float next = s[t + 1];  // with
#ifndef FAULT
        __syncthreads();
#endif
        s[t] = next;  // here
        __syncthreads(); y[blockIdx.x * 64 + t] = s[t];"""),
    "two blocks write the same place": Case("race", """
        int t = threadIdx.x;
#ifdef FAULT
        y[t] = x[t] + blockIdx.x;  // here
#else
        y[blockIdx.x * 64 + t] = x[t];
#endif
        """, with_line=False),
    "a block reads what another one writes": Case("race", """
        int t = threadIdx.x;
#ifdef FAULT
        y[blockIdx.x * 64 + t] = x[t]; y[blockIdx.x * 64 + t] += y[t];  // here
#else
        y[blockIdx.x * 64 + t] = x[t] + x[64 + t];
#endif
        """, with_line=False),
    "a sum without an atomic": Case("race", """
#ifdef FAULT
        y[0] += x[threadIdx.x];  // here
#else
        atomicAdd(y, x[threadIdx.x]);
#endif
        """, with_line=False),
    "the last block reads parts that no fence made known": Case("race", """
        __shared__ bool last; int t = threadIdx.x;
        if (t == 0) {
            y[1 + blockIdx.x] = x[blockIdx.x];  // with
#ifndef FAULT
            __threadfence();
#endif
            last = atomicInc(&count, gridDim.x - 1) == gridDim.x - 1;
        }
        __syncthreads();
        if (last && t == 0) {
            float sum = 0;
            for (int b = 0; b < gridDim.x; ++b) sum += y[1 + b];  // here
            y[0] = sum;
        }""", "__device__ unsigned count;", grid=5),
    "one past the end": Case("bounds", """
        int i = blockIdx.x * 64 + threadIdx.x;
#ifdef FAULT
        if (i <= n)
#else
        if (i < n)
#endif
            y[i] = x[i];  // here
        """, grid=5),
    "past shared memory": Case("bounds", """
        extern __shared__ float s[]; int t = threadIdx.x;
#ifdef FAULT
        s[t + 1] = x[t];  // here
#else
        s[t] = x[t];
#endif
        y[t + blockIdx.x * 64] = s[t];""", shared=256, also=("race", "uninitialised")),
    "shared memory that nothing wrote": Case("uninitialised", """
        __shared__ float s[64]; int t = threadIdx.x;
#ifdef FAULT
        if (t < 63)
#endif
            s[t] = x[t];
        __syncthreads();
        y[blockIdx.x * 64 + t] = s[63 - t];  // here
        """),
    "a barrier in a branch": Case("divergence", """
        __shared__ float s[64]; int t = threadIdx.x; s[t] = x[t];
#ifdef FAULT
        if (t < 40) __syncthreads();  // here
#else
        __syncthreads();
#endif
        y[blockIdx.x * 64 + t] = s[t];"""),
    "a write to an input": Case("read-only", """
        int t = threadIdx.x;
#ifdef FAULT
        ((float*)x)[t] = 1;  // here
#else
        y[blockIdx.x * 64 + t] = 1;
#endif
        """),
    "a float4 that is not aligned": Case("misaligned", """
        int t = threadIdx.x;
#ifdef FAULT
        float4 v = *(const float4*)(x + 1 + 4 * (t % 32));  // here
#else
        float4 v = *(const float4*)(x + 4 * (t % 32));
#endif
        y[blockIdx.x * 64 + t] = v.x + v.y + v.z + v.w;"""),
    "a shuffle of lanes that are not there": Case("divergence", """
        int t = threadIdx.x; float v = x[t];
#ifdef FAULT
        if (t % 32 < 20) v += __shfl_down_sync(0xffffffff, v, 1);  // here
#else
        v += __shfl_down_sync(0xffffffff, v, 1);
#endif
        y[blockIdx.x * 64 + t] = v;"""),
    "a copy that has not landed": Case("in flight", """
        __shared__ __align__(16) float s[64]; int t = threadIdx.x; unsigned to = __cvta_generic_to_shared(s + t);
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" :: "r"(to), "l"(x + t) : "memory");
        asm volatile("cp.async.commit_group;" ::: "memory");
#ifdef FAULT
        asm volatile("cp.async.wait_group 1;" ::: "memory");
#else
        asm volatile("cp.async.wait_group 0;" ::: "memory");
#endif
        float v = ((volatile float*)s)[t];  // here
        y[blockIdx.x * 64 + t] = v;"""),
    "a copy of another thread without a barrier": Case("race", """
        __shared__ __align__(16) float s[64]; int t = threadIdx.x; unsigned to = __cvta_generic_to_shared(s + t);
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4; cp.async.commit_group; cp.async.wait_group 0;"
                     :: "r"(to), "l"(x + t) : "memory");
#ifndef FAULT
        __syncthreads();
#endif
        float v = s[63 - t];  // here
        y[blockIdx.x * 64 + t] = v;""", with_line=False, also=("uninitialised", "in flight")),
    "an assertion": Case("assertion", """
        int t = threadIdx.x;
#ifdef FAULT
        if (t == 3) __assertfail("t != 3", "kernel.cu", 1, "k", 1);
#endif
        y[blockIdx.x * 64 + t] = x[t];""",
        'extern "C" __device__ void __assertfail(const char*, const char*, unsigned, const char*, size_t);',
        with_line=False),
    "an endless loop": Case("limit", """
        int t = threadIdx.x;
#ifdef FAULT
        while (((volatile float*)y)[200] == 0) { x[t % 2]; asm volatile("" ::: "memory"); y[t + blockIdx.x * 64] = 0; }
#endif
        y[blockIdx.x * 64 + t] = x[t];""", with_line=False),
}


def source_of(case: Case) -> str:
    return f'{case.before}\nextern "C" __global__ void k(const float* x, float* y, int n) {{{case.body}\n}}\n'


@cache
def compiled(name: str, fault: bool) -> ptx.Module:
    return ptx.compile(source_of(CASES[name]), "sm_80", options=["-DFAULT"] if fault else [])


def run(name: str, fault: bool, **options) -> ptx.Report:
    case = CASES[name]
    x = np.random.default_rng(1).random(256, np.float32)
    x.flags.writeable = False
    y = np.zeros(256, np.float32)
    return compiled(name, fault)["k"].launch(case.grid, case.block, [x, y, case.n], shared=case.shared, limit=100_000,
                                             **options)


pytestmark = needs_machine


@needs_nvrtc
@pytest.mark.parametrize("name", CASES)
def test_planted_faults_are_found(name: str) -> None:
    case, report = CASES[name], run(name, True)
    kinds = {finding.kind for finding in report.findings}
    assert case.kind in kinds and kinds <= {case.kind, *case.also}, report
    lines = source_of(case).splitlines()
    here = [number for number, line in enumerate(lines, 1) if "// here" in line]
    found = {(finding.place.line, finding.other.line if finding.other else 0) for finding in report.findings}
    if here:
        assert here[0] in {line for pair in found for line in pair}, report
    if case.with_line and case.kind == "race":
        other = next(number for number, line in enumerate(lines, 1) if "// with" in line)
        assert found & {(here[0], other), (other, here[0])}, report
    for finding in report.findings:
        assert finding.place.file.endswith("kernel.cu") and finding.place.block[0] < case.grid
        assert finding.place.thread[0] < case.block and finding.times >= 1
        assert str(finding.place.line) in str(finding)


@needs_nvrtc
@pytest.mark.parametrize("name", CASES)
def test_sound_twins_stay_silent(name: str) -> None:
    for seed in (0, 1, 2):
        report = run(name, False, seed=seed, early_copies=seed == 2)
        assert not report.findings, report


@needs_nvrtc
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind == "race"])
def test_races_are_found_in_every_order_of_warps(name: str) -> None:
    for seed in (1, 2, 3):
        assert "race" in {finding.kind for finding in run(name, True, seed=seed).findings}


@needs_nvrtc
def test_a_race_names_both_threads_and_the_address() -> None:
    report = run("missing __syncthreads", True)
    finding = next(finding for finding in report.findings if finding.kind == "race")
    assert {finding.place.opcode, finding.other.opcode} == {"ld.shared.f32", "st.shared.f32"}
    assert finding.address.startswith("shared s + ") and finding.address.endswith(" bytes")
    assert finding.place.block == finding.other.block and finding.place.thread != finding.other.thread
    blocks = run("two blocks write the same place", True).findings[0]
    assert blocks.address.startswith("argument 1[") and blocks.place.block != blocks.other.block


def test_a_deadlock_says_what_each_warp_waits_for() -> None:
    module = ptx.Module(HEAD + """.entry k() {
        .reg .b32 %t; .reg .pred %p;
        mov.u32 %t, %tid.x; setp.lt.u32 %p, %t, 32;
        @%p bra FIRST;
        bar.sync 1, 64;
        ret;
        FIRST: bar.sync 2, 64;
        ret; }""")
    finding, = module["k"].launch(1, 64, []).findings
    assert finding.kind == "deadlock"
    assert "warp 0 waits at barrier 2, PTX line 10" in finding.message
    assert "warp 1 waits at barrier 1, PTX line 8" in finding.message


def test_a_warp_that_waits_for_memory_is_named() -> None:
    module = ptx.Module(HEAD + """.shared .align 4 .b32 flag; .entry k() {
        .reg .b32 %v; .reg .pred %p;
        st.shared.u32 [flag], 0; bar.sync 0;
        AGAIN: ld.volatile.shared.u32 %v, [flag];
        setp.eq.u32 %p, %v, 0;
        @%p bra AGAIN;
        ret; }""")
    finding, = module["k"].launch(1, 32, []).findings
    assert finding.kind == "deadlock" and "in a loop that tests memory, PTX line " in finding.message


def test_a_foreign_pointer_is_named() -> None:
    module = ptx.Module(HEAD + ".entry k(.param .u64 x) { .reg .b64 %x; .reg .b32 %v; ld.param.u64 %x, [x];\n"
                        "ld.global.u32 %v, [%x]; ret; }")
    null, = module["k"].launch(1, 1, [None]).findings
    assert null.kind == "bounds" and null.address == "a null pointer" and null.place.ptx_line == 5
    far, = module["k"].launch(1, 1, [12345678]).findings
    assert "far from every array" in far.address


def test_equal_values_may_be_written_by_all() -> None:
    module = ptx.Module(HEAD + """.shared .align 4 .b32 flag; .entry k(.param .u64 y) {
        .reg .b32 %v, %t; .reg .b64 %y; ld.param.u64 %y, [y]; mov.u32 %t, %tid.x;
        st.shared.u32 [flag], 7; bar.sync 0; ld.shared.u32 %v, [flag]; st.global.u32 [%y], %v; ret; }""")
    y = np.zeros(1, np.uint32)
    module["k"][3, 96](y)
    assert y[0] == 7


@pytest.mark.parametrize("odd_threads, kinds", [("MEET", set()), ("STORE", {"divergence"})])
def test_lanes_that_have_parted_wait_for_each_other_at_a_barrier(odd_threads: str, kinds: set[str]) -> None:
    """The paths of thread 0 may end, so that its branch has no meeting point before the barrier; threads that jump over
    the barrier are still found."""
    module = ptx.Module(f"""{HEAD}
.visible .entry k(.param .u64 py) {{
    .reg .pred %p, %q; .reg .b32 %t, %u; .reg .b64 %y, %a;
    ld.param.u64 %y, [py];
    mov.u32 %t, %tid.x;
    setp.ne.u32 %p, %t, 0;
    @%p bra OTHERS;
    setp.eq.u64 %q, %y, 0;
    @%q bra END;
    bra.uni MEET;
OTHERS:
    and.b32 %u, %t, 1;
    setp.ne.u32 %p, %u, 0;
    @%p bra {odd_threads};
MEET:
    bar.sync 0;
STORE:
    mad.wide.u32 %a, %t, 4, %y;
    st.global.u32 [%a], %t;
END:
    ret;
}}""")
    y = np.zeros(64, np.uint32)
    report = module["k"].launch(1, 64, [y])
    assert {finding.kind for finding in report.findings} == kinds, report
    if not kinds:
        assert (y == np.arange(64)).all() and report.opcodes["bar.sync"] == 2
