"""cg.Generator: known answers of Random123, states, streams, and what takes it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from native_backends import NATIVE

import convgpu as cg
from convgpu import autograd, backends
from convgpu.dtypes import is_half
from convgpu.generator import philox


@pytest.fixture(params=[*backends.CPU_BACKENDS, *NATIVE])
def every_backend(request):
    """The test runs once on every backend."""
    with cg.use_backend(request.param):
        yield


@pytest.mark.parametrize("counter, key, words", [  # kat_vectors of Random123: philox4x32 of 10 rounds
    ((0, 0, 0, 0), (0, 0), (0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8)),
    ((0xffffffff,) * 4, (0xffffffff,) * 2, (0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd)),
    ((0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344), (0xa4093822, 0x299f31d0),
     (0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1))])
def test_known_answers(counter, key, words):
    assert tuple(philox(np.array([counter], np.uint32), key)[0]) == words


def test_numbers_do_not_depend_on_how_they_are_drawn():
    whole = cg.Generator(3).random(64, np.float32)
    g = cg.Generator(3)
    np.testing.assert_array_equal(np.concatenate([g.random(n, np.float32) for n in (4, 16, 44)]), whole)
    assert g.state == (3, 0, 16)
    g.random(5, np.float32)  # a draw takes whole blocks
    assert g.state == (3, 0, 18)


def test_uniform_and_normal_numbers_have_their_moments():
    g = cg.Generator(0)
    for dtype in (np.float32, np.float64):
        u, z = g.random((200, 1000), dtype), g.standard_normal((200, 999), dtype)
        assert u.dtype == z.dtype == dtype and u.min() >= 0 and u.max() < 1 and z.shape == (200, 999)
        assert abs(u.mean() - 0.5) < 0.003 and abs(u.var() - 1 / 12) < 0.001
        assert abs(z.mean()) < 0.01 and abs(z.var() - 1) < 0.02 and np.isfinite(z).all() and np.abs(z).max() > 4


def test_states_are_set_and_split():
    g = cg.Generator(5)
    kept, first = g.state_dict(), g.random(10)
    g.load_state_dict(kept)
    np.testing.assert_array_equal(g.random(10), first)
    a, b = cg.Generator(5).spawn(2)
    assert len({tuple(x.random(4)) for x in (a, b, cg.Generator(5), cg.Generator(6), cg.Generator(5, stream=1))}) == 5
    assert [x.state for x in cg.Generator(5).spawn(2)] == [(*x.state[:2], 0) for x in (a, b)]
    g.state = (1, 2, 2**64 - 1)  # the counter goes around
    assert g.random(8, np.float32).shape == (8,) and g.state == (1, 2, 1)


def test_functions_take_it_as_their_generator():
    g = cg.Generator(1)
    x = cg.randn((3, 4), generator=g)
    assert not np.array_equal(x, cg.randn((3, 4), generator=g))
    np.testing.assert_array_equal(x, cg.randn((3, 4), generator=cg.Generator(1)))
    y = cg.dropout(cg.ones((100, 100)), 0.25, generator=cg.Generator(2))
    kept = cg.Generator(2).keeps((100, 100), 0.25)
    np.testing.assert_array_equal(y.numpy() != 0, kept)
    assert abs(kept.mean() - 0.75) < 0.02
    assert cg.Generator(2).keeps(9, 0).all() and not cg.Generator(2).keeps(9, 1).any()


def test_remat_draws_the_same_mask_again():
    x = cg.ones((64,), requires_grad=True)
    g, h = cg.Generator(4), cg.Generator(4)
    plain = cg.grad((cg.dropout(x * 2, 0.5, generator=g) * x).sum(), x)
    again = cg.grad(cg.remat(lambda t: (cg.dropout(t * 2, 0.5, generator=h) * t).sum())(x), x)
    np.testing.assert_array_equal(plain, again)
    assert g.state == h.state


def test_a_copy_and_a_pickle_go_on_with_the_same_numbers():
    g = cg.Generator(3, stream=2)
    g.random(5)
    for twin in (copy.copy(g), copy.deepcopy({"generator": g})["generator"], pickle.loads(pickle.dumps(g))):
        before = g.state
        assert twin.state == before
        np.testing.assert_array_equal(twin.random(7), g.random(7))
        g.state = before
        assert twin.state != before  # and its state is its own


def test_errors():
    for bad in (1.5, "1", True):
        with pytest.raises(TypeError, match="Generator: expected seed to be an integer"):
            cg.Generator(bad)
    with pytest.raises(ValueError, match=r"Generator: expected seed in \[0, 2\^64\), got -1"):
        cg.Generator(-1)
    with pytest.raises(ValueError, match="Generator: expected a state of three integers"):
        cg.Generator(0).state = (1, 2)
    with pytest.raises(TypeError, match="dropout: expected generator=, a Generator, a numpy.random.Generator"):
        cg.dropout([1.0], 0.5, generator="x")


# --- dropout as an op: the mask is made on the operand's device, and again for the gradient


def test_the_mask_of_dropout_is_that_of_keeps_on_every_backend(every_backend):
    last = 2**64 - 1
    for shape, rate, state in (((9, 33), 0.3, (3, 0, 0)), ((70001,), 0.75, (last, 5, last - 6)), ((), 0.5, (1, 2, 3))):
        g, h = cg.Generator(0), cg.Generator(0)
        g.state = h.state = state
        y = cg.dropout(cg.ones(shape), rate, generator=g)
        expected = h.keeps(shape, rate) * np.float32(1 / (1 - rate))
        assert y.numpy().tobytes() == np.asarray(expected, np.float32).tobytes()
        assert g.state == h.state


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dropout_is_rounded_once(every_backend, dtype):
    x = cg.randn((200,), generator=0).astype(dtype)
    kept = cg.Generator(2).keeps(200, 0.3)
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


def test_dropout_keeps_no_mask_and_makes_it_again(monkeypatch):
    x = cg.randn((50,), generator=0).requires_grad_()
    calls, run = [], autograd.run_on_backend
    monkeypatch.setattr(autograd, "run_on_backend", lambda op, *rest: calls.append((op, rest[1])) or run(op, *rest))
    g = cg.Generator(1, stream=2)
    g.state = (1, 2, 40)
    y = cg.dropout(x, 0.5, generator=g)
    cg.dropout(x, 0.5, generator=g)  # moves on before the gradient is taken
    grad = cg.grad(y, x, cg.ones(50))
    assert calls[0] == calls[2] == ("dropout", ((1, 2, 40), 0.5)) and calls[1] == ("dropout", ((1, 2, 53), 0.5))
    np.testing.assert_array_equal(grad, (y.numpy() != 0) * np.float32(2))


def test_dropout_has_derivatives_of_higher_order(every_backend):
    x = cg.randn((3, 5), generator=0, dtype="float64")
    cg.check_grad(lambda t: cg.dropout(t, 0.4, generator=cg.Generator(5))**3, x, order=2)


def test_dropout_of_nan_and_infinity_and_at_a_rate_of_one(every_backend):
    kept = cg.Generator(0).keeps(64, 0.5)
    y = cg.dropout(np.full(64, np.inf, np.float32), 0.5, generator=cg.Generator(0)).numpy()
    np.testing.assert_array_equal(y, np.where(kept, np.inf, np.nan))
    assert np.isnan(cg.dropout(np.full(64, np.nan), 0.5, generator=cg.Generator(0)).numpy()).all()
    np.testing.assert_array_equal(cg.dropout(np.ones(9), 1.0, generator=cg.Generator(0)), np.zeros(9))


@pytest.mark.parametrize("threads", [1, 3])
def test_the_bits_of_dropout_do_not_depend_on_threads(threads):
    before = cg.get_num_threads()
    cg.set_num_threads(threads)
    try:
        y = cg.dropout(cg.ones((5, 40001)), 0.5, generator=cg.Generator(9)).numpy()
    finally:
        cg.set_num_threads(before)
    np.testing.assert_array_equal(y, cg.Generator(9).keeps((5, 40001), 0.5) * np.float32(2))


def test_advance_skips_what_a_draw_would_take():
    g, h = cg.Generator(3), cg.Generator(3)
    g.random(17, np.float32)
    assert h.advance(5) == (3, 0, 0) and g.state == h.state
    for bad, message in ((-1, "expected blocks >= 0, got -1"), (1.5, "expected blocks to be an integer, got 1.5")):
        with pytest.raises((TypeError, ValueError), match=f"Generator.advance: {message}"):
            h.advance(bad)
