"""convgpu.ptx: ordinary kernels on NumPy arrays, arguments, modules, workers, and the command."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from ptx_kernels import HEAD, needs_machine, needs_nvrtc

import convgpu as cg
from convgpu import cli, info, ptx
from convgpu.ptx import machine, nvrtc

pytestmark = needs_machine

SAXPY = HEAD + """
.visible .entry saxpy(.param .u64 x, .param .u64 y, .param .f32 a, .param .u32 n)
{
    .reg .b64 %x, %y; .reg .b32 %i, %b, %s, %n; .reg .f32 %a, %u, %v; .reg .pred %p;
    ld.param.u64 %x, [x]; ld.param.u64 %y, [y]; ld.param.f32 %a, [a]; ld.param.u32 %n, [n];
    cvta.to.global.u64 %x, %x; cvta.to.global.u64 %y, %y;
    mov.u32 %b, %ctaid.x; mov.u32 %s, %ntid.x; mov.u32 %i, %tid.x; mad.lo.s32 %i, %b, %s, %i;
    setp.ge.u32 %p, %i, %n; @%p bra END;
    mad.wide.u32 %x, %i, 4, %x; mad.wide.u32 %y, %i, 4, %y;
    ld.global.f32 %u, [%x]; ld.global.f32 %v, [%y]; fma.rn.f32 %v, %a, %u, %v; st.global.f32 [%y], %v;
END: ret;
}
"""

KERNELS = r"""
#include <cuda_fp16.h>
extern "C" __constant__ float scale[4];
extern "C" __device__ int calls = 3;
struct Box { int low, high; double by; };

