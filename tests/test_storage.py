"""`convgpu.save` and `convgpu.load`: what goes in comes out, files stay whole, and strangers' files are checked."""

import json
import math
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from optional import require

import convgpu as cg
from convgpu import storage

require("safetensors", "ml_dtypes")
import ml_dtypes  # noqa: E402 - where it is
import safetensors.numpy  # noqa: E402

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = ["float16", "bfloat16", "float32", "float64", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32",
          "int64", "uint64"]


def same(a: object, b: object) -> bool:
    """Whether two trees have the same types, keys, numbers, dtypes and bits; two NaNs are the same."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, cg.Tensor):
        return same(a.numpy(), b.numpy())
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return a == b or (a != a and b != b)


def round_trip(tree: object, path: Path, **options: object) -> object:
    cg.save(path, tree)
    return cg.load(path, **options)


TREES = {
    "dotted keys": {"a.b": cg.tensor([1.0]), "a": {"b": cg.tensor([2.0])}, "": {"": cg.tensor([3.0])}},
    "a name that looks like a number of ours": {"a.b": cg.ones(1), "a": {"b": cg.zeros(1)}, "a.b#2": cg.ones(2)},
    "the header's own name": {"__metadata__": cg.ones(2)},
    "keys": {3: cg.ones(2), "3": cg.zeros(2), -1: {}, "ä\n\"": cg.ones(())},
    "empty": {},
    "empty parts": [{}, [], (), cg.zeros((0, 3))],
    "lists and tuples": [cg.ones(2), (cg.zeros(3), [1, 2.5, None, True, "text"]), ()],
    "numbers": {"inf": math.inf, "-inf": -math.inf, "nan": math.nan, "zero": -0.0, "tiny": 5e-324, "third": 1 / 3,
                "large": 2**200, "false": False},
    "one tensor": cg.tensor([1.0, 2.0]),
    "one number": 3,
    "arrays and tensors": {"t": cg.ones(3), "a": np.arange(3), "no axes": np.array(2.0), "scalar": cg.tensor(2)},
}


@pytest.mark.parametrize("name", TREES)
def test_the_structure_comes_back(name, tmp_path):
    assert same(round_trip(TREES[name], tmp_path / "f"), TREES[name])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_bits(dtype, tmp_path):
    kind = BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)
    bits = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, (5, 3, kind.itemsize), np.uint8)
    array = np.ascontiguousarray(bits).view(kind)[..., 0]
    loaded = round_trip({"array": array, "tensor": cg.tensor(array)}, tmp_path / "f")
    assert same(loaded["array"], array.copy()) and same(loaded["tensor"], cg.tensor(array))


@pytest.mark.parametrize("name", ["every other", "turned", "transposed", "broadcast", "swapped bytes"])
def test_views_are_saved_as_what_they_show(name, tmp_path):
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    view = {"every other": whole[::2, ::3], "turned": whole[::-1], "transposed": whole.T,
            "broadcast": np.broadcast_to(whole[0], (3, 6)), "swapped bytes": whole.astype(">f4")}[name]
    assert same(round_trip([view], tmp_path / "f"), [np.array(view, np.float32, order="C")])


def test_loaded_tensors_are_leaves_that_do_not_change(tmp_path):
    w = round_trip({"w": cg.tensor([1.0, 2.0], requires_grad=True)}, tmp_path / "f")["w"]
    assert not w.requires_grad and not w.array.flags.writeable
    loss, grads = cg.value_and_grad(lambda p: (p["w"] * p["w"]).sum())({"w": w})
    assert grads["w"].tolist() == [2.0, 4.0]


@pytest.mark.parametrize("make", [lambda: cg.optim.SGD(lr=0.1, momentum=0.9), lambda: cg.optim.Adam(lr=0.1),
                                  lambda: cg.optim.Adam(lr=0.1, loss_scale=cg.optim.LossScale(8.0))])
def test_a_run_goes_on_to_the_same_bits(make, tmp_path):
    """Parameters, optimizer and generator go through one file in the middle of a run."""
    def steps(params, optimizer, generator, n):
        for _ in range(n):
            noise = generator.uniform(3)
            params = optimizer.step(params, cg.tree.map(lambda p, noise=noise: p * noise, params))
        return params

    start = {"layer": {"w": cg.tensor([1.0, -2.0, 3.0])}, "bias": [cg.tensor([0.5, 0.5, 0.5])]}
    whole = steps(start, make(), cg.Generator(3), 7)
    optimizer, generator = make(), cg.Generator(3)
    params = steps(start, optimizer, generator, 3)
    cg.save(tmp_path / "f", {"params": params, "optimizer": optimizer.state_dict(),
                             "generator": generator.state_dict()}, {"step": 3})
    saved, optimizer, generator = cg.load(tmp_path / "f"), make(), cg.Generator(0)
    optimizer.load_state_dict(saved["optimizer"])
    generator.load_state_dict(saved["generator"])
    assert cg.load_metadata(tmp_path / "f") == {"step": 3}
    assert same(steps(saved["params"], optimizer, generator, 4), whole)


def test_the_file_is_the_same_every_time_and_an_ordinary_one(tmp_path):
    tree, metadata = {"conv1": {"w": cg.ones((3, 3))}, "n": 5}, {name: [0.1, None, {"k": "v"}] for name in "pqrstu"}
    files = []
    for _ in range(5):
        cg.save(tmp_path / "f", tree, metadata)
        files.append((tmp_path / "f").read_bytes())
    assert len(set(files)) == 1 and [path.name for path in tmp_path.iterdir()] == ["f"]
    assert cg.load_metadata(tmp_path / "f") == metadata
    others = safetensors.numpy.load_file(tmp_path / "f")
    assert others.keys() == {"conv1.w"} and (others["conv1.w"] == 1).all()


def test_files_of_other_programs(tmp_path):
    safetensors.numpy.save_file({"conv.weight": np.ones((2, 3), np.float16)}, tmp_path / "f", {"format": "pt"})
    loaded = cg.load(tmp_path / "f")
    assert same(loaded, {"conv.weight": cg.ones((2, 3), dtype="float16")})
    assert cg.load_metadata(tmp_path / "f") == {"format": "pt"}
    assert same(cg.load(tmp_path / "f", like={"conv.weight": cg.zeros((2, 3), dtype="float16")}), loaded)


LIKE = {"w": cg.zeros((2, 3)), "rest": [cg.zeros(1), 5], "pair": (cg.zeros(2),)}
UNLIKE = {
    "a shape": (LIKE | {"w": cg.zeros((3, 2))}, "expected float32 of (3, 2) at ['w'], got float32 of (2, 3)"),
    "a dtype": (LIKE | {"w": cg.zeros((2, 3), dtype="float64")}, "expected float64 of (2, 3) at ['w']"),
    "a key more": (LIKE | {"v": 1}, "expected the keys ['pair', 'rest', 'v', 'w'], got ['pair', 'rest', 'w']"),
    "a length": (LIKE | {"rest": [cg.zeros(1)]}, "expected a list of 1 at ['rest'], got a list of 2"),
    "a tuple": (LIKE | {"rest": (cg.zeros(1), 5)}, "expected a tuple of 2 at ['rest'], got a list of 2"),
    "a dict": (LIKE | {"rest": {}}, "expected the keys [] at ['rest'], got a list"),
    "a tensor": (LIKE | {"rest": [cg.zeros(1), cg.zeros(())]}, "float32 of () at ['rest'][1], got a value"),
    "a value": (LIKE | {"w": 3}, "expected a value such as 3 at ['w'], got a tensor"),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_a_file_unlike_what_is_wanted_is_refused_before_it_is_read(name, tmp_path, monkeypatch):
    cg.save(tmp_path / "f", LIKE)
    monkeypatch.setattr(storage, "read", lambda *_: pytest.fail("an array was read"))
    like, message = UNLIKE[name]
    with pytest.raises(ValueError) as caught:
        cg.load(tmp_path / "f", like=like)
    assert message in str(caught.value)


class Thing:
    def state_dict(self):
        return {}


WRONG = {
    "an object": ({"a": [Thing()]}, "got Thing at ['a'][0]; save what its state_dict() returns"),
    "a set": ({"a": {1, 2}}, "got set at ['a']"),
    "a complex number": ([1j], "got complex at [0]"),
    "complex numbers": ([np.ones(2, complex)], "expected an array of real numbers or bool, got complex128 at [0]"),
    "objects": ([np.array([None])], "got object at [0]"),
    "text": ([np.array(["a"])], "got <U1 at [0]"),
    "a key": ({(1, 2): 3}, "expected strings or integers as keys, got (1, 2)"),
    "a NumPy scalar": ({"a": np.float32(3)}, "got float32 at ['a']"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_saved_leaves_the_file_of_before(name, tmp_path):
    cg.save(tmp_path / "f", {"kept": cg.ones(2)})
    before = (tmp_path / "f").read_bytes()
    tree, message = WRONG[name]
    with pytest.raises(TypeError) as caught:
        cg.save(tmp_path / "f", tree)
    assert message in str(caught.value)
    assert (tmp_path / "f").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_tree_without_end_is_refused(tmp_path):
    tree: list = []
    tree.append(tree)
    with pytest.raises(ValueError, match="at most 100 levels"):
        cg.save(tmp_path / "f", tree)


@pytest.mark.parametrize("metadata", [3, {1: 2}, {"a": {1, 2}}, {"a": cg.ones(1)}])
def test_metadata_that_are_not_json(metadata, tmp_path):
    with pytest.raises(TypeError, match="save: expected metadata"):
        cg.save(tmp_path / "f", {}, metadata)
    assert not (tmp_path / "f").exists()


def stranger(path: Path, described: object, **more: object) -> None:
    """A file of one array whose entry says what a stranger wants."""
    safetensors.numpy.save_file({"w": np.ones(2, np.float32)}, path,
                                {storage.ENTRY: described if isinstance(described, str) else json.dumps(described)})


STRANGE = [
    "no json", [], {}, {"tree": None}, {"tree": ["tensor", "v"]}, {"tree": ["tensor", ["w"]]},
    {"tree": ["object", "w"]}, {"tree": ["dict", {"a": 1}]}, {"tree": ["dict", [["a"]]]},
    {"tree": ["dict", [[None, ["value", 1]]]]},
    {"tree": ["list", "w"]}, {"tree": ["value", [1]]}, {"tree": ["float", "1e999"]}, {"tree": ["float", ["nan"]]},
    {"tree": ["value", 1], "metadata": 5}, "[" * 100_000,
]


@pytest.mark.parametrize("number", range(len(STRANGE)))
def test_structures_of_strangers(number, tmp_path):
    stranger(tmp_path / "f", STRANGE[number])
    with pytest.raises(ValueError, match="expected weights of convgpu, got"):
        cg.load(tmp_path / "f")


def test_a_structure_that_is_too_deep(tmp_path):
    node: list = ["value", 1]
    for _ in range(300):
        node = ["list", [node]]
    stranger(tmp_path / "f", {"tree": node})
    with pytest.raises(ValueError, match="nested too deep"):
        cg.load(tmp_path / "f")


def test_sizes_are_checked_before_memory_is_taken(tmp_path):
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "f").write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    (tmp_path / "g").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    (tmp_path / "h").write_bytes(b"")
    tracemalloc.start()
    for name in "fgh":
        with pytest.raises(ValueError, match="damaged"):
            cg.load(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    with pytest.raises(FileNotFoundError, match="no such file"):
        cg.load(tmp_path / "none")


@pytest.mark.parametrize("cut", [1, 100, 400])
def test_a_damaged_file(cut, tmp_path):
    cg.save(tmp_path / "f", {"w": cg.ones(100)})
    (tmp_path / "f").write_bytes((tmp_path / "f").read_bytes()[:-cut])
    with pytest.raises(ValueError, match="damaged"):
        cg.load(tmp_path / "f")


def test_a_full_disk(tmp_path):
    """The error names the file, the file of before stays, and nothing lies beside it."""
    cg.save(tmp_path / "f", {"kept": cg.ones(2)})
    before = (tmp_path / "f").read_bytes()
    program = f"""
        import resource, signal, convgpu as cg
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            cg.save({str(tmp_path / "f")!r}, {{"w": cg.ones(1_000_000)}})
        except OSError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert str(tmp_path / "f") in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "f").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["f"]


