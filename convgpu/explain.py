"""`convgpu.explain("conv2d", ...)` names the kernel that a call will run, and how fast a GPU could be at best.

`explain` runs the function that a user would call on arrays without values (convgpu/recorder.py), so that the calls it
explains are the calls that a user would make. Plans follow from sizes alone and are made on the host: no GPU is needed
to read them.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import autograd, gradients
from .backends import in_words
from .device import CPU, parse_device
from .dtypes import DTypeLike, as_dtype, is_float
from .op import Op
from .recorder import Call, Recorder
from .roofline import GPUS, OLDEST_ARCH, Gpu, Work, find_gpu
from .settings import current_backend, current_precision
from .tensor import Tensor

OTHERWISE = "H200"  # the GPU that is explained on machines without one
ALIGNED = "for arrays aligned to 16 bytes"
NO_MODULE = "the plan needs a compiled module: CONVGPU_EMULATED=1 pip install -e ."


@dataclass(frozen=True)
class Explanation:
    """What `explain` found of one call of a backend; str() makes a text to read.

    plan: the kernel and its settings, as the compiled module states them; on the CPU the method; "" where there is no
    plan, and then `obstacle` says why. gpu: None on the CPU, and for a GPU that roofline.GPUS does not list. backend:
    on the CPU the backend that computes, with its instruction set.
    """

    call: Call
    device: str
    plan: str
    work: Work
    gpu: Gpu | None
    obstacle: str = ""
    backend: str = ""

    @property
    def kernel(self) -> str:
        """The kernel's name; "" without a plan."""
        return self.plan.partition(" ")[0]

    @property
    def workspace(self) -> int:
        """The bytes of workspace that the kernel takes."""
        return int(self.settings.get("workspace", 0))

    @property
    def settings(self) -> dict[str, str]:
        """The plan's other settings: tile, splits, vectors, ..."""
        return dict(word.split("=") for word in self.plan.split() if "=" in word)

    @property
    def seconds(self) -> float | None:
        """The roofline time; None on the CPU."""
        return self.work.seconds(self.gpu) if self.gpu else None

    def __str__(self) -> str:
        op, given = Op.registry[self.call.op], self.call.shapes
        if op.inputs == ("state",):  # a draw, of which the shape of the numbers says more than that of the state
            given = tuple([size[0] for size in op.facts.results(self.call)[:1] if size is not None])
        shapes = ", ".join(str(shape) for shape in given if shape is not None)
        aligned = f", {ALIGNED}" if self.device != CPU and self.plan else ""
        lines = [f"{self.call.op} of {shapes} in {self.call.dtype} on {self.device}{aligned}", *self._of_plan()]
        on = f" on {self.work.unit}" if self.work.unit else ""
        lines += [f"arithmetic  {_scaled(self.work.flops, 'FLOP')}{on}", f"memory      {_scaled(self.work.bytes, 'B')}"]
        if self.gpu:
            lines[-2] += f", {_milliseconds(self.work.arithmetic_seconds(self.gpu))}"
            lines[-1] += f", {_milliseconds(self.work.memory_seconds(self.gpu))}"
            lines.append(f"roofline    {_milliseconds(self.work.seconds(self.gpu))}, bound by "
                         f"{self.work.bound(self.gpu)}")
        return "\n".join(lines)

    def _of_plan(self) -> list[str]:
        if self.device == CPU:
            return [f"backend     {self.backend}", f"method      {self.plan}"]
        if not self.plan:
            return [f"kernel      {self.obstacle}"]
        refusals = {"no_wgmma": "no wgmma  ", "no_packed": "no packing"}
        apart = ("workspace", "factors", *refusals)
        rest = {key: value for key, value in self.settings.items() if key not in apart}
        lines = [f"kernel      {', '.join([self.kernel, *(f'{k} {v}' for k, v in rest.items())])}"]
        if "factors" in self.settings:
            tiled = self.kernel.replace("wgmma", "tiled")
            factors = self.settings["factors"].replace("_", " ")
            lines.append(f"factors     {factors}; tiles that they cannot hold by {tiled}")
        lines += [f"{label}  {self.settings[key].replace('_', ' ')}" for key, label in refusals.items()
                  if key in self.settings]
        return [*lines, f"workspace   {_scaled(self.workspace, 'B')}"]


class Explanations(tuple[Explanation, ...]):
    """What `explain` found of a function that calls a backend several times, in the order of the calls."""

    def __str__(self) -> str:
        return "\n\n".join(map(str, self))


