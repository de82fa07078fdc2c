"""The ledger: what it counts of a step is what the stand-in for a GPU counts while the same step really runs."""

from __future__ import annotations

import collections
import json
import sys
import tracemalloc

import numpy as np
import pytest
from counted import counting
from gpu_device import use_stand_in
from native_backends import needs_emulated

import convgpu as cg
from convgpu import optim, tree
from convgpu.architectures import lenet5
from convgpu.ledger import largest_batch

pytestmark = needs_emulated


# --- networks


def lenet(dtype):
    params = tree.map(lambda p: p.astype(dtype), lenet5.initial((32, 32, 1), 10))
    return params, ((4, 32, 32, 1), dtype), lambda p, x, y: lenet5.loss(p, x, y)[0]


def residual(dtype, data_format="channels_last"):
    """A strided stem, a grouped bottleneck with a shortcut, a depthwise convolution, pools, norms and dropout."""
    rng = np.random.default_rng(0)
    last = data_format == "channels_last"

    def layer(kernel, channels, filters):
        shape = (kernel, kernel, channels, filters) if last else (filters, channels, kernel, kernel)
        wide = "float64" if dtype == "float64" else "float32"
        return {"w": cg.randn(shape, generator=rng).astype(dtype), "scale": cg.ones(filters, dtype=wide),
                "offset": cg.zeros(filters, dtype=wide)}

    params = {"stem": layer(3, 3, 16), "reduce": layer(1, 16, 16), "grouped": layer(3, 8, 16),
              "around": layer(1, 16, 16),
              "depthwise": {"w": cg.randn((3, 3, 16, 1), generator=rng).astype(dtype)},
              "dense": {"w": cg.randn((16, 10), generator=rng).astype(dtype), "b": cg.zeros(10).astype(dtype)}}

    def conv(p, x, stride=1, **options):
        y = cg.conv2d(x, p["w"], stride=stride, padding="same", data_format=data_format, **options)
        zero = p["offset"].detach()
        return cg.batch_norm(y, zero, zero, p["scale"], p["offset"], training=True, data_format=data_format)[0]

    def loss(p, x, labels):
        y = cg.max_pool2d(cg.relu(conv(p["stem"], x, 2)), 2, data_format=data_format)
        around = conv(p["around"], y)
        y = cg.relu(conv(p["grouped"], cg.silu(conv(p["reduce"], y)), groups=2) + around)
        y = cg.depthwise_conv2d(y, p["depthwise"]["w"], padding="same", data_format=data_format)
        y = cg.avg_pool2d(cg.relu(y), 2, data_format=data_format)
        y = cg.dropout(cg.global_avg_pool2d(y, data_format=data_format), 0.5, generator=0)
        return cg.cross_entropy(cg.linear(y, p["dense"]["w"], p["dense"]["b"], activation="tanh"), labels)

    shape = (4, 16, 16, 3) if last else (4, 3, 16, 16)
    return params, (shape, dtype), loss


def channels_first(dtype):
    return residual(dtype, "channels_first")


NETWORKS = {"lenet": lenet, "residual": residual, "channels_first": channels_first}
OPTIMIZERS = {"sgd": lambda: optim.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
              "adam": lambda: optim.Adam(), "adamw": lambda: optim.AdamW()}


def training(loss, optimizer):
    value_and_grad = cg.value_and_grad(loss)

    def step(params, x, labels):
        value, grads = value_and_grad(params, x, labels)
        return value, optimizer.step(params, grads)

    return step


def cupy_launches(found):
    counts = collections.Counter()
    for row in found.rows:
        if row.kernel.startswith("cupy_"):
            counts[row.kernel.removeprefix("cupy_")] += row.launches
    return counts


def kernel_launches(found):
    return sum(row.launches for row in found.rows if not row.kernel.startswith("cupy_"))


@pytest.mark.parametrize(("network", "dtype", "optimizer"), [
    ("lenet", "float32", "adam"), ("lenet", "bfloat16", "sgd"), ("residual", "float32", "sgd"),
    ("residual", "bfloat16", "adamw"), ("residual", "float64", "adam"), ("channels_first", "float16", "adam"),
])
def test_a_step_launches_what_the_ledger_says(monkeypatch, network, dtype, optimizer):
    params, (shape, kind), loss = NETWORKS[network](dtype)
    found = cg.ledger(training(loss, OPTIMIZERS[optimizer]()), params, cg.spec(shape, kind), cg.spec(shape[0], "int64"),
                      device="H200")
    use_stand_in(monkeypatch)
    on_gpu = tree.map(lambda p: p.to("gpu"), params)
    x = cg.zeros(shape, dtype=kind).to("gpu")
    labels = cg.tensor(np.zeros(shape[0], np.int64), device="gpu")
    step = training(loss, OPTIMIZERS[optimizer]())
    with counting(monkeypatch) as counts:
        step(on_gpu, x, labels)
    assert cupy_launches(found) == counts.cupy
    assert kernel_launches(found) == counts.kernels
    assert found.totals["host_waits"] == counts.waits
    assert found.totals["launches"] == sum(counts.cupy.values()) + counts.kernels
    assert found.peak_bytes - found.memory[0][1] == counts.peak


