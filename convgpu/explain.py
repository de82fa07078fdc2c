"""What will run: `convgpu.explain("conv_fprop", ...)` names the kernel of a call, and how fast a GPU could be at best.

Plans follow from sizes alone and are made on the host, so that no GPU is needed to read them.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .backends.numpy.method import method_of
from .device import CPU, parse_device
from .dtypes import DTypeLike, as_dtype
from .geometry import adaptive_pool_geometry, conv_geometry, conv_transpose_geometry, pool_geometry
from .ops import conv, gemm, pool
from .plans import LAYOUTS, Call, plan_of, work_of
from .roofline import GPUS, Gpu, Work, find_gpu
from .settings import current_precision

OTHERWISE = "H200"  # the GPU that is explained where there is none


@dataclass(frozen=True)
class Explanation:
    """What `explain` found; str() is for reading.

    plan: the kernel and how it is set up, as the compiled module states it; on the CPU the method. gpu: None on the
    CPU, and for a GPU that roofline.GPUS does not list.
    """

    call: Call
    device: str
    plan: str
    work: Work
    gpu: Gpu | None

    @property
    def kernel(self) -> str:
        """The kernel's name."""
        return self.plan.split()[0]

    @property
    def workspace(self) -> int:
        """The bytes of workspace that the kernel takes."""
        return int(self.settings.get("workspace", 0))

    @property
    def settings(self) -> dict[str, str]:
        """What else the plan says: tile, splits, vectors, ..."""
        return dict(word.split("=") for word in self.plan.split() if "=" in word)

    @property
    def seconds(self) -> float | None:
        """The roofline time; None on the CPU."""
        return self.work.seconds(self.gpu) if self.gpu else None

    def __str__(self) -> str:
        shapes = ", ".join(str(shape) for shape in self.call.shapes if shape is not None)
        lines = [f"{self.call.op} of {shapes} in {self.call.dtype} on {self.device}"]
        if self.device == CPU:
            lines.append(f"method      {self.plan}")
        else:
            refusals = {"no_wgmma": "no wgmma  ", "no_packed": "no packing"}
            apart = ("workspace", "factors", *refusals)
            rest = {key: value for key, value in self.settings.items() if key not in apart}
            lines.append(f"kernel      {', '.join([self.kernel, *(f'{k} {v}' for k, v in rest.items())])}")
            if "factors" in self.settings:
                tiled = self.kernel.replace("wgmma", "tiled")
                factors = self.settings["factors"].replace("_", " ")
                lines.append(f"factors     {factors}; tiles that they cannot hold by {tiled}")
            lines += [f"{label}  {self.settings[key].replace('_', ' ')}" for key, label in refusals.items()
                      if key in self.settings]
            lines.append(f"workspace   {_scaled(self.workspace, 'B')}")
        on = f" on {self.work.unit}" if self.work.unit else ""
        lines += [f"arithmetic  {_scaled(self.work.flops, 'FLOP')}{on}", f"memory      {_scaled(self.work.bytes, 'B')}"]
        if self.gpu:
            lines[-2] += f", {_milliseconds(self.work.arithmetic_seconds(self.gpu))}"
            lines[-1] += f", {_milliseconds(self.work.memory_seconds(self.gpu))}"
            lines.append(f"roofline    {_milliseconds(self.work.seconds(self.gpu))}, bound by "
                         f"{self.work.bound(self.gpu)}")
        return "\n".join(lines)


