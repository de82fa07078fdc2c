"""Settings of the whole process: the precision of float32 products, the limit of workspace, the CPU's backend."""

import threading

import pytest

import convgpu as cg
from convgpu import settings

SETTINGS = {"precision": (cg.set_precision, cg.current_precision, "tf32", "float32"),
            "workspace": (cg.set_workspace_limit, cg.workspace_limit, 1 << 20, 64 << 20),
            "backend": (cg.use_backend, cg.current_backend, "reference", "numpy")}


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    monkeypatch.setattr(settings, "_process", settings.Settings("float32", 64 << 20, "numpy"))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_plain_call_stays_and_a_context_ends(name):
    change, current, other, first = SETTINGS[name]
    assert current() == first
    with pytest.raises(KeyError), change(other):
        assert current() == other
        raise KeyError
    assert current() == first
    change(other)
    with change(first):
        assert current() == first
    assert current() == other


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_hold_for_every_thread(name):
    change, current, other, _ = SETTINGS[name]
    seen = []
    with change(other):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert seen == [other]


def test_what_is_refused():
    with pytest.raises(ValueError, match="set_precision: expected one of .'float32', 'tf32'., got 'bfloat16'"):
        cg.set_precision("bfloat16")
    known = "'cpu', 'numpy', 'reference', 'emulated'(, 'ptx')?"  # the last where CONVGPU_PTX=1 has built it
    with pytest.raises(ValueError, match=f"use_backend: expected one of .{known}., got 'cuda'"):
        cg.use_backend("cuda")
    with pytest.raises(ValueError, match="set_workspace_limit: expected nbytes >= 0, got -1"):
        cg.set_workspace_limit(-1)
    with pytest.raises(TypeError, match="set_workspace_limit: expected nbytes to be an integer, got 1.5"):
        cg.set_workspace_limit(1.5)
    assert cg.workspace_limit() == 64 << 20