def test_killed_while_it_writes(tmp_path):
    """At any moment there is a whole file: the one of before or the new one."""
    program = f"""
        import convgpu as cg
        print("ready", flush=True)
        for n in range(1_000_000):
            cg.save({str(tmp_path / "f")!r}, {{"n": n, "w": cg.full((200_000,), float(n))}})
    """
    for moment in range(5):
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE)
        process.stdout.readline()
        while not (tmp_path / "f").exists():
            time.sleep(0.001)
        time.sleep(0.01 + 0.013 * moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        saved = cg.load(tmp_path / "f")
        assert (saved["w"].numpy() == saved["n"]).all()
        assert len(list(tmp_path.iterdir())) <= 2 + moment  # what a killed process was writing stays


def test_saving_takes_no_second_copy_in_memory():
    """Of arrays that lie in memory as they do in the file; the kernel's own copy of the file is not counted."""
    program = """
        import resource, tempfile, numpy as np, convgpu as cg
        x = {"w": np.ones(30_000_000, np.float32)}
        cg.save(tempfile.mkdtemp() + "/first", {"w": cg.ones(2)})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with tempfile.TemporaryDirectory() as folder:
            cg.save(folder + "/f", x)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # kB, of 120 MB


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match='save needs the package safetensors: pip install "safetensors"'):
        cg.save(tmp_path / "f", {})


def test_weights_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Linear(4, 5).to(torch.bfloat16))
    torch.save(layer.state_dict(), tmp_path / "w.pth")
    loaded = cg.load(tmp_path / "w.pth")
    assert list(loaded) == ["0.weight", "0.bias", "1.weight", "1.bias"] and loaded["1.bias"].dtype == BFLOAT16
    for name, value in layer.state_dict().items():
        assert np.array_equal(loaded[name].numpy().astype(np.float32), value.float().numpy())
    with pytest.raises(ValueError, match=r"expected float32 of \(1,\) at \['0.bias'\]"):
        cg.load(tmp_path / "w.pth", like=loaded | {"0.bias": cg.zeros(1)})
    cg.save(tmp_path / "w.safetensors", loaded)
    import safetensors.torch

    layer.load_state_dict(safetensors.torch.load_file(tmp_path / "w.safetensors"))
    torch.save({"run": print}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="weights_only"):
        cg.load(tmp_path / "bad.pth")