def _scaled(value: float, unit: str) -> str:
    thousands = min(int(math.log10(max(value, 1))) // 3, 4)
    return f"{value / 1000**thousands:.4g} {' kMGT'[thousands].strip()}{unit}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


def explain(op: str, *operands: Any, dtype: DTypeLike = "float32", device: str | None = None,
            precision: str | None = None, **options: Any) -> Explanation:
    """Which kernel computes a call, with what tile, split and workspace, and the time that no kernel can beat.

    time = max(FLOPs / peak rate, bytes / bandwidth)

    Args:
        op: a function of convgpu ("conv", "conv2d", "depthwise_conv", "conv_transpose", "max_pool", "avg_pool" and
            their kin, "gemm", "matmul", "linear"); a direction, called with the operands and options of its forward
            ("conv_fprop", "conv_dgrad", "conv_wgrad", "max_pool_dgrad", "avg_pool_dgrad", ...); "channel_sum", of x; or
            a change of layout of x ("nchw_to_nhwc", "nhwc_to_nchw", "oihw_to_hwio", "hwio_to_oihw").
        operands, options: those of the function. A shape may stand for a tensor.
        dtype: of operands that are shapes.
        device: a GPU by name ("H200", "RTX 4090", ...), "gpu" for this machine's, "cpu" for the method of the numpy
            backend. Without it: this machine's GPU, or an H200 where there is none.
        precision: what float32 products run as, "float32" or "tf32"; without it: as `set_precision` has it.

    Returns:
        An object to be printed, with `kernel`, `settings`, `workspace`, `work`, `seconds`.

    Raises:
        ValueError: unknown ops, devices, and what the function itself would refuse. TypeError: options that it does not
        have. ImportError: no compiled module is there to make a plan.

    >>> print(explain("conv_fprop", x=(256, 56, 56, 64), w=(3, 3, 64, 64), padding="same", device="cpu"))
    conv_fprop of (256, 56, 56, 64), (3, 3, 64, 64) in float32 on cpu
    method      im2col and matrix products, tile by tile
    arithmetic  59.19 GFLOP on float32 products
    memory      411.2 MB
    """
    call = call_of(op, *operands, dtype=dtype, **options)
    if device is not None and device.lower().partition(":")[0] == CPU:
        return Explanation(call, parse_device(device), method_of(call), work_of(call), None)
    name, gpu = _device(device)
    native = _planner()
    precision = precision or current_precision()
    return Explanation(call, name, plan_of(native, call, gpu, precision), work_of(call, precision), gpu)


def _device(device: str | None) -> tuple[str, Gpu | None]:
    """The name of the GPU that is meant, and what is known of it."""
    from . import info  # its imports take longer than all else here

    found = info.driver()
    own = found.gpus[0] if found else None
    if device is not None and device.lower().partition(":")[0] in ("gpu", "cuda"):
        parse_device(device)
        if own is None:
            raise ValueError(f"explain: device {device!r}: the NVIDIA driver shows no GPU; name one, as device='H200'")
        device = None
    wanted = device or own or OTHERWISE
    try:
        gpu = find_gpu(wanted)
    except ValueError:
        if device is None:
            return wanted, None  # a GPU that the table lacks is still there
        raise ValueError(f"explain: expected device 'cpu', 'gpu', or one of {', '.join(g.name for g in GPUS)}, "
                         f"got {device!r}") from None
    return gpu.name, gpu


def _planner() -> Any:
    """A native backend, for its plans."""
    for name in ("cuda", "emulated"):
        if importlib.util.find_spec(f"convgpu._{name}"):
            return importlib.import_module("convgpu.backends.native").load(name)
    raise ImportError("explain: a compiled module makes the plans, and neither convgpu._cuda nor convgpu._emulated is "
                      "built: CONVGPU_EMULATED=1 pip install -e .; device='cpu' explains the CPU path without one")


# --- from the names and arguments of functions to calls


def call_of(op: str, *operands: Any, dtype: DTypeLike = "float32", **options: Any) -> Call:
    """The backend's call that a function of convgpu comes to, from shapes or tensors and its options."""
    name = op[:-2] if op[-2:] in ("1d", "2d", "3d") else op
    if name not in _FUNCTIONS:
        raise ValueError(f"explain: expected an op, one of {', '.join(_FUNCTIONS)}, got {op!r}")
    function, build = _FUNCTIONS[name]
    bound = inspect.signature(function).bind(*operands, **options)
    bound.apply_defaults()
    arguments = bound.arguments
    tensors = {key: arguments[key] for key in ("x", "w", "bias", "a", "b", "c") if arguments.get(key) is not None}
    known = {as_dtype(t.dtype).name for t in tensors.values() if hasattr(t, "dtype")} or {as_dtype(dtype).name}
    if len(known) > 1:
        raise TypeError(f"{op}: expected one dtype, got {', '.join(sorted(known))}")
    arguments |= {key: tuple(getattr(t, "shape", t)) for key, t in tensors.items()}
    rank = {"1d": 1, "2d": 2, "3d": 3}.get(op[-2:])
    if rank is not None and len(arguments["x"]) != rank + 2:
        raise ValueError(f"{op}: expected x of {rank + 2} axes, got shape {arguments['x']}")
    return build(name, arguments, known.pop())


def _conv_call(op: str, given: dict[str, Any], dtype: str) -> Call:
    last = given["data_format"] == "channels_last"
    if op == "conv_transpose":
        geo = conv_transpose_geometry(op, given["x"], given["w"], given["stride"], given["padding"],
                                      given["output_padding"], given["dilation"], given["groups"], given["data_format"])
        op = "conv_dgrad"
    else:
        w, groups = given["w"], given.get("groups", 1)
        if op == "depthwise_conv":  # filters (spatial..., C, multiplier) are C groups of one channel
            groups = max(w[-2], 1)
            w = (*w[:-2], 1, w[-2] * w[-1]) if last else (w[-2] * w[-1], 1, *w[:-2])
        geo = conv_geometry(op, given["x"], w, given["stride"], given["padding"], given["dilation"], groups,
                            given["data_format"])
        op = op if op.startswith("conv_") else "conv_fprop"
    if op == "conv_wgrad":
        return Call(op, (geo.x_shape, geo.y_shape), (geo,), dtype)
    image = geo.x_shape if op == "conv_fprop" else geo.y_shape
    return Call(op, (image, geo.w_shape, given["bias"]), (geo, given["activation"]), dtype)


def _sum_call(op: str, given: dict[str, Any], dtype: str) -> Call:
    return Call(op, (given["x"],), (given["data_format"] == "channels_last",), dtype)


def _pool_call(op: str, given: dict[str, Any], dtype: str) -> Call:
    kind = op.removeprefix("adaptive_").removeprefix("global_")
    if kind != op:
        geo = adaptive_pool_geometry(op, given["x"], given.get("output_size", 1), given["data_format"])
    else:
        geo = pool_geometry(op, given["x"], given["size"], given["stride"], given["padding"], given.get("dilation", 1),
                            given["ceil_mode"], given.get("count_include_pad", False), given["data_format"])
    if kind == "max_pool":
        return Call(kind, (geo.x_shape,), (geo, True), dtype)
    shapes = {"avg_pool": (geo.x_shape,), "avg_pool_dgrad": (geo.y_shape,), "max_pool_indices": (geo.y_shape,),
              "max_pool_dgrad": (geo.y_shape, geo.y_shape), "max_pool_gather": (geo.x_shape, geo.y_shape)}
    return Call(kind, shapes[kind], (geo,), geo.offset_dtype if kind == "max_pool_indices" else dtype)


def _gemm_call(op: str, given: dict[str, Any], dtype: str) -> Call:
    if op == "matmul":
        return Call(op, (given["a"], given["b"]), (), dtype)
    if op == "linear":
        *rows, c = given["x"]
        return Call("gemm", ((math.prod(rows), c), given["w"], given["bias"]),
                    (1.0, 1.0, False, False, given["activation"]), dtype)
    return Call(op, (given["a"], given["b"], given["c"]),
                tuple(given[key] for key in ("alpha", "beta", "trans_a", "trans_b", "activation")), dtype)


def _layout_call(op: str, given: dict[str, Any], dtype: str) -> Call:
    return Call(op, (given["x"],), (), dtype)


def _of_x(x: Any) -> None:
    """The signature of a change of layout."""


def _of_images(x: Any, data_format: str = "channels_last") -> None:
    """The signature of channel_sum."""


_FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[[str, dict[str, Any], str], Call]]] = {
    **dict.fromkeys(("conv", "conv_fprop", "conv_dgrad", "conv_wgrad"), (conv.conv, _conv_call)),
    "conv_transpose": (conv.conv_transpose, _conv_call), "depthwise_conv": (conv.depthwise_conv, _conv_call),
    "channel_sum": (_of_images, _sum_call),
    **dict.fromkeys(("max_pool", "max_pool_dgrad", "max_pool_gather", "max_pool_indices"), (pool.max_pool, _pool_call)),
    **dict.fromkeys(("avg_pool", "avg_pool_dgrad"), (pool.avg_pool, _pool_call)),
    **{name: (getattr(pool, name), _pool_call) for name in (
        "adaptive_max_pool", "adaptive_avg_pool", "global_max_pool", "global_avg_pool")},
    "gemm": (gemm.gemm, _gemm_call), "matmul": (gemm.matmul, _gemm_call), "linear": (gemm.linear, _gemm_call),
    **dict.fromkeys(LAYOUTS, (_of_x, _layout_call)),
}
