"""A function of a user judged by the tables of cases: what passes, what is found, what is declined."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ptx_kernels import needs_nvrtc

import convgpu as cg
from convgpu import cli
from convgpu.verify import ASKED, against, case, launched

ROOT = Path(__file__).parent.parent
SOME = ["filter_1x1_strided", "stride_3_5", "groups_3_strided", "same_even_filter", "conv1d", "conv3d", "batch_0",
        "channels_7_9"]


def conv(x, w, *, stride, padding, dilation, groups, data_format):
    return cg.conv(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups, data_format=data_format)


def dgrad(g, w, *, x_shape, stride, padding, dilation, groups, data_format):
    x = cg.tensor(np.zeros(x_shape, g.dtype), requires_grad=True)
    return cg.grad(conv(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups,
                        data_format=data_format), x, cg.tensor(g))


def wgrad(x, g, *, w_shape, stride, padding, dilation, groups, data_format):
    w = cg.tensor(np.zeros(w_shape, g.dtype), requires_grad=True)
    return cg.grad(conv(x, w, stride=stride, padding=padding, dilation=dilation, groups=groups,
                        data_format=data_format), w, cg.tensor(g))


def softmax(x, *, axis):
    with np.errstate(invalid="ignore"):
        e = np.exp((x - x.max(axis, keepdims=True)).astype(np.float64))
        return (e / e.sum(axis, keepdims=True)).astype(x.dtype)


def reduced(function, x, *, axis, keepdims):
    return function(cg.tensor(x), axis=axis, keepdims=keepdims)


SOUND = {
    "conv_fprop": conv, "conv_dgrad": dgrad, "conv_wgrad": wgrad,
    "max_pool": lambda x, size, **options: cg.max_pool(x, size, **options),
    "avg_pool": lambda x, size, **options: cg.avg_pool(x, size, **options),
    "gemm": lambda a, b, c, **options: cg.gemm(a, b, c, **options),
    "matmul": np.matmul, "softmax": softmax, "log_softmax": lambda x, *, axis: cg.log_softmax(x, axis),
    "cross_entropy": lambda logits, labels, **options: cg.cross_entropy(logits, labels, **options),
    "layer_norm": lambda x, scale, offset, *, epsilon: cg.layer_norm(x, scale, offset, epsilon=epsilon),
    **{name: partial(reduced, getattr(cg.numpy, name))
       for name in ("sum", "mean", "max", "min")},
    **{name: getattr(cg, name)
       for name in ("relu", "sigmoid", "tanh", "softplus", "silu", "gelu")},
}


@pytest.mark.parametrize("family", ASKED)
def test_sound_functions_pass(family):
    names = SOME if family.startswith("conv_") else None
    few = [c.name for c in ASKED[family].cases if "long" not in getattr(c, "tags", ())][::3]
    report = against(SOUND[family], family, cases=names or few, data_formats=("channels_last", "channels_first"))
    assert report.passed, report
    assert not report.cases("declined") and "inputs against protected pages" in report.checks


def test_half_types_and_float64_pass():
    report = against(conv, "conv_fprop", dtypes=["float64", "float16", "bfloat16"], cases=SOME)
    assert report.passed and len(report.cases("passed")) == 3 * len(SOME), report


def no_result(x, axis, keepdims):
    return None


def writes(x, axis, keepdims):
    y = np.sum(x, axis, keepdims=keepdims)
    if x.size:
        x.flat[-1] += 1
    return y


def forgets_a_term(x, axis, keepdims):
    x = x.copy()
    x.flat[-1] = 0
    return np.sum(x, axis, keepdims=keepdims)


def writes_beyond(x, out, axis, keepdims):
    np.sum(x, axis, out=out, keepdims=keepdims)
    np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * (out.nbytes + 1)).from_address(out.ctypes.data))[-1] = 0


def reads_beyond(x, axis, keepdims):
    np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * (x.nbytes + 1)).from_address(x.ctypes.data))[-1] + 0
    return np.sum(x, axis, keepdims=keepdims)


def needs_alignment(x, axis, keepdims):
    return np.sum(x, axis, keepdims=keepdims) + (x.ctypes.data % 16 > 0)


def leaves_out_nothing(x, out, axis, keepdims):
    np.sum(x, axis, out=out, keepdims=keepdims)


def leaves_one_out(x, out, axis, keepdims):
    out[1:] = np.sum(x, axis, keepdims=keepdims)[1:]


CALLS = itertools.count()


@pytest.mark.parametrize("fn, expected", [
    (no_result, "expected one array, got NoneType"), (writes, "the input x is written"),
    (forgets_a_term, "eps, where 16 are allowed); 1 of 37 elements"),
    (writes_beyond, "bytes are written outside the arrays"),
    (reads_beyond, "reads past the end of x: the process dies of SIG"),
    (needs_alignment, "with arrays one element past an aligned address"),
    (leaves_one_out, "element (0,) of (37,): got nan, expected"),
    (lambda x, axis, keepdims: np.sum(x.astype(np.float64), axis), "expected float32 of shape (37,), got float64"),
    (lambda x, axis, keepdims: np.sum(x, axis) * np.float32(1 + 2e-7 * (next(CALLS) % 2)),
     "other bits at the second"),
    (lambda x, axis, keepdims: 1 // 0, "ZeroDivisionError"),
    (lambda x, axis, keepdims: os.abort(), "the process dies of SIGABRT"),
])
def test_faults_are_found(fn, expected):
    report = against(fn, "sum", cases=["rows_10"])
    assert not report.passed and expected in str(report), report
    assert "x (37, 10), axis=(1,), keepdims=False" in str(report)


def test_a_result_that_is_written_to_out_passes():
    report = against(leaves_out_nothing, "sum", cases=["rows_10", "nhwc"])
    assert report.passed and "writes outside out" in report.checks


def test_a_swapped_stride_is_found_with_the_worst_element():
    def swapped(x, w, **options):
        return conv(x, w, **options | {"stride": options["stride"][::-1]})

    report = against(swapped, "conv_fprop", cases=["same_stride_beyond_filter", "filter_1x1"])
    assert [found.case for found in report.cases("failed")] == ["same_stride_beyond_filter"]
    assert "of (2, 2, 2, 4): got " in str(report) and "24 of 32 elements" in str(report)
    with pytest.raises(AssertionError, match="same_stride_beyond_filter"):
        report.raise_if_wrong()


def test_a_variance_by_difference_of_squares_is_found():
    def layer_norm(x, scale, offset, *, epsilon):
        mean, square = x.mean(-1, keepdims=True), (x * x).mean(-1, keepdims=True)
        y = (x - mean) / np.sqrt(np.maximum(square - mean * mean, 0) + np.float32(epsilon))
        return y if scale is None else y * scale + offset

    report = against(layer_norm, "layer_norm", cases=["layer of odd length", "layer of a large mean"])
    assert [found.case for found in report.cases("failed")] == ["layer of a large mean"]


def test_what_is_declined_does_not_pass():
    def declines(x, axis, keepdims):
        raise NotImplementedError("never")

    report = against(declines, "sum")
    assert not report.passed and not report.cases("passed") and "No case was accepted" in str(report)
    report = against(lambda x, w: conv(x, w, stride=1, padding=0, dilation=1, groups=1, data_format="channels_last"),
                     "conv_fprop", cases=["filter_1x1", "stride_3_5", "padding_full"])
    assert report.passed and [found.case for found in report.cases("declined")] == ["padding_full", "stride_3_5"]
    assert "declined (it has no parameter 'stride')" in str(report)


def test_without_a_child_process_the_function_runs_here():
    calls = []
    report = against(lambda x: calls.append(x) or np.maximum(x, 0), "relu", isolate=False, unaligned=False)
    assert report.passed and len(calls) == 2 * len(report.found)


def test_unknown_names_list_what_there_is():
    with pytest.raises(ValueError, match="expected one of conv_fprop, conv_dgrad, .* got 'conv'"):
        against(conv, "conv")
    with pytest.raises(LookupError, match="as 'batch_0', got 'nothing'"):
        against(conv, "conv_fprop", cases=["nothing"])
    with pytest.raises(ValueError, match="dtypes: expected float64"):
        against(conv, "conv_fprop", dtypes=["int8"])
    with pytest.raises(TypeError, match="expected a function"):
        against(3, "conv_fprop")  # type: ignore[arg-type]


def test_pytorch_passes_on_tensors():
    torch = pytest.importorskip("torch")

    def fprop(x, w, *, stride, padding, dilation, groups):
        if any(before != after for before, after in padding):
            raise NotImplementedError("padding on one side")
        y = torch.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), None, stride, [a for a, _ in padding], dilation,
                         groups)
        return y.permute(0, 2, 3, 1)

    report = against(fprop, "conv_fprop", arrays="torch", dtypes=["float32", "bfloat16"],
                     cases=["filter_1x1_strided", "stride_3_5", "groups_3_strided", "same_even_filter"])
    assert report.passed and len(report.cases("passed")) == 6, report


def test_one_case_is_given_for_looking_into_it():
    asked = case("conv_fprop", "stride_3_5", "float64", "channels_first")
    assert asked.arrays[0].dtype == np.float64 and asked.arrays[0].shape == (2, 3, 11, 13)
    assert np.abs(conv(*asked.arrays, **asked.options).numpy() - asked.expected).max() < 1e-12


# --- kernels of PTX

MATMUL = """extern "C" __global__ void product(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float x[8][8], y[8][8];
    int tx = threadIdx.x, ty = threadIdx.y, row = blockIdx.y * 8 + ty, column = blockIdx.x * 8 + tx;
    a += (size_t)blockIdx.z * m * k; b += (size_t)blockIdx.z * k * n; c += (size_t)blockIdx.z * m * n;
    float sum = 0;
    for (int t = 0; t < k; t += 8) {
        x[ty][tx] = row < m && t + tx < k ? a[row * k + t + tx] : 0;
        y[ty][tx] = t + ty < k && column < n ? b[(t + ty) * n + column] : 0;
        __syncthreads();
        for (int i = 0; i < 8; ++i) sum += x[ty][i] * y[i][tx];
        __syncthreads();
    }
    if (row < m && column < n) c[row * n + column] = sum;
}"""


def product_of(source):
    kernel = cg.ptx.compile(source, arch="sm_80", name="product.cu")["product"]

    def launch(a, b, out):
        (items, m, k), n = a.shape, b.shape[-1]
        if not out.size:
            raise NotImplementedError("an empty result")
        return (-(-n // 8), -(-m // 8), items), (8, 8), [a, b, out, m, n, k]

    return launched(kernel, launch)


@needs_nvrtc
@pytest.mark.parametrize("sound, planted, expected", [
    ("", "", None),
    ("y[i][tx];\n        __syncthreads();", "y[i][tx];", "race: nothing orders this write and a read by another"),
    ("t + tx < k ?", "true ?", "product.cu:7"),
    ("column < n) c", "true) c", "bounds"),
    ("sum = 0;", "sum = 1e-3f;", "eps, where 16 are allowed"),
])
def test_a_kernel_of_ptx(sound, planted, expected):
    report = against(product_of(MATMUL.replace(sound, planted, 1) if sound else MATMUL), "matmul",
                     cases=["odd_9_1_17", "odd_15_2_31", "block_edge_127", "m_0"])
    assert report.passed is (expected is None), report
    assert "races and bounds" in report.checks and [found.case for found in report.cases("declined")] == ["m_0"]
    if expected:
        assert expected in str(report), report


# --- the command, and the plugin


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("""
import numpy as np
def total(x, axis, keepdims):
    return np.sum(x, axis, np.float64, keepdims=keepdims).astype(x.dtype)
