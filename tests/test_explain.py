"""convgpu.explain: from the call that a user would write to the kernel; plans for every GPU; no GPU needed."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from native_backends import needs_emulated

import convgpu as cg
from convgpu import explain as _  # noqa: F401 - the function, which hides its module
from convgpu import info
from convgpu.backends import load
from convgpu.cases import networks
from convgpu.facts import FAMILIES, plan_of, text_of
from convgpu.roofline import GPUS

module = sys.modules["convgpu.explain"]
X, W = (8, 56, 56, 64), (3, 3, 64, 32)
CONV = {"conv", "conv_fprop", "conv_dgrad", "conv_wgrad", "conv_transpose", "depthwise_conv"}


def calls_of(monkeypatch, function, *operands, **options):
    """The backend calls that a function really makes, as explain names them."""
    calls = []
    backend = load("numpy")

    def record(op, arrays, statics):
        calls.append((op, tuple(None if a is None else a.shape for a in arrays), statics))
        return getattr(backend, op)(*arrays, *statics)

    with monkeypatch.context() as patched:
        patched.setattr("convgpu.autograd.run_on_backend", record)
        function(*operands, **options)
    return calls


def draw(shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("name, operands, options", [
    ("conv", [(2, 9, 8, 4), (3, 2, 2, 6)], {"stride": (2, 1), "padding": "same", "groups": 2}),
    ("conv", [(2, 4, 9, 8), (6, 4, 3, 2), (6,)], {"data_format": "channels_first", "activation": "relu"}),
    ("conv1d", [(2, 9, 4), (3, 4, 6)], {"dilation": 2}),
    ("conv_transpose", [(2, 5, 4, 3), (3, 3, 2, 3), (2,)], {"stride": 2, "output_padding": 1}),
    ("depthwise_conv2d", [(2, 5, 4, 3), (3, 3, 3, 2)], {"padding": 1}),
    ("depthwise_conv", [(2, 3, 5, 4), (3, 3, 3, 2)], {"padding": 1, "data_format": "channels_first"}),
    ("avg_pool", [(2, 9, 8, 4), 3], {"stride": 2, "ceil_mode": True, "count_include_pad": True, "padding": 1}),
    ("adaptive_avg_pool", [(2, 9, 8, 4), (2, 3)], {}),
    ("global_avg_pool2d", [(2, 9, 8, 4)], {}),
    ("gemm", [(3, 4), (5, 4), (5,)], {"trans_b": True, "alpha": 0.5}),
    ("linear", [(2, 3, 4), (4, 5), (5,)], {"activation": "tanh"}),
    ("matmul", [(2, 3, 4), (2, 4, 5)], {}), ("matmul", [(2, 3, 4), (4, 5)], {}),
    ("separable_conv2d", [(2, 5, 4, 3), (3, 3, 3, 2), (1, 1, 6, 4)], {"activation": "gelu"}),
    ("conv", [(2, 5, 4, 3), (3, 3, 3, 2)], {"flip": True, "activation": "softmax"}),
])
def test_it_names_the_call_that_is_made(monkeypatch, name, operands, options):
    arrays = 1 if "pool" in name else 3  # what follows are sizes
    tensors = [draw(o) if isinstance(o, tuple) and i < arrays else o for i, o in enumerate(operands)]
    made = calls_of(monkeypatch, getattr(cg, name), *tensors, **options)
    for given in (operands, tensors):
        calls = module.calls_of(name, *given, **options)
        assert [(call.op, call.shapes, call.statics) for call in calls] == made
        assert all(call.dtype == "float32" for call in calls)


def test_directions_take_the_operands_of_their_forward():
    geo = module.calls_of("conv", X, W, stride=2, padding="same")[0].statics[0]
    for op, shapes in (("conv_fprop", (geo.x_shape, W, None)), ("conv_dgrad", (geo.y_shape, W, None)),
                       ("conv_wgrad", (geo.x_shape, geo.y_shape))):
        call, = module.calls_of(op, x=X, w=W, stride=2, padding="same", dtype="bfloat16")
        assert (call.op, call.shapes, call.statics[0], call.dtype) == (op, shapes, geo, "bfloat16")
    for op in ("max_pool", "max_pool_dgrad", "max_pool_gather", "max_pool_indices", "avg_pool", "avg_pool_dgrad"):
        call, = module.calls_of(op, X, 2)
        assert call.op == op


def test_every_op_that_backends_run_can_be_asked_for():
    for family in FAMILIES.values():
        for op in family.ops:
            assert cg.explain(op, *cg.Op.registry[op].facts.example, device="cpu").call.op == op


def test_no_values_are_made_and_no_tape_is_left():
    x = cg.randn((2, 8, 8, 3), generator=0).requires_grad_()
    with cg.no_grad():
        found = cg.explain("conv_wgrad", x, (3, 3, 3, 4), device="cpu")
    assert found.call.op == "conv_wgrad" and x.grad is None
    huge = cg.explain("conv2d", (4096, 4096, 4096, 512), (3, 3, 512, 512), padding=1, activation="gelu", device="cpu")
    assert huge[0].work.flops == 2 * 4096**3 * 512**2 * 9


@needs_emulated
def test_what_is_printed():
    text = str(cg.explain("max_pool", (256, 112, 112, 64), 3, stride=2, padding=1, dtype="bfloat16", device="H200"))
    assert text == "\n".join([
        "max_pool of (256, 112, 112, 64) in bfloat16 on H200, for arrays aligned to 16 bytes",
        "kernel      max_pool_window, vector 8, side 3",
        "workspace   0 B",
        "arithmetic  462.4 MFLOP on float32 additions, 0.0138 ms",
        "memory      565.2 MB, 0.118 ms",
        "roofline    0.118 ms, bound by memory"])


@needs_emulated
def test_what_is_returned():
    found = cg.explain("gemm", (8, 4096), (4096, 512), device="RTX 4090")
    assert found.kernel == "gemm_tiled" and found.workspace == 4 * 8 * 512 * int(found.settings["splits"])
    assert found.seconds == found.work.seconds(found.gpu) and found.gpu.name == "RTX 4090"
    assert cg.explain("gemm", (8, 8), (8, 8), precision="tf32", device="A100").work.unit == "tf32 products"
    with cg.set_precision("tf32"):
        assert cg.explain("gemm", (8, 8), (8, 8), device="A100").work.unit == "tf32 products"


@needs_emulated
def test_why_the_kernels_for_hopper_do_not_run():
    stem = cg.explain("conv", (256, 224, 224, 3), (7, 7, 3, 64), stride=2, padding=3, dtype="bfloat16", device="H200")
    assert stem.kernel == "conv_fprop_packed" and "\nno " not in str(stem)
    small = str(cg.explain("conv", (1, 6, 6, 3), (3, 3, 3, 4), dtype="bfloat16", device="H200")).split("\n")
    assert "no wgmma    pixels not at multiples of 16 bytes" in small
    assert "no packing  too little to multiply" in small


@pytest.mark.parametrize("op, arguments, method", [
    ("conv", (X, (1, 1, 64, 8)), "matrix products, tile by tile"),
    ("conv", (X, (3, 3, 64, 8)), "im2col and matrix products, tile by tile"),
    ("depthwise_conv", (X, (3, 3, 64, 1)), "sums over windows"),
    ("conv", ((0, 8, 8, 2), (3, 3, 2, 8)), "no sums to take"),
    ("max_pool", (X, 2), "separable passes along each axis, tile by tile"),
    ("global_max_pool", (X,), "one reduction of every image"), ("max_pool_dgrad", (X, 2), "by the winners' offsets"),
    ("gemm", ((2, 3), (3, 4)), "matrix products, sums in blocks of 128"),
])
@pytest.mark.usefixtures("on_numpy")
def test_the_cpu_says_its_method(op, arguments, method):
    found = cg.explain(op, *arguments, device="cpu")
    assert found.plan == method and found.seconds is None and f"method      {method}" in str(found)


@pytest.mark.usefixtures("on_numpy")
def test_a_strided_gradient_scatters_on_the_cpu():
    assert "col2im" in cg.explain("conv_dgrad", X, W, stride=2, device="cpu").plan


@pytest.mark.parametrize("op, arguments, options, error, message", [
    ("fft", (), {}, ValueError, "explain: expected a function of convgpu or one of the ops .*conv_f.*, got 'fft'"),
    ("Tensor", (X,), {}, ValueError, "explain: expected a function of convgpu or one of the ops .*, got 'Tensor'"),
    ("exp", (X,), {}, ValueError, "explain: expected a function that backends compute, got 'exp', .* NumPy's"),
    ("conv", (X, 3), {}, TypeError, "conv: expected a shape or a tensor for w, got 3"),
    ("conv", (X, (3, 3, -64, 8)), {}, ValueError, r"expected sizes of at least 0, got shape \(3, 3, -64, 8\)"),
    ("conv", (X, W), {"strides": 2}, TypeError, "unexpected keyword argument 'strides'"),
    ("conv", (X,), {}, TypeError, "missing a required argument: 'w'"),
    ("conv", (X, (3, 3, 32, 8)), {}, ValueError, r"conv: expected w.shape\[2\] == C/groups == 64, got 32"),
    ("conv1d", (X, W), {}, ValueError, r"conv1d: expected x of 3 axes .*, got shape \(8, 56, 56, 64\)"),
    ("conv", (X, W), {"device": "TPU"}, ValueError, "explain: expected device 'cpu', 'gpu', or one of T4, .* 'TPU'"),
    ("conv", (X, W), {"device": "gpu:1"}, NotImplementedError, "only the first GPU is supported"),
    ("gemm", (np.ones((2, 3), "float32"), np.ones((3, 4))), {}, TypeError, "gemm: expected one dtype of .* b: float64"),
])
def test_what_is_refused(op, arguments, options, error, message):
    with pytest.raises(error, match=message):
        cg.explain(op, *arguments, **options)


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(info, "driver", lambda: None)
    with pytest.raises(ValueError, match="expected a GPU for device 'gpu', got none from the NVIDIA driver; name one"):
        cg.explain("conv", X, W, device="gpu")


@pytest.mark.usefixtures("on_numpy")
def test_without_a_compiled_module_all_but_the_plan_is_there(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for gpu in GPUS:
        found = cg.explain("max_pool", X, 2, device=gpu.name)
        assert found.kernel == "" and found.workspace == 0 and found.seconds == found.work.seconds(gpu) > 0
        assert "roofline" in str(found) and "aligned" not in str(found)
        assert gpu.arch < 80 or "the plan needs a compiled module: CONVGPU_EMULATED=1 pip install -e ." in str(found)
    assert cg.explain("max_pool", X, 2, device="cpu").kernel == "separable"


def test_kernels_start_at_compute_capability_8():
    text = str(cg.explain("conv", X, W, device="T4"))
    assert "kernel      none: kernels start at compute capability 8.0, and the T4 has 7.5\n" in text
    assert "roofline" in text


@needs_emulated
def test_this_machines_gpu_is_the_default(monkeypatch):
    monkeypatch.setattr(info, "driver", lambda: info.Driver((13, 0), ("NVIDIA GeForce RTX 3090",)))
    assert cg.explain("max_pool", X, 2).device == cg.explain("max_pool", X, 2, device="gpu").device == "RTX 3090"
    monkeypatch.setattr(info, "driver", lambda: info.Driver((13, 0), ("NVIDIA P100",)))
    unknown = cg.explain("max_pool", X, 2)
    assert unknown.device == "NVIDIA P100" and unknown.seconds is None and "roofline" not in str(unknown)


# --- every geometry has a plan on every GPU


def problems():
    for name, family in FAMILIES.items():
        for case in family.cases:
            for dtype, data_format in family.variants(case):
                if dtype in ("float32", "bfloat16"):
                    yield from ((name, case.name, p.call) for p in family.problems(case, dtype, data_format))


@needs_emulated
def test_every_case_has_a_plan_on_every_gpu():
    native, gpus = load("emulated"), {gpu.arch: gpu for gpu in GPUS if gpu.arch >= 80}
    assert set(gpus) == {80, 86, 89, 90, 100, 120}
    for family, case, call in problems():
        if not hasattr(native, call.op):
            continue
        for gpu in gpus.values():
            for precision in ("float32", "tf32") if call.dtype == "float32" else ("float32",):
                words = text_of(plan_of(native, call, gpu, precision)).split()
                assert words[0].isidentifier() and all("=" in word for word in words[1:]), (family, case, words)


@needs_emulated
def test_every_layer_of_the_networks_has_a_plan_on_every_gpu():
    for gpu in (gpu for gpu in GPUS if gpu.arch >= 80):
        for layer in networks.MAX_POOLS + networks.DENSE + networks.DEPTHWISE:
            geo = layer.geometry()
            if isinstance(layer, networks.PoolLayer):
                found = cg.explain("max_pool", geo.x_shape, geo.window, stride=geo.stride, padding=geo.padding,
                                   device=gpu.name)
                assert found.gpu == gpu and found.seconds > 0
            elif hasattr(load("emulated"), "conv_fprop"):
                for op in ("conv_fprop", "conv_dgrad", "conv_wgrad"):
                    found = cg.explain(op, geo.x_shape, geo.w_shape, stride=geo.stride, padding=geo.padding,
                                       groups=geo.groups, dtype="bfloat16", device=gpu.name)
                    assert found.workspace <= 64 << 20 and found.seconds > 0
