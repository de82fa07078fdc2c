"""Device "gpu": a Tensor there, indices, what mixes and what does not, and how calls get to the kernels."""

from __future__ import annotations

import copy
import pickle
import sys
import types

import fake_cupy
import numpy as np
import pytest
from gpu_device import assert_same, gpu, quiet, stand_in  # noqa: F401 - fixtures
from native_backends import CudaFromHost

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import backends, device, info
from convgpu.cases.pool import CASES as POOL_CASES
from convgpu.facts import FAMILIES
from convgpu.ops.repeated import last_of_each, sums_at
from convgpu.verify import verify

pytestmark = pytest.mark.usefixtures("quiet")


# --- a Tensor there


def test_a_tensor_goes_and_comes_back(gpu):  # noqa: F811
    t = cg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    g = t.to("gpu")
    assert g.device == "gpu" and g.to("cuda:0") is g and (g * 2).to("cpu").device == "cpu"
    (g * g).sum().to("cpu").backward()
    assert t.grad.device == "cpu" and t.grad.tolist() == [[2, 4], [6, 8]]
    assert repr(cg.tensor([1.0], device="gpu")) == "Tensor([1.], dtype=float32, device='gpu')"
    assert g.tolist() == t.tolist() and g.numpy().tolist() == t.tolist() and not g.numpy().flags.writeable
    with pytest.raises(TypeError, match="expected a tensor on the CPU, got one on the GPU; .numpy"):
        np.asarray(g)


def test_pythons_protocols(gpu):  # noqa: F811
    t = cg.tensor([0.0, 2.5], device="gpu")
    assert (t[1].item(), float(t[1]), int(t[1]), bool(t[0]), len(t), f"{t[1]:.1f}") == (2.5, 2.5, 2, False, 2, "2.5")
    assert 2.5 in t and 3 not in t and [x.item() for x in t] == [0.0, 2.5]
    assert [10, 20, 30][cg.tensor(1, device="gpu")] == 20
    u = pickle.loads(pickle.dumps(t.requires_grad_()))
    assert u.device == "gpu" and u.requires_grad and u.tolist() == t.tolist()
    assert copy.deepcopy(t).device == "gpu"
    before = t.array
    t.assign([1, 2])
    assert t.tolist() == [1.0, 2.0] and t.device == "gpu" and t.array is not before
    with pytest.raises(TypeError, match="Tensors are values"):
        t[0] = 1


def test_arrays_of_cupy_are_copied_in(gpu):  # noqa: F811
    cupy = sys.modules["cupy"]
    array = cupy.asarray(np.array([1.0, 2.0]))
    t = cg.tensor(array)
    assert (t.device, t.dtype) == ("gpu", np.float64)
    assert_same(cg.zeros(2, dtype="float64", device="gpu") + array, cg.tensor([1.0, 2.0], dtype="float64"))
    array[0] = 9
    assert t.tolist() == [1, 2]
    shared = cg.from_dlpack(t)
    assert shared.device == "gpu" and shared.tolist() == [1, 2]
    assert t.__dlpack_device__() == (2, 0)
    with pytest.raises(BufferError, match=r"expected dl_device \(2, 0\), where the tensor is"):
        t.__dlpack__(dl_device=(1, 0))


def test_no_grad_and_value_and_grad(gpu):  # noqa: F811
    x = cg.tensor([1.0, 2.0], device="gpu")
    value, gradient = cg.value_and_grad(lambda p: (p["w"] ** 2).sum())({"w": x})
    assert value.item() == 5 and gradient["w"].tolist() == [2, 4] and gradient["w"].device == "gpu"
    with cg.no_grad():
        assert not (x.requires_grad_() * 2).requires_grad
    unused = cg.tensor([1.0], device="gpu", requires_grad=True)
    assert cg.grad(x.sum(), unused).tolist() == [0] and cg.grad(x.sum(), unused).device == "gpu"


# --- indices


def test_of_several_values_for_one_element_the_last_stays(gpu):  # noqa: F811
    x = cg.zeros((3, 2), device="gpu", requires_grad=True)
    v = cg.tensor(np.arange(8.0, dtype=np.float32).reshape(4, 2), device="gpu", requires_grad=True)
    y = x.at[[2, 0, 2, -1]].set(v)
    assert y.tolist() == [[2, 3], [0, 0], [6, 7]]
    y.sum().backward()
    assert v.grad.tolist() == [[0, 0], [1, 1], [0, 0], [1, 1]] and x.grad.tolist() == [[0, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 40, 500])
@pytest.mark.parametrize("dtype", ["float64", "int64", "bool"])
def test_sums_of_many_equal_places(count, dtype):
    rng = np.random.default_rng(count)
    for size in (1, 3, 600):
        places, values = rng.integers(0, size, count), rng.integers(-9, 9, count).astype(dtype)
        expected = np.zeros(size, dtype)
        np.add.at(expected, places, values)
        np.testing.assert_array_equal(sums_at(places, values, size), expected)
        last = last_of_each(places)
        assert sorted(last) == sorted({place: i for i, place in enumerate(places.tolist())}.values())