def wrong(x, axis, keepdims):
    return np.sum(x, axis, keepdims=keepdims) + 1
def never(x, axis, keepdims):
    raise NotImplementedError("never")
""")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


@pytest.mark.parametrize("arguments, status, said", [
    (["--against", "mine.py:total", "--family", "sum"], 0, "29 cases passed"),
    (["--against", "mine:total", "--family", "sum", "--dtype", "float16", "--case", "nhwc"], 0, "1 cases passed"),
    (["--against", "mine:wrong", "--family", "sum", "--case", "nhwc"], 1, "FAILED nhwc, float32: x (4, 9, 11, 24)"),
    (["--against", "mine:never", "--family", "sum"], 1, "No case was accepted"),
    (["--against", "mine:total", "--family", "conv"], 2, "expected one --family of conv_fprop, conv_dgrad"),
    (["--against", "mine:total"], 2, "got none"),
    (["--against", "mine:missing", "--family", "sum"], 2, "mine has no 'missing'"),
    (["--against", "mine", "--family", "sum"], 2, "expected module:function"),
    (["--against", "mine:total", "--family", "sum", "--quick"], 2, "are for backends"),
    (["--against", "mine:total", "--family", "sum", "--case", "no"], 2, "got 'no'"),
    (["--family", "conv_fprop"], 2, "--family conv_fprop is for --against"),
    (["--dtype", "float32"], 2, "are for --against"),
])
def test_the_command(module, capsys, arguments, status, said):
    assert cli.main(["verify", *arguments]) == status
    assert said in "".join(capsys.readouterr())


def run_pytest(folder: Path, text: str) -> subprocess.CompletedProcess:
    (folder / "test_mine.py").write_text(text)
    return subprocess.run([sys.executable, "-m", "pytest", "-p", "convgpu_pytest", "-p", "no:cacheprovider", "-rs",
                           "-q", "test_mine.py"], cwd=folder, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})


def test_the_plugin_runs_a_test_for_each_case(module):
    ran = run_pytest(module, """
