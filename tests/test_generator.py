"""cg.Generator: known answers of Random123, states, streams, distributions, the default, and what takes it."""

from __future__ import annotations

import copy
import math
import pickle
import statistics
import subprocess
import sys
import threading

import fake_cupy
import numpy as np
import pytest
from gpu_device import gpu  # noqa: F401 - a fixture
from native_backends import NATIVE, needs_emulated

import convgpu as cg
from convgpu import backends
from convgpu.dtypes import is_half
from convgpu.facts import FAMILIES
from convgpu.philox import philox, threshold

LAST = 2**64 - 1
FULL = (-2**63, 2**63)


@pytest.fixture(params=[*backends.CPU_BACKENDS, *NATIVE])
def every_backend(request):
    """The test runs once on every backend."""
    with cg.use_backend(request.param):
        yield


def at(*state):
    """A generator at a state."""
    return cg.Generator.from_state(state)


def kept_by(g, shape, rate):
    """The mask that dropout draws from the generator."""
    return g.uniform(shape).numpy() >= threshold(rate) / 2**24


@pytest.mark.parametrize("counter, key, words", [  # kat_vectors of Random123: philox4x32 of 10 rounds
    ((0, 0, 0, 0), (0, 0), (0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8)),
    ((0xffffffff,) * 4, (0xffffffff,) * 2, (0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd)),
    ((0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344), (0xa4093822, 0x299f31d0),
     (0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1))])
def test_known_answers(counter, key, words):
    assert tuple(philox(np.array([counter], np.uint32), key)[0]) == words


def test_integers_of_all_64_bits_are_the_known_words(every_backend):
    drawn = cg.Generator(0).integers(2, *FULL).numpy().view(np.uint64) ^ np.uint64(2**63)  # low is -2^63
    assert [hex(n) for n in drawn] == ["0xe169c58d6627e8d5", "0x9b00dbd8bc57ac4c"]
    assert [hex(n) for n in at(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88).integers(2, *FULL).numpy()
            .view(np.uint64) ^ np.uint64(2**63)] == ["0x94fdcceb" + "d16cfe09", "0x24126ea1" + "5001e420"]


# --- the numbers of every backend are the same


def test_all_numbers_have_the_same_bits_on_every_backend(every_backend):
    by_numpy = backends.load("numpy")
    for case in FAMILIES["random"].cases:
        for dtype in ("float32", "float64", "bfloat16"):
            for problem in FAMILIES["random"].problems(case, dtype, "channels_last"):
                arrays = problem.operands()
                got = problem.run(backends.load(cg.current_backend()), arrays)
                if cg.current_backend() == "reference":  # which is exact where the others round
                    assert problem.error(arrays, got) <= 1
                    continue
                for y, expected in zip(got, problem.run(by_numpy, arrays)):
                    assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
                    nan = y != y
                    assert np.array_equal(nan, expected != expected), (problem.op, case.name, dtype)
                    assert y[~nan].tobytes() == expected[~nan].tobytes(), (problem.op, case.name, dtype)