# --- single figures, counted by hand


def rows_of(step, *args, **options):
    return {(row.op, row.kernel): row for row in cg.ledger(step, *args, device="H200", **options).rows}


def test_bytes_are_those_of_every_array_once():
    x, w, b = cg.spec((2, 8, 8, 16), "bfloat16"), cg.spec((3, 3, 16, 32), "bfloat16"), cg.spec(32, "bfloat16")
    rows = rows_of(lambda x, w, b: cg.conv2d(x, w, b), x, w, b)
    row, = rows.values()
    assert row.op == "conv_fprop" and row.kernel.startswith("conv_fprop_") and row.launches >= 1
    assert row.read_bytes == 2 * (2 * 8 * 8 * 16 + 3 * 3 * 16 * 32 + 32) and row.written_bytes == 2 * 2 * 6 * 6 * 32
    assert row.flops == 2 * 2 * 6 * 6 * 32 * 3 * 3 * 16
    added = rows_of(lambda x, y: x + y, cg.spec((64, 1)), cg.spec((1, 32)))["add", "cupy_add"]
    assert (added.read_bytes, added.written_bytes) == (4 * 96, 4 * 64 * 32)
    spread = rows_of(lambda x: x.broadcast_to((100, 50)) * 2.0, cg.spec((100, 1)))["multiply", "cupy_multiply"]
    assert (spread.read_bytes, spread.written_bytes) == (400, 4 * 5000)
    taken = rows_of(lambda x, i: x[i], cg.spec((1000, 8)), cg.spec(5, "int32"))["getitem", "cupy_take"]
    assert (taken.read_bytes, taken.written_bytes) == (20 + 4 * 40, 4 * 40)


def test_views_cost_nothing_and_what_a_kernel_cannot_read_is_copied():
    x = cg.spec((32, 64, 48))
    assert not rows_of(lambda x: x.transpose(0, 2, 1)[1:, ::2].reshape(31, 24, 8, 8), x)
    rows = rows_of(lambda x: x.transpose(0, 2, 1).reshape(-1), x)
    assert [(row.kernel, row.launches) for row in rows.values()] == [("cupy_copy", 1)]
    images = cg.spec((2, 16, 8, 8))
    rows = rows_of(lambda x: cg.max_pool2d(x.transpose(0, 2, 3, 1), 2), images)
    assert {kernel.partition("_window")[0] for _, kernel in rows} == {"cupy_copy", "max_pool"}


def test_bfloat16_is_computed_in_float32_as_on_a_gpu():
    x = cg.spec((1 << 20,), "bfloat16")
    rows = rows_of(lambda x: cg.numpy.hypot(x, x), x)
    assert rows["hypot", "cupy_astype"].launches == 3 and rows["hypot", "cupy_hypot"].written_bytes == 4 << 20


def test_arithmetic_of_bfloat16_is_one_launch_that_reads_what_is_repeated_once():
    x, s = cg.spec((8, 16, 16, 32), "bfloat16"), cg.spec((8, 1, 1, 32), "bfloat16")
    for f in (lambda x, s: x * s, lambda x, s: x + s.broadcast_to(x.shape)):
        (row,) = rows_of(f, x, s).values()
        assert (row.kernel, row.launches, row.read_bytes, row.written_bytes) == (
            "binary_vectors", 1, x.nbytes + s.nbytes, x.nbytes)
    (row,) = rows_of(lambda x: 1.0 - x, x).values()
    assert (row.kernel, row.launches, row.read_bytes, row.written_bytes) == ("binary_vectors", 1, x.nbytes, x.nbytes)