import pytest, mine
@pytest.mark.convgpu_cases("sum", cases=["nhwc", "all", "nan"])
def test_total(convgpu_case):
    convgpu_case.check(mine.total)
@pytest.mark.convgpu_cases("sum", cases=["nhwc", "all"])
def test_wrong(convgpu_case):
    convgpu_case.check(mine.wrong)
""")
    assert ran.returncode == 1 and "2 failed, 3 passed" in ran.stdout, ran.stdout
    assert "FAILED all, float32: x (3, 5, 7), axis=(0, 1, 2)" in ran.stdout


def test_a_test_without_an_accepted_case_fails_the_run(module):
    ran = run_pytest(module, """
import pytest, mine
@pytest.mark.convgpu_cases("sum", cases=["nhwc", "all"])
def test_never(convgpu_case):
    convgpu_case.check(mine.never)
""")
    assert ran.returncode == 1 and "2 skipped" in ran.stdout and "no case was accepted" in ran.stdout, ran.stdout


def test_the_plugin_imports_convgpu_only_for_its_marker(module):
    ran = run_pytest(module, """
import sys
def test_other():
    assert not any(name.partition(".")[0] == "convgpu" for name in sys.modules) and "numpy" not in sys.modules
""")
    assert ran.returncode == 0, ran.stdout