@pytest.mark.parametrize("threads", [1, 3])
def test_numbers_do_not_depend_on_threads(threads):
    before = cg.get_num_threads()
    cg.set_num_threads(threads)
    try:
        u, z = cg.Generator(9).uniform((5, 40001)), cg.Generator(9).normal((5, 40001), dtype="float64")
        y = cg.dropout(cg.ones((5, 40001)), 0.5, generator=cg.Generator(9))
    finally:
        cg.set_num_threads(before)
    np.testing.assert_array_equal(y, (u.numpy() >= 0.5) * np.float32(2))
    assert z.numpy()[-1, -1] == at(9, 0, (5 * 40001 - 1) // 2).normal(2, dtype="float64").numpy()[0]


def test_numbers_do_not_depend_on_how_they_are_drawn(every_backend):
    whole = cg.Generator(3).uniform(64).numpy()
    g = cg.Generator(3)
    np.testing.assert_array_equal(np.concatenate([g.uniform(n).numpy() for n in (4, 16, 44)]), whole)
    assert g.state.tolist() == [3, 0, 16]
    g.uniform(5)  # a draw takes whole blocks
    assert g.state.tolist() == [3, 0, 18]
    g.normal(5, dtype="float64"), g.integers(3, 0, 2, dtype="int32"), g.normal(0)
    assert g.state.tolist() == [3, 0, 18 + 3 + 2]


# --- distributions: the seeds are fixed, so that these tests always give the same figures


def distance(values, cdf):
    """The statistic of Kolmogorov and Smirnov times the root of n: above 1.95 with a probability of 0.1%."""
    ordered, n = np.sort(values), len(values)
    p = cdf(ordered)
    return max((np.arange(1, n + 1) / n - p).max(), (p - np.arange(n) / n).max()) * math.sqrt(n)


def excess(counts, expected):
    """Chi-square less its mean, in units of its standard deviation."""
    statistic = ((counts - expected)**2 / expected).sum()
    return (statistic - (len(counts) - 1)) / math.sqrt(2 * (len(counts) - 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_and_normal_numbers_are_distributed_so(dtype):
    g, n = cg.Generator(0), 200_000
    u, z = g.uniform(n, dtype=dtype).numpy().astype(float), g.normal(n, dtype=dtype).numpy().astype(float)
    assert u.min() >= 0 and u.max() < 1 and np.isfinite(z).all()
    moments = [(u.mean() - 0.5) * math.sqrt(12), z.mean(), (z**2).mean() - 1, (z**3).mean() / math.sqrt(15),
               ((z**4).mean() - 3) / math.sqrt(96)]  # with a standard deviation of 1 / sqrt(n) or sqrt(2 / n)
    assert max(map(abs, moments)) < 4 * math.sqrt(2 / n)
    normal = np.vectorize(statistics.NormalDist().cdf)
    assert distance(u, lambda x: x) < 1.95 and distance(z[:50_000], normal) < 1.95
    assert abs(excess(np.bincount((u * 256).astype(int), minlength=256), n / 256)) < 4
    pairs = (u[0::2] * 16).astype(int) * 16 + (u[1::2] * 16).astype(int)  # neighbours know nothing of each other
    assert abs(excess(np.bincount(pairs, minlength=256), n / 512)) < 4
    assert max(abs(np.corrcoef(z[:-k], z[k:])[0, 1]) for k in (1, 2, 3, 4)) < 4 / math.sqrt(n)
    assert abs(np.corrcoef(np.abs(z[0::2]), np.abs(z[1::2]))[0, 1]) < 4 / math.sqrt(n / 2)  # of the same radius
    tails = np.array([(np.abs(z) > k).sum() for k in (2, 3, 4)])
    expected = n * np.array([0.0455003, 0.0026998, 6.334e-5])
    assert (np.abs(tails - expected) < 4 * np.sqrt(expected)).all()


def test_integers_and_booleans_are_equally_probable():
    g, n = cg.Generator(2), 100_000
    for low, high in ((0, 10), (-3, 4), (10, 11)):
        drawn = g.integers(n, low, high, dtype="int32").numpy()
        counts = np.bincount(drawn - low)
        assert drawn.min() == low and drawn.max() == high - 1 and drawn.dtype == np.int32
        assert high - low == 1 or abs(excess(counts, n / (high - low))) < 4
    wide = g.integers(n, *FULL).numpy()
    assert wide.dtype == np.int64 and abs(excess(np.bincount((wide >> 58) + 32), n / 64)) < 4
    for p in (0.0, 0.3, 1.0):
        drawn = g.bernoulli((n,), p)
        assert drawn.dtype == bool and abs(drawn.numpy().mean() - p) <= 4 * math.sqrt(p * (1 - p) / n)


def test_permutations_are_equally_probable():
    g = cg.Generator(4)
    counts = np.unique([g.permutation(4).numpy() for _ in range(4800)], axis=0, return_counts=True)[1]
    assert len(counts) == 24 and abs(excess(counts, 200)) < 4
    assert sorted(g.permutation(100).tolist()) == list(range(100)) and g.permutation(0).tolist() == []


def test_bounds_means_and_deviations(every_backend):
    u, z = cg.Generator(6).uniform((40, 5), -3, 5).numpy(), cg.Generator(6).normal((40, 5), 10, 0.5).numpy()
    np.testing.assert_allclose(u, cg.Generator(6).uniform((40, 5)).numpy() * 8 - 3, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(z, cg.Generator(6).normal((40, 5)).numpy() * 0.5 + 10, rtol=1e-6)
    assert cg.Generator(6).normal(3, 2.5, 0).tolist() == [2.5] * 3
    assert cg.Generator(6).uniform(2, 4, 4).tolist() == [4, 4]
    for dtype in ("float16", "bfloat16"):  # rounded once
        for draw in (lambda g, d: g.uniform(99, -3, 5, dtype=d), lambda g, d: g.normal(99, 10, 0.5, dtype=d)):
            got, expected = (draw(cg.Generator(6), d).numpy().astype(dtype) for d in (dtype, "float32"))
            if cg.current_backend() == "reference":  # which rounds from float64
                np.testing.assert_allclose(got.astype(float), expected.astype(float), rtol=2e-2)
            else:
                assert got.tobytes() == expected.tobytes()


# --- states


def test_states_are_tensors_that_are_set_and_split(every_backend):
    g = cg.Generator(5)
    assert isinstance(g.state, cg.Tensor) and g.state.dtype == np.uint64 and g.state.tolist() == [5, 0, 0]
    kept, first = g.state_dict(), g.uniform(10).numpy()
    assert kept["state"].tolist() == [5, 0, 0]  # it has not moved on with the generator
    g.load_state_dict(kept)
    np.testing.assert_array_equal(g.uniform(10), first)
    a, b = cg.Generator(5).spawn(2)
    assert len({tuple(x.uniform(4).tolist())
                for x in (a, b, cg.Generator(5), cg.Generator(6), cg.Generator(5, stream=1))}) == 5
    parent = cg.Generator(5)
    assert [x.state.tolist()[2] for x in parent.spawn(2)] == [0, 0] and parent.state.tolist() == [5, 0, 2]
    assert cg.Generator(5).spawn(3)[1].state.tolist()[:2] == b.state.tolist()[:2]
    g.state = (1, 2, LAST)  # the counter goes around
    assert g.uniform(8).shape == (8,) and g.state.tolist() == [1, 2, 1]
    g.state = np.array([1, 2, 3], np.uint64)
    g.advance(LAST)
    assert g.state.tolist() == [1, 2, 2]


def test_advance_skips_what_a_draw_would_take():
    g, h = cg.Generator(3), cg.Generator(3)
    g.uniform(17)
    h.advance(5)
    assert g.state.tolist() == h.state.tolist() == [3, 0, 5]
    for bad, message in ((-1, "expected blocks >= 0, got -1"), (1.5, "expected blocks to be an integer, got 1.5")):
        with pytest.raises((TypeError, ValueError), match=f"Generator.advance: {message}"):
            h.advance(bad)


def test_a_copy_and_a_pickle_go_on_with_the_same_numbers():
    g = cg.Generator(3, stream=2)
    g.uniform(5)
    for twin in (copy.copy(g), copy.deepcopy({"generator": g})["generator"], pickle.loads(pickle.dumps(g))):
        before = g.state
        assert twin.state.tolist() == before.tolist()
        np.testing.assert_array_equal(twin.uniform(7), g.uniform(7))
        g.state = before
        assert twin.state.tolist() != before.tolist()  # and its state is its own


def test_threads_share_a_generator_without_drawing_a_number_twice():
    g, drawn = cg.Generator(1), []
    workers = [threading.Thread(target=lambda: drawn.extend(g.integers(4, *FULL).tolist() for _ in range(50)))
               for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({n for row in drawn for n in row}) == 800 and g.state.tolist() == [1, 0, 400]


def test_errors():
    for bad in (1.5, "1", True):
        with pytest.raises(TypeError, match="Generator: expected seed to be an integer"):
            cg.Generator(bad)
        with pytest.raises(TypeError, match="seed: expected n to be an integer"):
            cg.seed(bad)
    with pytest.raises(ValueError, match=r"Generator: expected seed in \[0, 2\^64\), got -1"):
        cg.Generator(-1)
    with pytest.raises(ValueError, match=r"seed: expected n in \[0, 2\^64\), got -1"):
        cg.seed(-1)
    for bad in ((1, 2), (1, 2, -1), (1, 2, 2**64), (1, 2, 0.5), np.zeros(3), cg.tensor([1, 2, 3])):
        with pytest.raises(ValueError, match="Generator: expected a state of three integers"):
            cg.Generator(0).state = bad
    with pytest.raises(TypeError, match="dropout: expected generator=, a Generator, a numpy.random.Generator"):
        cg.dropout([1.0], 0.5, generator="x")
    g = cg.Generator(0)
    for call, message in (
            (lambda: g.uniform(2, 3, 1), "Generator.uniform: expected finite bounds, low <= high, got low=3.0, high=1"),
            (lambda: g.uniform(2, 0, math.inf), "expected finite bounds"),
            (lambda: cg.uniform(2, math.nan), "uniform: expected finite bounds, low <= high, got low=nan, high=1"),
            (lambda: g.normal(2, 0, -1), "Generator.normal: expected a finite mean and a finite std of at least 0"),
            (lambda: g.normal(2, math.inf), "expected a finite mean"), (lambda: g.bernoulli(2, 1.5), r"p in \[0, 1\]"),
            (lambda: g.integers(2, 5, 5), "expected -9223372036854775808 <= low < high"),
            (lambda: g.integers(2, 0, 2**31 + 1, dtype="int32"), "<= 2147483648 for int32, got low=0, high=2147483649"),
            (lambda: g.uniform((2, -1)), "shape: expected sizes >= 0"), (lambda: g.permutation(-1), "expected n >= 0")):
        with pytest.raises(ValueError, match=message):
            call()
    for call, message in (
            (lambda: g.uniform(2, dtype="int32"), "Generator.uniform: expected dtype float16, .*, got int32"),
            (lambda: g.normal(2, dtype="bool"), "Generator.normal: expected dtype float16, .*, got bool"),
            (lambda: g.integers(2, 0, 3, dtype="uint8"), "integers: expected dtype int32 or int64, got uint8"),
            (lambda: g.integers(2, 0.5, 3), "Generator.integers: expected low to be an integer, got 0.5")):
        with pytest.raises(TypeError, match=message):
            call()
    assert g.state.tolist() == [0, 0, 0]  # no failed call has moved it


# --- the default generator


def test_the_default_generator_is_seeded():
    cg.seed(11)
    x, y = cg.randn(3), cg.dropout(cg.ones(50), 0.5)
    assert (cg.randn(3).numpy() != x.numpy()).all()
    cg.seed(11)
    g = cg.Generator(11)
    np.testing.assert_array_equal(cg.randn(3), g.normal(3))
    np.testing.assert_array_equal(x, cg.Generator(11).normal(3))
    np.testing.assert_array_equal(cg.dropout(cg.ones(50), 0.5), cg.dropout(cg.ones(50), 0.5, generator=g))
    np.testing.assert_array_equal(y, cg.dropout(cg.ones(50), 0.5, generator=at(11, 0, 1)))
    kept = cg.default_generator().state_dict()
    first = cg.he_normal((3, 4)).numpy(), cg.glorot_uniform((3, 4)).numpy()
    cg.default_generator().load_state_dict(kept)
    assert all((a == b.numpy()).all() for a, b in zip(first, (cg.he_normal((3, 4)), cg.glorot_uniform((3, 4)))))
    assert cg.default_generator("gpu").state.tolist() == [11, 1, 0]


def test_each_thread_has_default_generators_of_its_own():
    def states(device="cpu"):
        found = []
        worker = threading.Thread(target=lambda: found.append(cg.default_generator(device).state.tolist()))
        worker.start()
        worker.join()
        return found[0]

    cg.seed(5)
    cg.randn(8)
    assert (states(), states("gpu"), states()) == ([5, 2, 0], [5, 5, 0], [5, 6, 0])
    assert cg.default_generator().state.tolist() == [5, 0, 2]  # no other thread has moved it
    worker = threading.Thread(target=cg.seed, args=(8,))
    worker.start()
    worker.join()
    assert cg.default_generator().state.tolist() == [8, 2, 0]


def test_without_a_seed_a_process_draws_the_same_numbers_each_time():
    program = ("import threading, convgpu as cg\n"
               "worker = threading.Thread(target=cg.randn, args=(2,))\nworker.start()\nworker.join()\n"
               "print(str(cg.default_generator()), cg.randn(2).tolist())")
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == f"Generator(seed=0, stream=0, counter=0) {cg.Generator(0).normal(2).tolist()}"


# --- what takes a generator


def test_functions_take_it_as_their_generator(every_backend):
    g = cg.Generator(1)
    x = cg.randn((3, 4), generator=g)
    assert not np.array_equal(x, cg.randn((3, 4), generator=g))
    np.testing.assert_array_equal(x, cg.randn((3, 4), generator=cg.Generator(1)))
    np.testing.assert_array_equal(x, cg.randn((3, 4), generator=1))  # a number is a new generator
    np.testing.assert_array_equal(cg.uniform((3, 4), -2, 3, generator=1), cg.Generator(1).uniform((3, 4), -2, 3))
    np.testing.assert_array_equal(cg.dropout(x, 0.4, generator=3), cg.dropout(x, 0.4, generator=cg.Generator(3)))


def test_remat_draws_the_same_mask_again():
    x = cg.ones((64,), requires_grad=True)
    g, h = cg.Generator(4), cg.Generator(4)
    plain = cg.grad((cg.dropout(x * 2, 0.5, generator=g) * x).sum(), x)
    again = cg.grad(cg.remat(lambda t: (cg.dropout(t * 2, 0.5, generator=h) * t).sum())(x), x)
    np.testing.assert_array_equal(plain, again)
    assert g.state.tolist() == h.state.tolist() == [4, 0, 16]
    cg.seed(4)
    default = cg.grad(cg.remat(lambda t: (cg.dropout(t * 2, 0.5) * t).sum())(x), x)
    np.testing.assert_array_equal(plain, default)
    assert cg.default_generator().state.tolist() == [4, 0, 16]


# --- dropout as an op: the mask is made on the operand's device, and again for the gradient


def test_the_mask_of_dropout_is_that_of_uniform_numbers(every_backend):
    for shape, rate, state in (((9, 33), 0.3, (3, 0, 0)), ((70001,), 0.75, (LAST, 5, LAST - 6)), ((), 0.5, (1, 2, 3))):
        g, h = at(*state), at(*state)
        y = cg.dropout(cg.ones(shape), rate, generator=g)
        expected = kept_by(h, shape, rate) * np.float32(1 / (1 - rate))
        assert y.numpy().tobytes() == np.asarray(expected, np.float32).tobytes()
        assert g.state.tolist() == h.state.tolist()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dropout_is_rounded_once(every_backend, dtype):
    x = cg.randn((200,), generator=0).astype(dtype)
    kept = kept_by(cg.Generator(2), 200, 0.3)
    wide = x.numpy().astype("float64" if dtype == "float64" else "float32")
    expected = (wide * (kept * wide.dtype.type(1 / 0.7))).astype(x.dtype)
    y = cg.dropout(x, 0.3, generator=cg.Generator(2)).numpy()
    one_ulp = 0 if is_half(x.dtype) else 2 * np.finfo(wide.dtype).eps  # the reference computes more exactly
    np.testing.assert_allclose(y.astype(wide.dtype), expected.astype(wide.dtype), rtol=one_ulp, atol=0)


def test_dropout_of_views_counts_in_row_major_order(every_backend):
    x = np.random.default_rng(0).standard_normal((12, 10)).astype("float32")
    for view in (x.T, x[::2, 1:], np.broadcast_to(x[:, :1], (12, 7)), x[:0]):
        y = cg.dropout(view, 0.5, generator=cg.Generator(3))
        np.testing.assert_array_equal(y, cg.dropout(view.copy(), 0.5, generator=cg.Generator(3)))


def test_dropout_keeps_no_mask_and_makes_it_again(every_backend):
    x = cg.randn((50,), generator=0).requires_grad_()
    g = at(1, 2, 40)
    y = cg.dropout(x, 0.5, generator=g)
    saved = y.node.saved
    assert set(saved) == {"state", "rate"} and saved["state"][0].tolist() == [1, 2, 40]
    cg.dropout(x, 0.5, generator=g)  # moves on before the gradient is taken
    assert g.state.tolist() == [1, 2, 66]
    grad = cg.grad(y, x, cg.ones(50))
    np.testing.assert_array_equal(grad, (y.numpy() != 0) * np.float32(2))
    assert g.state.tolist() == [1, 2, 66]


def test_dropout_has_derivatives_of_higher_order(every_backend):
    x = cg.randn((3, 5), generator=0, dtype="float64")
    cg.check_grad(lambda t: cg.dropout(t, 0.4, generator=cg.Generator(5))**3, x, order=2)


def test_dropout_of_nan_and_infinity_and_at_a_rate_of_one(every_backend):
    kept = kept_by(cg.Generator(0), 64, 0.5)
    y = cg.dropout(np.full(64, np.inf, np.float32), 0.5, generator=cg.Generator(0)).numpy()
    np.testing.assert_array_equal(y, np.where(kept, np.inf, np.nan))
    assert np.isnan(cg.dropout(np.full(64, np.nan), 0.5, generator=cg.Generator(0)).numpy()).all()
    np.testing.assert_array_equal(cg.dropout(np.ones(9), 1.0, generator=cg.Generator(0)), np.zeros(9))


# --- on the GPU


def test_a_state_goes_to_the_gpu_and_numbers_are_drawn_there(gpu):  # noqa: F811
    g, h = cg.Generator(3, device="gpu"), cg.Generator(3)
    assert g.device == g.state.device == "gpu" and repr(g) == "Generator(seed=3, stream=0, counter=0, device='gpu')"
    draws = [lambda g: g.normal((5, 3)), lambda g: g.uniform(9, -1, 1, dtype="float64"),
             lambda g: g.integers(7, -3, 90), lambda g: g.normal(6, dtype="bfloat16"), lambda g: g.permutation(11),
             lambda g: g.bernoulli(8, 0.3),
             lambda g: g.spawn(2)[1].uniform(3), lambda g: cg.randn((2, 3), generator=g),
             lambda g: cg.he_normal((3, 4), generator=g),
             lambda g: cg.dropout(cg.ones((4, 5), device=g.device), 0.4, generator=g)]
    for draw in draws:
        fake_cupy.device.waits.clear()
        fake_cupy.device.copies.clear()
        drawn = draw(g)
        assert not fake_cupy.device.waits and not fake_cupy.device.copies
        assert drawn.device == "gpu" and drawn.numpy().tobytes() == draw(h).numpy().tobytes()
    assert g.state.tolist() == h.state.tolist()
    twin = pickle.loads(pickle.dumps(g))
    assert twin.device == "gpu" and cg.Generator.from_state(g.state).device == "gpu"
    g.advance(4)
    h.load_state_dict(twin.state_dict())
    assert h.device == "gpu" and g.to("cpu") is g and g.device == "cpu"
    assert g.state.tolist()[2] == h.state.tolist()[2] + 4


def test_a_generator_follows_to_the_gpu_and_does_not_come_back_by_itself(gpu):  # noqa: F811
    g = cg.Generator(3)
    x = cg.dropout(cg.ones(9, device="gpu"), 0.5, generator=g)
    assert (x.device, g.device, fake_cupy.device.waits) == ("gpu", "gpu", [])
    assert cg.randn(3, generator=g).device == "gpu" and cg.randn(3, generator=4).device == "cpu"
    for draw in (lambda: cg.dropout(cg.ones(9), 0.5, generator=g), lambda: cg.randn(3, generator=g, device="cpu")):
        with pytest.raises(TypeError, match="expected a generator on the CPU, .*got one on the GPU; generator.to"):
            draw()
    assert g.to("cpu").state.tolist() == [3, 0, 4]
    cg.seed(8)
    assert (cg.randn(3).device, cg.randn(3, device="gpu").device) == ("cpu", "gpu")
    assert (cg.default_generator().device, cg.default_generator("gpu").device) == ("cpu", "gpu")
    assert [cg.default_generator(where).state.tolist() for where in ("cpu", "gpu")] == [[8, 0, 1], [8, 1, 1]]


@needs_emulated
def test_a_ledger_counts_draws_and_leaves_generators_as_they_were():
    g, device = cg.Generator(3), "gpu"
    host = np.random.default_rng(0)
    before = host.bit_generator.state["state"]
    cg.seed(1)

    def step(x):
        y = cg.dropout(x, 0.5, generator=g) + cg.randn((64, 32), generator=g) + cg.uniform((64, 32), device=device)
        return cg.dropout(cg.dropout(y, 0.5), 0.5, generator=host)

    found = cg.ledger(step, cg.spec((64, 32)), device="H200")
    rows = {row.kernel: row for row in found.rows}
    kernels = ("dropout_vectors", "normal_draw_vectors", "uniform_draw_vectors")
    assert [rows[kernel].launches for kernel in kernels] == [2, 1, 1] and found.totals["host_waits"] == 0
    assert rows["dropout_vectors"].read_bytes == 2 * (64 * 32 * 4 + 24)
    copied = rows["copy from host"]
    assert (copied.op, copied.written_bytes) == ("dropout", 64 * 32 * 4)
    assert g.state.tolist() == [3, 0, 0] and host.bit_generator.state["state"] == before
    assert cg.default_generator("gpu").state.tolist() == [1, 1, 0] and cg.default_generator("gpu").device == "cpu"


@needs_emulated
def test_explaining_leaves_a_generator_as_it_was():
    g = cg.Generator(3)
    assert cg.explain("dropout", (64, 32), 0.5, generator=g, device="H200").kernel == "dropout_vectors"
    assert cg.explain("uniform", (64, 32), dtype="bfloat16", device="H200").settings["vector"] == "8"
    with cg.use_backend("numpy"):
        assert "Philox in integers" in cg.explain("normal", (64, 32), device="cpu").plan
    assert str(cg.explain("normal", (64, 32), device="H200")).startswith("normal of (64, 32) in float32 on H200")
    assert (g.state.tolist(), g.device) == ([3, 0, 0], "cpu")
    host = np.random.default_rng(0)
    with pytest.raises(ValueError, match="got 'dropout', which is made of NumPy's"):  # a product with a mask
        cg.explain("dropout", (8, 3), 0.5, generator=host, device="H200")
    assert host.random() == np.random.default_rng(0).random()