def test_float_labels_and_ifs_are_waits_with_their_line():
    def step(x):
        if (x > 0).any():
            return x
        return x * x.sum().item()

    found = cg.ledger(step, cg.spec((8, 8)), device="H200")
    first = step.__code__.co_firstlineno
    assert [(wait.op, wait.what, wait.line) for wait in found.waits] == [
        ("__bool__", "get", f"{__file__}:{first + 1}"), ("item", "get", f"{__file__}:{first + 3}")]
    assert found.totals["host_waits"] == 2 and f"{__file__}:{first + 1}" in str(found)


def test_memory_is_what_lives_and_views_share_it():
    def chain(x):
        for _ in range(5):
            x = cg.exp(x)  # each result frees the one before
        return x

    found = cg.ledger(chain, cg.spec((1024, 1024)), device="H200")
    assert found.peak_bytes == 3 * 4 << 20  # the argument, a result, and the one that it is computed from
    assert found.held == {("forward", "exp"): 8 << 20, ("arguments", "arguments"): 4 << 20}
    kept = cg.ledger(lambda x: [x.T, x.reshape(-1), x[0], cg.zeros(1, device="gpu")], cg.spec((1024, 1024)),
                     device="H200")
    assert kept.peak_bytes == (4 << 20) + 512
    assert [live for _, live in kept.memory][-1] <= kept.peak_bytes


def test_no_memory_is_taken():
    cg.ledger(lambda x: cg.relu(x), cg.spec(8), device="H200")
    tracemalloc.start()
    x, w = cg.spec((4096, 224, 224, 64)), cg.spec((3, 3, 64, 64))
    step = cg.value_and_grad(lambda w, x: (cg.conv2d(x, w, padding="same") ** 2).mean())
    found = cg.ledger(step, w, x, device="H200")
    assert found.totals["flops"] > 1e13 and tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_the_users_optimizer_is_as_before():
    params, grads = {"w": cg.ones(4)}, {"w": cg.ones(4)}
    used, fresh = optim.Adam(), optim.Adam()
    used.step(params, grads)
    fresh.step(params, grads)
    found = cg.ledger(lambda p, g: used.step(p, g), params, grads, device="H200")
    assert {row.phase for row in found.rows} == {"optimizer"}
    assert used.steps == 1 and used.state_dict()["mean"]["w"].tolist() == fresh.state_dict()["mean"]["w"].tolist()
    assert used.step(params, grads)["w"].tolist() == fresh.step(params, grads)["w"].tolist()


def test_phases_say_whose_gradient_is_computed():
    found = cg.ledger(cg.value_and_grad(lambda w, x: cg.exp(cg.conv2d(x, w)).sum()), cg.spec((3, 3, 8, 8)),
                      cg.spec((2, 9, 9, 8)), device="H200")
    assert {"forward", "backward of exp", "backward of conv_fprop"} <= {row.phase for row in found.rows}
    assert next(row.phase for row in found.rows if row.op == "conv_wgrad") == "backward of conv_fprop"
    assert set(found.by_phase()) == {"forward", "backward"}


def test_json_has_the_names_that_the_issue_fixed():
    found = cg.ledger(lambda x: cg.relu(x), cg.spec((8, 8)), device="A100")
    data = json.loads(json.dumps(found.json()))
    assert set(data["totals"]) == {"launches", "convolution_bytes", "other_bytes", "flops", "peak_bytes", "host_waits",
                                   "predicted_seconds"}
    assert {"op", "kernel", "launches", "read_bytes", "written_bytes", "flops", "temporary_bytes", "host_waits",
            "seconds"} <= set(data["rows"][0])
    assert data["device"] == "A100" and data["totals"]["launches"] == sum(row["launches"] for row in data["rows"])


def test_plans_are_those_of_the_gpu_that_was_asked_for():
    x, w = cg.spec((32, 28, 28, 64), "float16"), cg.spec((3, 3, 64, 64), "float16")
    kernels = {device: cg.ledger(lambda x, w: cg.conv2d(x, w), x, w, device=device).rows[0].kernel
               for device in ("H200", "A100")}
    assert kernels == {"H200": "conv_fprop_wgmma", "A100": "conv_fprop_tiled"}
    with pytest.raises(ValueError, match="ledger: expected device 'gpu', or one of T4, .* got 'K40'"):
        cg.ledger(lambda x: x, x, device="K40")


def test_a_batch_is_the_largest_that_fits():
    def of(batch):
        return cg.ledger(cg.value_and_grad(lambda w, x: cg.relu(cg.conv2d(x, w)).sum()), cg.spec((3, 3, 64, 64)),
                         cg.spec((batch, 224, 224, 64)), device="T4")

    batch = largest_batch(of)
    assert of(batch).peak_bytes <= of(batch).room < of(batch + 1).peak_bytes
    assert largest_batch(lambda batch: of(batch * 10_000)) == 0
    with pytest.raises(ValueError, match="largest_batch: expected a step whose memory grows with the batch, got one"):
        largest_batch(lambda batch: cg.ledger(lambda x: x * 2, cg.spec(1), device="H200"))


