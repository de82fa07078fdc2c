"""convgpu.explain: from the call that a user would write to the kernel; plans for every GPU; no GPU needed."""

from __future__ import annotations

import importlib.util
import inspect
import sys

import numpy as np
import pytest
from native_backends import needs_emulated

import convgpu as cg
from convgpu import explain as _  # noqa: F401 - the function, which hides its module
from convgpu import info
from convgpu.backends import load
from convgpu.cases import networks
from convgpu.cases.problems import FAMILIES
from convgpu.op import Op
from convgpu.plans import plan_of
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

    monkeypatch.setattr("convgpu.autograd.run_on_backend", record)
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
    ("matmul", [(2, 3, 4), (2, 4, 5)], {}),
])
def test_it_names_the_call_that_is_made(monkeypatch, name, operands, options):
    arrays = 1 if "pool" in name else 3  # what follows are sizes
    tensors = [draw(o) if isinstance(o, tuple) and i < arrays else o for i, o in enumerate(operands)]
    made = calls_of(monkeypatch, getattr(cg, name), *tensors, **options)
    for given in (operands, tensors):
        call = module.call_of(name, *given, **options)
        assert (call.op, call.shapes, call.statics) in [m[:3] for m in made]
        assert call.dtype == "float32"


def test_directions_take_the_operands_of_their_forward():
    geo = module.call_of("conv", X, W, stride=2, padding="same").statics[0]
    for op, shapes in (("conv_fprop", (geo.x_shape, W, None)), ("conv_dgrad", (geo.y_shape, W, None)),
                       ("conv_wgrad", (geo.x_shape, geo.y_shape))):
        call = module.call_of(op, x=X, w=W, stride=2, padding="same", dtype="bfloat16")
        assert (call.op, call.shapes, call.statics[0], call.dtype) == (op, shapes, geo, "bfloat16")
    for op in ("max_pool", "max_pool_dgrad", "max_pool_gather", "max_pool_indices", "avg_pool", "avg_pool_dgrad"):
        assert module.call_of(op, X, 2).op == op


def test_every_op_of_the_families_can_be_asked_for():
    named = {n for n in Op.registry if Op.registry[n].forward is None} | {"nchw_to_nhwc", "hwio_to_oihw"}
    assert named <= set(module._FUNCTIONS)
    for name in (n for n in cg.__all__ if any(part in n for part in ("conv", "pool")) and "separable" not in n):
        assert inspect.isfunction(getattr(cg, name)) and (name in module._FUNCTIONS or name[:-2] in module._FUNCTIONS)


@needs_emulated
def test_what_is_printed():
    text = str(cg.explain("max_pool", (256, 112, 112, 64), 3, stride=2, padding=1, dtype="bfloat16", device="H200"))
    assert text == "\n".join([
        "max_pool of (256, 112, 112, 64) in bfloat16 on H200",
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
def test_the_cpu_says_its_method(op, arguments, method):
    found = cg.explain(op, *arguments, device="cpu")
    assert found.plan == method and found.seconds is None and f"method      {method}" in str(found)


def test_a_strided_gradient_scatters_on_the_cpu():
    assert "col2im" in cg.explain("conv_dgrad", X, W, stride=2, device="cpu").plan


@pytest.mark.parametrize("op, arguments, options, error, message", [
    ("fft", (), {}, ValueError, "explain: expected an op, one of conv, .*, got 'fft'"),
    ("conv", (X, W), {"strides": 2}, TypeError, "unexpected keyword argument 'strides'"),
    ("conv", (X,), {}, TypeError, "missing a required argument: 'w'"),
    ("conv", (X, (3, 3, 32, 8)), {}, ValueError, r"conv: expected w.shape\[2\] == C/groups == 64, got 32"),
    ("conv1d", (X, W), {}, ValueError, r"conv1d: expected x of 3 axes, got shape \(8, 56, 56, 64\)"),
    ("conv", (X, W), {"device": "TPU"}, ValueError, "explain: expected device 'cpu', 'gpu', or one of A100, .* 'TPU'"),
    ("conv", (X, W), {"device": "gpu:1"}, NotImplementedError, "only the first GPU is supported"),
    ("gemm", (np.ones((2, 3), "float32"), np.ones((3, 4))), {}, TypeError, "gemm: expected one dtype, got float32, fl"),
    ("nchw_to_nhwc", (X,), {"device": "cpu"}, NotImplementedError, "nchw_to_nhwc is not implemented on"),
])
def test_what_is_refused(op, arguments, options, error, message):
    with pytest.raises(error, match=message):
        cg.explain(op, *arguments, **options)


def test_without_a_gpu(monkeypatch):
    monkeypatch.setattr(info, "driver", lambda: None)
    with pytest.raises(ValueError, match="device 'gpu': the NVIDIA driver shows no GPU; name one"):
        cg.explain("conv", X, W, device="gpu")


def test_without_a_compiled_module(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="explain: .* neither convgpu._cuda nor convgpu._emulated is built"):
        cg.explain("max_pool", X, 2)
    assert cg.explain("max_pool", X, 2, device="cpu").kernel == "separable"


@needs_emulated
def test_this_machines_gpu_is_the_default(monkeypatch):
    monkeypatch.setattr(info, "driver", lambda: info.Driver((13, 0), ("NVIDIA GeForce RTX 3090",)))
    assert cg.explain("max_pool", X, 2).device == cg.explain("max_pool", X, 2, device="gpu").device == "RTX 3090"
    monkeypatch.setattr(info, "driver", lambda: info.Driver((13, 0), ("NVIDIA T4",)))
    unknown = cg.explain("max_pool", X, 2)
    assert unknown.device == "NVIDIA T4" and unknown.seconds is None and "roofline" not in str(unknown)


# --- every geometry has a plan on every GPU


def problems():
    for name, family in FAMILIES.items():
        for case in family.cases:
            for dtype, data_format in family.variants(case):
                if dtype in ("float32", "bfloat16"):
                    yield from ((name, case.name, p.call) for p in family.problems(case, dtype, data_format))


@needs_emulated
def test_every_case_has_a_plan_on_every_gpu():
    native, limits = load("emulated"), {gpu.arch: gpu.shared_bytes for gpu in GPUS}
    assert set(limits) == {80, 86, 89, 90, 100, 120}
    for family, case, call in problems():
        if not hasattr(native, call.op):
            continue
        for gpu in GPUS:
            for precision in ("float32", "tf32") if call.dtype == "float32" else ("float32",):
                words = plan_of(native, call, gpu, precision).split()
                assert words[0].isidentifier() and all("=" in word for word in words[1:]), (family, case, words)


@needs_emulated
def test_every_layer_of_the_networks_has_a_plan_on_every_gpu():
    for gpu in GPUS:
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