def test_integers_are_added_exactly(gpu):  # noqa: F811
    x = cg.zeros(2, dtype="int64", device="gpu").at[[0, 0, 1]].add(cg.tensor([2**62, 1, 5], device="gpu"))
    assert x.tolist() == [2**62 + 1, 5]


def test_indices_beyond_the_end_raise(gpu):  # noqa: F811
    x = cg.zeros((2, 3, 4), device="gpu")
    outside = cg.tensor([0, 3], device="gpu")
    for index, axis in ((cg.tensor([2], device="gpu"), 0), ((slice(None), outside), 1), ((..., [0, 4]), 2),
                        ((None, [0, 2], 0), 0), ((..., outside, slice(None)), 1), ([-3], 0)):
        with pytest.raises(IndexError, match=rf"getitem: expected indices in \[-{x.shape[axis]}, .* axis {axis}"):
            x[index]
    with pytest.raises(IndexError):
        x.at[[2]].set(1.0)
    with pytest.raises(TypeError, match="expected an index on the device of x, gpu, got cpu"):
        x[cg.tensor([0])]
    assert x[cg.tensor(1)].shape == (3, 4) and x[x == 0].shape == (24,)


# --- what does not fit together


def test_devices_are_not_mixed(gpu):  # noqa: F811
    g, c = cg.ones(2, device="gpu"), cg.ones(2)
    with pytest.raises(TypeError, match="multiply: expected all tensors on one device, got gpu, cpu; move them with"):
        g * c
    with pytest.raises(TypeError, match="concatenate: expected all tensors on one device, got cpu, gpu"):
        cnp.concatenate([c, g])
    with pytest.raises(TypeError, match="add: expected all tensors on one device"):
        g + np.ones(2, np.float32)
    with pytest.raises(TypeError, match="gemm: expected all tensors on one device, got gpu, cpu"):
        cg.linear(g, cg.ones((2, 2)))
    assert_same(g * np.float64(2), cg.tensor([2.0, 2.0], dtype="float64"))  # a scalar of NumPy's keeps its dtype
    assert_same(g * 2 + 1.5, cg.tensor([3.5, 3.5]))
    with pytest.raises(TypeError, match="expected gradients on the device of their parameters, got cpu and gpu"):
        cg.optim.SGD(lr=1).step(g, c)


def test_the_tables_of_cases_reach_the_kernels_from_host_arrays(gpu):  # noqa: F811
    case = next(c for c in POOL_CASES if c.averages)
    geo, x = case.geometry(), case.input("float32")
    for got, expected in zip(CudaFromHost().max_pool(x, geo, True), backends.load("reference").max_pool(x, geo, True)):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_allclose(CudaFromHost().avg_pool(x, geo), backends.load("reference").avg_pool(x, geo), 1e-5, 1e-6)


def test_the_kernels_are_verified_there(gpu):  # noqa: F811
    report = verify("cuda", quick=True, cases=["channels_17_33", "depthwise_3x3_strided", "odd_31_5_63",
                                               "channels-24-disjoint", "2x67x5x15", "seven", "rows_10", "digits",
                                               "batch, odd channels", "scalar_and_nothing"])
    assert not report.failures and not report.absent
    rows = report.rows.values()
    assert {row.family for row in rows} == set(FAMILIES) and all(row.guards and row.repeats for row in rows)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integers_are_pooled_as_on_the_cpu(gpu, dtype):  # noqa: F811
    x = cg.tensor(np.random.default_rng(0).integers(0, 99, (2, 5, 6, 3)).astype(dtype))
    ours, theirs = (cg.max_pool(t, 3, stride=2, return_indices=True) for t in (x.to("gpu"), x))
    for got, expected in zip(ours, theirs):
        assert got.device == "gpu" and got.dtype == expected.dtype and got.tolist() == expected.tolist()


def test_bfloat16_goes_through_dlpack(gpu):  # noqa: F811
    t = cg.tensor([[1.5, -2.0], [0.25, 3.0]], dtype="bfloat16", device="gpu")
    shared = cg.from_dlpack(t)
    assert shared.device == "gpu" and shared.dtype == t.dtype and shared.tolist() == t.tolist()


def test_a_second_gpu_is_refused(stand_in):  # noqa: F811
    for spelling in ("gpu:1", "cuda:7"):
        with pytest.raises(NotImplementedError, match="only the first GPU is supported"):
            cg.zeros(1, device=spelling)
    array = fake_cupy.ndarray(np.ones(2), index=1)
    for use in (cg.tensor, cg.from_dlpack):
        with pytest.raises(NotImplementedError, match="only the first GPU is supported, got CuPy's device 1"):
            use(array)
    stand_in.current = 1
    with pytest.raises(NotImplementedError, match="got CuPy's device 1"):
        cg.zeros(1, device="gpu")