def test_errors_of_a_step_are_its_own():
    with pytest.raises(KeyError, match="^'mine'$"):
        cg.ledger(lambda x: {}["mine"], cg.spec(3), device="H200")
    with pytest.raises(KeyError, match="^'mine'$"):
        cg.check_grad(lambda x: {}["mine"], cg.ones(3, dtype="float64"))


def test_without_a_module_a_sentence_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(sys.modules["convgpu.explain"], "planner", lambda: None)
    x, w = cg.spec((2, 8, 8, 16)), cg.spec((3, 3, 16, 32))
    found = cg.ledger(lambda x, w: cg.conv2d(x, w), x, w, device="H200")
    row, = found.rows
    assert (row.kernel, row.launches, row.written_bytes) == ("conv_fprop", 1, 4 * 2 * 6 * 6 * 32)
    assert "each call of a kernel is counted as one launch, since the plan needs a compiled module" in str(found)


def test_specs_stand_for_tensors():
    x, w = (2, 8, 8, 3), (3, 3, 3, 4)
    by_specs = cg.explain("conv2d", cg.spec(x, "float16"), cg.spec(w, "float16"), device="cpu")
    assert str(by_specs) == str(cg.explain("conv2d", x, w, dtype="float16", device="cpu"))
    with pytest.raises(ValueError, match="spec: expected sizes >= 0, got -1"):
        cg.spec((2, -1))


def test_a_step_that_fails_leaves_everything_in_place():
    before = sys.modules.get("cupy")
    with pytest.raises(NotImplementedError, match="recorder: what fft returns is not known from sizes alone"):
        cg.ledger(lambda x: np.fft.fft(x.array), cg.spec(8), device="H200")
    assert sys.modules.get("cupy") is before
    assert cg.relu([-1.0]).device == "cpu"


@pytest.mark.parametrize("step", [
    lambda x, i: cg.local_response_norm(x, 5), lambda x, i: x[i], lambda x, i: x.at[1:].add(1.0),
    lambda x, i: cg.numpy.concatenate([x, x, x[:1]]), lambda x, i: x[:, ::2].reshape(-1),
    lambda x, i: cg.numpy.where(x > 0, x, 0.0), lambda x, i: cg.numpy.pad(x, 1), lambda x, i: x.var(axis=0),
    lambda x, i: cg.numpy.stack([x] * 9), lambda x, i: cg.softmax(x), lambda x, i: cg.group_norm(x, 2),
    lambda x, i: cg.leaky_relu(x) * x.max(axis=1, keepdims=True), lambda x, i: cg.linear(x.T, x), lambda x, i: x @ x.T,
    lambda x, i: cg.matmul(x.reshape(2, 3, 8), x[0].reshape(1, 8, 1)), lambda x, i: cg.numpy.cumsum(x, axis=0),
    lambda x, i: cg.conv1d(x.reshape(1, 6, 8), x.reshape(2, 3, 8).transpose(1, 2, 0), x[0, :2] * 2),
], ids=range(17))
def test_functions_launch_what_the_ledger_says(monkeypatch, step):
    found = cg.ledger(step, cg.spec((6, 8)), cg.spec(3, "int64"), device="H200")
    use_stand_in(monkeypatch)
    x, i = cg.zeros((6, 8)).to("gpu"), cg.tensor(np.zeros(3, np.int64), device="gpu")
    with counting(monkeypatch) as counts:
        step(x, i)
    assert cupy_launches(found) == counts.cupy
    assert kernel_launches(found) == counts.kernels
    assert found.totals["host_waits"] == counts.waits


def test_a_loss_scale_is_as_before():
    policy = cg.mixed("float16")
    optimizer = optim.SGD(lr=0.1, loss_scale=policy.loss_scale)
    step = training(policy(lambda p, x, labels: cg.cross_entropy(x @ p, labels)), optimizer)
    found = cg.ledger(step, cg.spec((8, 4)), cg.spec((2, 8)), cg.spec(2, "int64"), device="H200")
    assert found.totals["host_waits"] == 0 or all(wait.op == "cross_entropy" for wait in found.waits)
    assert policy.loss_scale.value == 65536.0 and optimizer.steps == 0