extern "C" __global__ void sum(const float* x, float* y, int n) {
    float v = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i];
    for (int o = 16; o; o >>= 1) v += __shfl_down_sync(~0u, v, o);
    __shared__ float parts[32];
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x < 32) {
        v = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0;
        for (int o = 16; o; o >>= 1) v += __shfl_down_sync(~0u, v, o);
        if (threadIdx.x == 0) y[blockIdx.x] = v;
    }
}
extern "C" __global__ void histogram(const int* x, int* counts, int n) {
    __shared__ int own[16];
    if (threadIdx.x < 16) own[threadIdx.x] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(own + x[i], 1);
    __syncthreads();
    if (threadIdx.x < 16) atomicAdd(counts + threadIdx.x, own[threadIdx.x]);
}
extern "C" __global__ void matmul(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float as[16][17], bs[16][16];
    int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x;
    float sum = 0;
    for (int at = 0; at < k; at += 16) {
        as[threadIdx.y][threadIdx.x] = row < m && at + threadIdx.x < k ? a[row * k + at + threadIdx.x] : 0;
        bs[threadIdx.y][threadIdx.x] = column < n && at + threadIdx.y < k ? b[(at + threadIdx.y) * n + column] : 0;
        __syncthreads();
        for (int i = 0; i < 16; ++i) sum += as[threadIdx.y][i] * bs[i][threadIdx.x];
        __syncthreads();
    }
    if (row < m && column < n) c[row * n + column] = sum;
}
extern "C" __global__ void scan(const int* x, int* y, int n) {
    extern __shared__ int s[];
    int t = threadIdx.x;
    s[t] = t < n ? x[t] : 0;
    __syncthreads();
    for (int o = 1; o < blockDim.x; o *= 2) {
        int v = t >= o ? s[t - o] : 0;
        __syncthreads();
        s[t] += v;
        __syncthreads();
    }
    if (t < n) y[t] = s[t];
}
extern "C" __global__ void halves(const __half2* x, __half* y, int n) {
    int i = threadIdx.x;
    if (i < n) y[i] = __hadd(__low2half(__hmul2(x[i], x[i])), __high2half(x[i]));
}
extern "C" __global__ void boxed(double* y, Box box, unsigned char on, long long far) {
    int i = box.low + threadIdx.x;
    if (i < box.high && on) y[i] = box.by * scale[i % 4] + far;
}
extern "C" __global__ void count() { if (threadIdx.x == 0) atomicAdd(&calls, 2); }
extern "C" __global__ void special(double* y, const double* x, int n) {
    int i = threadIdx.x;
    if (i < n) y[i] = sin(x[i]) + exp(x[i]) + log(x[i]) + pow(x[i], 1.7) + cbrt(x[i]) + erf(x[i]) + tanh(x[i]) / x[i];
}
template <class T> __global__ void twice(T* x) { x[threadIdx.x] *= 2; }
namespace lib { __global__ void twice_of(float* x) { twice<float><<<1, 1>>>(x); } }
"""


@pytest.fixture(scope="module")
def kernels() -> ptx.Module:
    if not nvrtc.is_installed():
        pytest.skip('NVRTC is not installed (pip install "convgpu[ptx]")')
    return ptx.compile(KERNELS.rsplit("template", 1)[0], "sm_80")


@pytest.mark.parametrize("n", [1, 31, 256, 1000])
def test_saxpy(n: int) -> None:
    x, y = np.random.default_rng(n).random((2, n), np.float32)
    expected = (np.float64(2.5) * x + y).astype(np.float32)
    report = ptx.Module(SAXPY)["saxpy"][-(-n // 128), 128](x, y, np.float32(2.5), n)
    np.testing.assert_array_equal(y, expected)
    assert not report.findings and report.warp_instructions == sum(count.times for count in report.counts)


@pytest.mark.parametrize("n", [1, 1000, 4096])
def test_sums(kernels: ptx.Module, n: int) -> None:
    x, y = np.random.default_rng(n).random(n, np.float32), np.zeros(3, np.float32)
    kernels["sum"][3, 128](x, y, n)
    np.testing.assert_allclose(y.sum(), x.sum(dtype=np.float64), rtol=1e-6)


def test_histogram(kernels: ptx.Module) -> None:
    x, counts = np.random.default_rng(2).integers(0, 16, 5000).astype(np.int32), np.zeros(16, np.int32)
    kernels["histogram"][4, 96](x, counts, len(x))
    np.testing.assert_array_equal(counts, np.bincount(x, minlength=16))


@pytest.mark.parametrize("m, n, k", [(16, 16, 16), (33, 17, 40), (1, 50, 3)])
def test_matrix_product_in_shared_memory(kernels: ptx.Module, m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(3)
    a, b, c = rng.random((m, k), np.float32), rng.random((k, n), np.float32), np.full((m, n), np.nan, np.float32)
    kernels["matmul"][(-(-n // 16), -(-m // 16)), (16, 16)](a, b, c, m, n, k)
    expected = np.zeros((m, n))
    for i in range(k):  # fused multiply-adds, in the kernel's order
        expected = (expected + a[:, i:i + 1].astype(np.float64) * b[i].astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(c, expected)


def test_scan_in_dynamic_shared_memory(kernels: ptx.Module) -> None:
    x, y = np.arange(100, dtype=np.int32), np.zeros(100, np.int32)
    kernels["scan"][1, 128, 4 * 128](x, y, 100)
    np.testing.assert_array_equal(y, np.cumsum(x))
    with pytest.raises(ptx.KernelError, match="outside the block's 256 bytes of shared memory"):
        kernels["scan"][1, 128, 256](x, y, 100)


def test_halves_structs_and_variables(kernels: ptx.Module) -> None:
    x = np.random.default_rng(4).random((40, 2)).astype(np.float16)
    y = np.zeros(40, np.float16)
    kernels["halves"][1, 64](x, y, 40)
    np.testing.assert_array_equal(y, x[:, 0] * x[:, 0] + x[:, 1])
    kernels.variable("scale", np.float32)[:] = [1, 2, 3, 4]
    box = np.array((2, 7, 1.5), np.dtype([("low", np.int32), ("high", np.int32), ("by", np.float64)], align=True))[()]
    z = np.zeros(9)
    kernels["boxed"][1, 32](z, box, np.uint8(1), np.int64(1) << 40)
    np.testing.assert_array_equal(z, [0, 0, *(1.5 * (i % 4 + 1) + 2.0**40 for i in range(2, 7)), 0, 0])
    before = kernels.variable("calls", np.int32)[0]
    kernels["count"][3, 32]()
    assert kernels.variable("calls", np.int32)[0] == before + 6


def test_functions_of_the_mathematical_library(kernels: ptx.Module) -> None:
    from scipy.special import erf

    x, y = np.linspace(0.1, 5, 50), np.zeros(50)
    kernels["special"][1, 64](y, x, 50)
    np.testing.assert_allclose(y, np.sin(x) + np.exp(x) + np.log(x) + x**1.7 + np.cbrt(x) + erf(x) + np.tanh(x) / x,
                               rtol=1e-14)


def test_names_of_cpp(monkeypatch: pytest.MonkeyPatch) -> None:
    if not nvrtc.is_installed():
        pytest.skip('NVRTC is not installed (pip install "convgpu[ptx]")')
    source = ("template <class T> __global__ void twice(T* x) { x[threadIdx.x] *= 2; }\n"
              "template __global__ void twice<float>(float*);\ntemplate __global__ void twice<int>(int*);\n"
              "namespace lib { __global__ void once(float* x) { x[0] = 1; } }")
    module = ptx.compile(source, "sm_80")
    x = np.zeros(1, np.float32)
    module["once"][1, 1](x)
    module["lib::once"][1, 1](x)
    assert x[0] == 1
    with pytest.raises(KeyError, match="2 kernels of this name: _Z5twiceI"):
        module["twice"]
    with pytest.raises(KeyError, match="nothing: the module has no kernel of this name"):
        module["nothing"]


def test_errors_of_the_compiler_are_told() -> None:
    if not nvrtc.is_installed():
        pytest.skip('NVRTC is not installed (pip install "convgpu[ptx]")')
    with pytest.raises(ValueError, match=r"lesson.cu: NVRTC does not compile it:\n.*lesson.cu\(1\): error"):
        ptx.compile("__global__ void k( {", "sm_80", name="lesson.cu")
    with pytest.raises(ValueError, match="expected an architecture like sm_90a, got 'hopper'"):
        ptx.compile("", "hopper")


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nvrtc._library.cache_clear()
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(nvrtc.ctypes.util, "find_library", lambda name: None)
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ImportError, match=r'convgpu.ptx.compile needs NVRTC: pip install "convgpu\[ptx\]"'):
        ptx.compile("")
    nvrtc._library.cache_clear()


def test_a_machine_that_is_not_built_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(machine, "MACHINE", "convgpu._absent")
    with pytest.raises(ImportError, match=r"needs the module convgpu._absent, which CONVGPU_PTX_MACHINE=1 pip install"):
        ptx.Module(SAXPY)
    (tmp_path / "messages.txt").write_text("error")
    monkeypatch.setattr(machine, "BUILD_FAILED", tmp_path / "messages.txt")
    with pytest.raises(ImportError, match="its build failed: .*messages.txt has the compiler's messages"):
        ptx.Module(SAXPY)
    assert "machine that runs PTX not built" in info.report()


def test_results_and_reports_do_not_depend_on_the_number_of_workers(kernels: ptx.Module) -> None:
    x = np.random.default_rng(5).random(3000, np.float32)
    found = []
    for workers in (1, 2, 3):
        y = np.zeros(40, np.float32)
        report = kernels["sum"].launch(40, 64, [x, y, 3000], workers=workers)
        assert not report.findings and report.workers == workers
        found.append((y.tobytes(), report.warp_instructions, tuple(report.counts)))
    assert len(set(found)) == 1
    race = ptx.Module(SAXPY.replace("mad.lo.s32 %i, %b, %s, %i;", "")), []
    for workers in (1, 3):
        y = np.ones(40, np.float32)
        report = race[0]["saxpy"].launch(8, 32, [np.ones(40, np.float32), y, 2.0, 40], workers=workers)
        race[1].append((str(report), y.tobytes()))
        assert {finding.kind for finding in report.findings} == {"race"}
    assert race[1][0] == race[1][1], "arrays begin anew where the first run found a race"


def test_arguments_are_checked() -> None:
    kernel = ptx.Module(SAXPY)["saxpy"]
    x, y = np.zeros(8, np.float32), np.zeros(8, np.float32)
    launch = kernel[1, 8]
    with pytest.raises(TypeError, match="saxpy: expected 4 arguments, got 3"):
        launch(x, y, np.float32(1))
    with pytest.raises(TypeError, match="argument 2: expected float32, got .* of type float64"):
        launch(x, y, np.float64(1), 8)
    with pytest.raises(TypeError, match="argument 3: expected an integer of 32 bits, got .* of type int64"):
        launch(x, y, np.float32(1), np.int64(8))
    with pytest.raises(TypeError, match="argument 3: expected an integer of 32 bits, got 8.0 of type float"):
        launch(x, y, 1.0, 8.0)
    with pytest.raises(ValueError, match="argument 3: expected an integer of 32 bits, got 4294967296"):
        launch(x, y, 1.0, 1 << 32)
    with pytest.raises(TypeError, match="argument 0: expected an integer of 64 bits or an array, got .* of type list"):
        launch([1.0], y, 1.0, 8)
    with pytest.raises(TypeError, match="argument 2: expected float32, got an array of float32"):
        launch(x, y, x, 8)
    with pytest.raises(ValueError, match="argument 1: expected a contiguous array, got strides"):
        launch(x, np.zeros(16, np.float32)[::2], 1.0, 8)
    with pytest.raises(TypeError, match="argument 1: expected an array of numbers in this machine's byte order"):
        launch(x, y.astype(">f4"), 1.0, 8)
    assert (y == 0).all()


@pytest.mark.parametrize("grid, block, message", [
    (0, 32, "saxpy: grid: expected one to three sizes of at least 1, got 0"),
    (1, (1, 2, 3, 4), "saxpy: block: expected one to three sizes"),
    (1, 1025, "expected 1 to 1024 threads along axis 0"),
    (1, (64, 32), "expected at most 1024 threads in a block, got 2048"),
    ((1, 70000), 32, "expected 1 to 65535 blocks along axis 1, got 70000")])
def test_sizes_are_checked(grid, block, message: str) -> None:
    kernel = ptx.Module(SAXPY)["saxpy"]
    with pytest.raises(ValueError, match=message):
        kernel[grid, block](np.zeros(1, np.float32), np.zeros(1, np.float32), 1.0, 1)
    with pytest.raises(TypeError, match=r"expected \[grid, block\]"):
        kernel[3]
    with pytest.raises(ValueError, match="expected at most 232448 bytes of shared memory, got 240000"):
        kernel[1, 1, 240000](np.zeros(1, np.float32), np.zeros(1, np.float32), 1.0, 1)


def test_views_of_one_memory_are_one_array() -> None:
    x = np.arange(64, dtype=np.float32)
    ptx.Module(SAXPY)["saxpy"][1, 32](x[32:], x[:32], 1.0, 32)
    np.testing.assert_array_equal(x[:32], 2 * np.arange(32) + 32)
    empty = np.zeros(0, np.float32)
    ptx.Module(SAXPY)["saxpy"][1, 32](empty, empty, 1.0, 0)


def test_max_threads_and_files(tmp_path) -> None:
    path = tmp_path / "k.ptx"
    path.write_text(HEAD + ".entry k() .maxntid 64, 1, 1 { ret; }\n.entry l() .reqntid 96 { ret; }\n")
    module = ptx.load(path)
    assert module.kernels == ("k", "l") and module.target == "sm_90a"
    module["k"][1, 64]()
    with pytest.raises(ValueError, match="k: expected at most 64 threads in a block, which the kernel declares"):
        module["k"][1, 65]()
    with pytest.raises(ValueError, match="l: expected 96 threads in a block, which the kernel declares, got 64"):
        module["l"][1, 64]()
    with pytest.raises(FileNotFoundError):
        ptx.load(tmp_path / "none.ptx")
    with pytest.raises(ValueError, match="expected PTX, which begins with .version, got none"):
        ptx.Module("")


@needs_nvrtc
def test_printf_writes_to_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    source = ('extern "C" __global__ void hello(double d) { if (threadIdx.x % 2) '
              'printf("%d of %s: %5.2f %c %llu 100%%\\n", threadIdx.x, "four", d, \'x\', 1ull << 40); }')
    report = ptx.compile(source)["hello"][1, 4](2.5)
    assert report.output == "1 of four:  2.50 x 1099511627776 100%\n3 of four:  2.50 x 1099511627776 100%\n"
    assert capsys.readouterr().out == report.output


def test_without_races_only_races_are_missed() -> None:
    module = ptx.Module(SAXPY.replace("mad.lo.s32 %i, %b, %s, %i;", ""))
    y = np.zeros(32, np.float32)
    report = module["saxpy"].launch(4, 32, [np.ones(32, np.float32), y, 1.0, 32], races=False)
    assert not report.findings and (y == 4).all()


def test_info_names_the_machine() -> None:
    assert "machine that runs PTX built" in info.report()


# --- the command


def command(*arguments: str) -> int:
    return cli.main(["ptx", *arguments])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "saxpy.ptx"
    path.write_text(SAXPY)
    return str(path)


def test_check_lists_kernels(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("check", file) == 0
    assert "saxpy(u64 x, u64 y, f32 a, u32 n)" in capsys.readouterr().out


def test_check_names_what_the_machine_does_not_have(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.ptx"
    path.write_text(HEAD + ".entry k() {\n tex.odd;\n ret; }")
    assert command("check", str(path)) == 1
    assert "PTX line 5: tex.odd, in k: the machine does not have this instruction" in capsys.readouterr().err


def test_run_prints_results_and_findings(file: str, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.arange(4, dtype=np.float32))
    arguments = [file, "--grid", "1", "--block", "32", "--arguments", str(tmp_path / "x.npy"), "ones:float32:4",
                 "float32:2"]
    assert command("run", *arguments, "int32:4", "--save", f"1={tmp_path / 'y.npy'}") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), [1, 3, 5, 7])
    assert "nothing found wrong" in capsys.readouterr().out
    assert command("run", *arguments, "int32:5") == 1
    assert "bounds: a global read of 4 bytes outside every array" in capsys.readouterr().out
    assert command("run", *arguments) == 1
    assert "saxpy: expected 4 arguments, got 3" in capsys.readouterr().err
    assert command("run", file, "--grid", "1", "--block", "1", "--arguments", "what") == 2


def test_count_lists_opcodes(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("count", file, "--grid", "2x1", "--block", "64", "--arguments", "zeros:float32:128",
                   "zeros:float32:128", "float32:2", "int32:128") == 0
    told = capsys.readouterr().out
    assert any(line.split() == ["4", "fma.rn.f32"] for line in told.splitlines()), told


def test_a_module_of_its_own_does_not_load_the_machine() -> None:
    code = "import sys, convgpu; assert 'convgpu._ptx' not in sys.modules; convgpu.ptx.load"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert cg.ptx is ptx
