"""Encodes the tensor maps of all cases without using them: python bench/tensor_maps.py [--backend cuda|emulated]

Each call of convgpu/cases that runs a kernel with the tensor memory accelerator (conv_*_wgmma, gemm_wgmma) is made as
users make it, up to the launch: the plan, the tensor maps of its factors, results and partial sums by the driver's
encoder, and the preparation of every launch. No kernel runs. On a GPU a stream captures the launches into a graph,
which is thrown away. The emulator is told to run nothing, and checks the maps against the rules that the driver
documents.

Each call is a row, which --json FILE appends to a file as one line of JSON before the next call is made: a run that is
killed loses no row. The exit status is 1 if a call was refused; its row has the error, with the arguments that the
driver got.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from convgpu import backends, set_precision  # noqa: E402
from convgpu.cases.conv import ConvCase  # noqa: E402
from convgpu.cases.gemm import GemmCase  # noqa: E402
from convgpu.cases.networks import DENSE  # noqa: E402
from convgpu.cases.problem import Problem  # noqa: E402
from convgpu.dtypes import as_dtype  # noqa: E402
from convgpu.facts import FAMILIES, plan_of, text_of  # noqa: E402
from convgpu.verify import default_backend  # noqa: E402

Row = dict[str, Any]


class UndrawnConv(ConvCase):
    """A convolution whose operands are uninitialised memory, since nothing will read them."""

    def draw(self, shape: tuple[int, ...], role: str, dtype: Any) -> np.ndarray:
        """Return uninitialised memory."""
        return np.empty(shape, as_dtype(dtype))


class UndrawnGemm(GemmCase):
    """A matrix product whose operands are uninitialised memory."""

    def draw(self, role: str, dtype: Any) -> np.ndarray | None:
        """Return uninitialised memory."""
        shape = (self.m, self.n) if role == "g" else self.shapes[role]
        return None if shape is None else np.empty(shape, as_dtype(dtype))


def undrawn(family: str) -> Iterator[ConvCase | GemmCase]:
    """The cases of a family without values; for convolution also the layers of networks."""
    kind: Callable[..., Any] = {"conv": UndrawnConv, "gemm": UndrawnGemm}[family]
    for case in FAMILIES[family].cases:
        yield kind(**{f.name: getattr(case, f.name) for f in fields(case)})
    for layer in DENSE if family == "conv" else ():
        x, w = layer.geometry().x_shape, layer.geometry().w_shape
        yield kind(f"{layer.network} {layer.name}", x, w, layer.stride, layer.padding, groups=layer.groups)


def calls(native: Any, only: str | None = None) -> Iterator[tuple[Row, Problem]]:
    """The calls of the tables that use tensor maps on this machine, each with the beginning of its row."""
    for family in ("conv", "gemm"):
        for case in undrawn(family):
            if only not in (None, case.name):
                continue
            for dtype, data_format in FAMILIES[family].variants(case, tf32=True):
                precision = "tf32" if dtype == "tf32" else "float32"
                for problem in FAMILIES[family].problems(case, "float32" if dtype == "tf32" else dtype, data_format):
                    plan = text_of(plan_of(native, problem.call, precision=precision))
                    if plan.split()[0].endswith("_wgmma"):
                        yield {"family": family, "case": case.name, "op": problem.op, "dtype": dtype,
                               "data_format": data_format, "plan": plan}, problem


@contextmanager
def nothing_runs(native: Any) -> Iterator[None]:
    """Within this context, launches are prepared but not run."""
    if native.xp is np:
        yield  # the variable CONVGPU_EMULATOR_RUN already stops the emulator from running kernels
        return
    stream = native.xp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            yield
        finally:
            stream.end_capture()


def refusal(native: Any, row: Row, problem: Problem) -> str | None:
    """Make the call of a row without running kernels; return the error, or None."""
    operands = [None if a is None else native.empty(a.shape, a.dtype) for a in problem.arrays]
    try:
        with set_precision("tf32" if row["dtype"] == "tf32" else "float32"), nothing_runs(native):
            getattr(native, problem.op)(*operands, *problem.call.statics)
    except Exception as error:  # any error of the driver or a launcher is the finding, and the other calls go on
        return f"{type(error).__name__}: {error}"
    return None


def rows(native: Any, only: str | None = None) -> Iterator[Row]:
    """Yield the row of every call as soon as it is known."""
    for row, problem in calls(native, only):
        error = refusal(native, row, problem)
        yield row | {"ok": error is None, "error": error}


def main(arguments: list[str] | None = None) -> int:
    """Encode all tensor maps, and print which calls were refused."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backend", choices=("cuda", "emulated"), help="by default the GPU, if there is one")
    parser.add_argument("--json", type=Path, help="append each row to this file, one line each")
    parser.add_argument("--case", help="only the case of this name")
    options = parser.parse_args(arguments)
    os.environ["CONVGPU_EMULATOR_RUN"] = "no"  # the variable is read when the emulated kernels are first used
    backend = options.backend or default_backend()
    if backend not in ("cuda", "emulated"):
        parser.error("expected a GPU or the emulated kernels, found neither: CONVGPU_EMULATED=1 pip install -e .")
    made = refused = 0
    for row in rows(backends.load(backend), options.case):
        row = {"backend": backend} | row
        made, refused = made + 1, refused + (not row["ok"])
        if not row["ok"]:
            print("REFUSED", *(row[key] for key in ("case", "op", "dtype", "data_format", "error")), flush=True)
        if options.json:
            with open(options.json, "a") as file:
                file.write(json.dumps(row) + "\n")
    print(f"{made} calls with tensor maps on backend {backend}, {refused} refused")
    return refused > 0


if __name__ == "__main__":
    sys.exit(main())