def test_cupy_without_a_gpu(stand_in, monkeypatch):  # noqa: F811
    stand_in.gpus = 0
    with pytest.raises(RuntimeError, match=r"device 'gpu': CuPy \d+.* finds no GPU"):
        cg.zeros(1, device="gpu")

    def no_driver() -> int:
        raise fake_cupy.CUDARuntimeError("cudaErrorInsufficientDriver")

    monkeypatch.setattr(fake_cupy.runtime, "getDeviceCount", no_driver)
    with pytest.raises(RuntimeError, match="finds no usable GPU or driver .cudaErrorInsufficientDriver"):
        cg.zeros(1, device="gpu")
    monkeypatch.setattr(fake_cupy, "__version__", "13.6.0")
    with pytest.raises(ImportError, match="device 'gpu' needs CuPy 14 or later, got 13.6.0: pip install --upgrade"):
        cg.zeros(1, device="gpu")


@pytest.mark.skipif(info.driver() is not None, reason="there is a GPU")
def test_the_real_cupy_without_a_driver():
    pytest.importorskip("cupy")
    with pytest.raises(RuntimeError, match=r"device 'gpu': CuPy \d+.* finds no usable GPU or driver"):
        cg.zeros(1, device="gpu")


def test_plans_need_no_gpu(stand_in, monkeypatch):  # noqa: F811
    stand_in.gpus = 0
    monkeypatch.setattr(backends, "_loaded", {})
    native = backends.load("cuda")
    case = POOL_CASES[0].geometry()
    assert native.module.plan_pool("max_pool", native.geometry(case), "float32").text.startswith("max_pool_")
    with pytest.raises(RuntimeError, match="finds no GPU"):
        native.empty((1,), "float32")


def test_missing_kernels_say_how_to_build_them(stand_in, monkeypatch):  # noqa: F811
    monkeypatch.setattr(backends, "_loaded", {})
    monkeypatch.setitem(sys.modules, "convgpu._cuda", None)
    with pytest.raises(ImportError, match=r"backend 'cuda' needs the module convgpu._cuda, .*CONVGPU_CUDA=1 pip inst"):
        cg.max_pool(cg.zeros((1, 4, 4, 1), device="gpu"), 2)
    assert (cg.zeros(2, device="gpu") + 1).tolist() == [1, 1]


# --- the crossing, and what says what is there


def test_workspace_and_strided_operands_cross(stand_in, monkeypatch):  # noqa: F811
    native = backends.load("cuda")
    calls = []
    monkeypatch.setattr(native, "module", types.SimpleNamespace(
        Array=lambda *a: a, op=lambda *args: calls.append(args), device_key=lambda: 0,
        plan_op=lambda alignment, limit: types.SimpleNamespace(workspace=limit)))
    monkeypatch.setattr(native, "planned", native._planned)
    x = fake_cupy.asarray(np.arange(6.0).reshape(2, 3)).transpose(1, 0)
    native.launch("op", (x, None), "plan_op", (), 2.5, limit=64)
    native.launch("op", (), "plan_op", (), limit=0)
    native.launch("op", (), "plan_op", (), takes_workspace=False, limit=0)
    (array, none, plan, number, pointer, nbytes, stream), (_, *empty), (_, *bare) = calls
    assert array[1:] == ((3, 2), (16, 8), "float64") and (none, number, nbytes, stream) == (None, 2.5, 64, 0)
    assert plan.workspace == 64 and pointer and empty == [0, 0, 0] and bare == [0]


def test_the_stand_in_has_nothing_that_cupy_has_not():
    public = {name for name in vars(fake_cupy.ndarray) if not name.startswith("_")}
    assert public <= set(fake_cupy._surface["attributes"])
    names = {name for name in vars(fake_cupy) if not name.startswith("_")}
    assert {"asarray", "ascontiguousarray", "empty", "from_dlpack", "get_default_memory_pool"} <= names


def test_the_surface_is_that_of_the_installed_cupy():
    real = pytest.importorskip("cupy")
    if real.__version__ != fake_cupy._surface["version"]:
        pytest.skip(f"the table is of CuPy {fake_cupy._surface['version']}")
    assert fake_cupy.surface() == fake_cupy._surface


def test_a_machine_with_a_gpu(stand_in, monkeypatch):  # noqa: F811
    assert device.parse_device("cuda") == "gpu"
    assert info.gpu_obstacle() is None and info.choose_device(None) == ("gpu", None)
    assert info.choose_device("gpu") == ("gpu", None) and info.choose_device("cpu") == ("cpu", None)