def _scaled(value: float, unit: str) -> str:
    thousands = min(int(math.log10(max(value, 1))) // 3, 4)
    return f"{value / 1000**thousands:.4g} {' kMGT'[thousands].strip()}{unit}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


def explain(op: str, *operands: Any, dtype: DTypeLike = "float32", device: str | None = None,
            precision: str | None = None, **options: Any) -> Any:
    """Which kernel computes a call, with what tile, split and workspace, and the time that no kernel can beat.

    time = max(FLOPs / peak rate, bytes / bandwidth)

    The plan is the one that runs for arrays whose memory is aligned to 16 bytes, as all new arrays are.

    Args:
        op: a function of convgpu that backends compute ("conv2d", "depthwise_conv", "conv_transpose", "max_pool",
            "linear", ...), or an op of the backends ("conv_fprop", "conv_dgrad", "conv_wgrad", "max_pool_dgrad",
            "avg_pool_dgrad", ...), which takes the operands and options of its forward function. "channel_sum" takes x,
            as the changes of layout do: "nchw_to_nhwc", "nhwc_to_nchw", "oihw_to_hwio", "hwio_to_oihw".
        operands, options: those of the function. A shape may stand for a tensor.
        dtype: the dtype of operands given as shapes, unless another operand has a dtype.
        device: a GPU by name ("H200", "RTX 4090", ...), "gpu" for the GPU of this machine, "cpu" for the method of
            backend "cpu" where that is in use, else of "numpy". By default it is the GPU of this machine, or an H200
            where there is none.
        precision: how float32 products are computed: "float32" or "tf32"; by default as `set_precision` was told.

    Returns:
        An object to be printed, with `kernel`, `settings`, `workspace`, `work`, `seconds`; a tuple of such objects for
        a function that calls a backend several times. Without a compiled module the plan is missing and everything else
        is there.

    Raises:
        ValueError: an unknown op or device, and whatever the function itself would refuse. TypeError: options that the
        function does not have.

    >>> from convgpu import use_backend
    >>> with use_backend("numpy"):
    ...     print(explain("conv_fprop", x=(256, 56, 56, 64), w=(3, 3, 64, 64), padding="same", device="cpu"))
    conv_fprop of (256, 56, 56, 64), (3, 3, 64, 64) in float32 on cpu
    backend     numpy
    method      im2col and matrix products, tile by tile
    arithmetic  59.19 GFLOP on float32 products
    memory      411.2 MB
    """
    calls = calls_of(op, *operands, dtype=dtype, **options)
    precision = precision or current_precision()
    if device is not None and device.lower().partition(":")[0] == CPU:
        name = parse_device(device)
        backend = in_words("cpu" if current_backend() == "cpu" else "numpy")
        found = [Explanation(call, name, _method(call), _facts(call).work(call, precision), None, backend=backend)
                 for call in calls]
    else:
        name, gpu = chosen_gpu(device)
        found = [_on_gpu(call, name, gpu, precision) for call in calls]
    return found[0] if len(found) == 1 else Explanations(found)


def _method(call: Call) -> str:
    """How the CPU's backend in use computes a call: in words of "cpu", or of "numpy" for all others."""
    if current_backend() == "cpu":
        from .backends.cpu.methods import method_of

        return method_of(call)
    return _facts(call).method(call)


def _facts(call: Call) -> Any:
    return Op.registry[call.op].facts


def _on_gpu(call: Call, name: str, gpu: Gpu | None, precision: str) -> Explanation:
    from .facts import text_of

    work = _facts(call).work(call, precision)
    if gpu is not None and gpu.arch < OLDEST_ARCH:
        return Explanation(call, name, "", work, gpu, f"none: kernels start at compute capability {OLDEST_ARCH / 10}, "
                                                      f"and the {gpu.name} has {gpu.arch / 10}")
    native = planner()
    if native is None:
        return Explanation(call, name, "", work, gpu, NO_MODULE)
    return Explanation(call, name, text_of(_facts(call).plan(native, call, gpu, precision)), work, gpu)


def chosen_gpu(device: str | None, caller: str = "explain") -> tuple[str, Gpu | None]:
    """The name of the GPU that `device` stands for, and its entry in the table of GPUs."""
    from . import info  # imported late: its imports take longer than everything else here

    found = info.driver()
    own = found.gpus[0] if found else None
    if device is not None and device.lower().partition(":")[0] in ("gpu", "cuda"):
        parse_device(device)
        if own is None:
            raise ValueError(f"{caller}: expected a GPU for device {device!r}, got none from the NVIDIA driver; name "
                             "one, as device='H200'")
        device = None
    wanted = device or own or OTHERWISE
    try:
        gpu = find_gpu(wanted)
    except ValueError:
        if device is None:
            return wanted, None  # this machine's GPU is not in the table
        cpu = "'cpu', " if caller == "explain" else ""
        raise ValueError(f"{caller}: expected device {cpu}'gpu', or one of {', '.join(g.name for g in GPUS)}, "
                         f"got {device!r}") from None
    return gpu.name, gpu


def planner() -> Any:
    """A native backend that can make plans; None where no module is built."""
    for name in ("cuda", "emulated"):
        if importlib.util.find_spec(f"convgpu._{name}"):
            return importlib.import_module("convgpu.backends.native").load(name)
    return None


# --- from the names and arguments of functions to calls of a backend


def calls_of(op: str, *operands: Any, dtype: DTypeLike = "float32", gradients: bool = False,
             **options: Any) -> list[Call]:
    """The calls of a backend that a function of convgpu makes, from shapes or tensors and options. For the name of a
    backend's op, it is the first call of that op among those of the function that leads to it.

    Args:
        gradients: return all calls of the function and of its gradients.
    """
    function, known = _function(op)
    recorder = Recorder()
    bound = _on_outlines(op, recorder, function, operands, {**known, **options}, dtype)
    with autograd.recording(True):
        results = function(*bound.args, **bound.kwargs)
        for y in results if isinstance(results, (tuple, list)) else [results]:
            if isinstance(y, Tensor):
                _ = y.array  # a deferred result runs now
        forward = recorder.calls
        if gradients:
            _gradients(results)
            return recorder.calls
        for _ in range(3):  # the forward pass, its gradients, and the gradients of these gradients
            found = [call for call in recorder.calls if call.op == op]
            if found:
                return found[:1]
            if not _is_backend_op(op) or (results := _gradients(results)) is None:
                break
    if not forward:
        raise ValueError(f"explain: expected a function that backends compute, got {op!r}, which is made of NumPy's")
    return forward


def _is_backend_op(op: str) -> bool:
    return op in Op.registry and Op.registry[op].forward is None


def _function(op: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The public function that `explain` runs for a public name or an op's name, and the options that it needs."""
    import convgpu

    if _is_backend_op(op):
        facts = Op.registry[op].facts
        return facts.explained, dict(facts.options)
    function = getattr(convgpu, op, None) if op in convgpu.__all__ else None
    if not callable(function) or inspect.isclass(function):
        raise ValueError(f"explain: expected a function of convgpu or one of the ops "
                         f"{', '.join(filter(_is_backend_op, Op.registry))}, got {op!r}")
    return function, {}


def _on_outlines(name: str, recorder: Recorder, function: Callable[..., Any], operands: tuple[Any, ...],
                 options: dict[str, Any], dtype: DTypeLike) -> inspect.BoundArguments:
    """The arguments of a function, with an array without values in place of each shape, tensor and array."""
    from .facts import FAMILIES

    arrays = {name for family in FAMILIES.values() for name in family.operands}
    signature = _signature(function)
    try:
        bound = signature.bind(*operands, **options)
    except TypeError as error:
        raise TypeError(f"{name}: expected the arguments of {name}{_bare(signature)}: {error}") from None
    given = {key: value for key, value in bound.arguments.items() if key in arrays and value is not None}
    dtypes = [value.dtype for value in given.values() if hasattr(value, "dtype")]
    for key, value in given.items():
        shape = getattr(value, "shape", value)
        if not isinstance(shape, (tuple, list)) or not all(isinstance(n, int) for n in shape):
            raise TypeError(f"{name}: expected a shape or a tensor for {key}, got {value!r:.60}")
        kind = as_dtype(value.dtype if hasattr(value, "dtype") else dtypes[0] if dtypes else dtype)
        bound.arguments[key] = recorder.tensor(tuple(shape), kind, requires_grad=is_float(kind))
    return bound


def _bare(signature: inspect.Signature) -> str:
    """A signature without its annotations."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if isinstance(function, Op):
        return inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
                                  for name in function.arguments])
    return inspect.signature(function)


def _gradients(results: Any) -> Any:
    """The gradients, also recorded, of a function's results with respect to everything that they were computed from.
    They are computed without a record first, as backward does, since rules may take other ops for the two.
    """
    ys = [y for y in (results if isinstance(results, (tuple, list)) else [results])
          if isinstance(y, Tensor) and y.requires_grad]
    if not ys:
        return None
    leaves = [edge for y in ys for node in gradients.reachable([y]) for edge in node.edges if isinstance(edge, Tensor)]
    seeds = [Tensor(y.array.like(y.shape)).requires_grad_() for y in ys]
    leaves = list(dict.fromkeys(leaves))
    gradients.grad(ys, leaves, seeds, retain_graph=True)
    return gradients.grad(ys, leaves, seeds, create_graph=True)
