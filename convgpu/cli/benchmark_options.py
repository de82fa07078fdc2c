"""The options of `convgpu benchmark`; benchmark.py, which is imported when a command runs, does the work."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

LAYER_NETWORKS = ("lenet5", "alexnet", "vgg16", "resnet50", "mobilenet")
TRAINED = (*LAYER_NETWORKS, "efficientnet_b0")
DTYPES = ("float16", "bfloat16", "float32", "float64")
_Parsers = Any  # argparse._SubParsersAction[argparse.ArgumentParser]

DESCRIPTION = """Time convgpu on this machine: each device beside the others, and beside PyTorch with --peers torch.
Everything is checked against the reference before it is timed. Ratios are theirs/ours: above 1, we are faster."""
CALL = """NAME is a function of convgpu that backends compute, or one of their ops, which takes the arguments of its
forward function, as in convgpu.explain: lp_pool2d 8x56x56x64 2 3 stride=2 padding=same."""
ENDS = "Exit status: 1 where something is wrong or could not be timed, 2 for wrong usage, 130 after Ctrl-C."


def add_benchmark(commands: _Parsers) -> None:
    """Add the command `benchmark` with its subcommands."""
    benchmark = commands.add_parser("benchmark", help="time layers and training, CPU beside GPU and PyTorch",
                                    description=DESCRIPTION)
    which = benchmark.add_subparsers(dest="what", required=True, metavar="WHAT")
    _add_layers(which)
    _add_gemm(which)
    _add_conv(which)
    _add_pool(which)
    _add_op(which)
    _add_sampling(_measuring(which, "functions", "what lies between convolutions, and optimizers, on the CPU"))
    _add_train(which)
    _add_show(which)
    _add_compare(which)


def _add_layers(which: _Parsers) -> None:
    parser = _measuring(which, "layers", "every layer of a network")
    parser.add_argument("--network", choices=LAYER_NETWORKS, default="alexnet", help="default: alexnet")
    parser.add_argument("--batch", type=whole(1), metavar="N", help="images (default: what suits a CPU, per layer)")
    _add_direction(parser, ("fprop", "dgrad", "wgrad"))
    _add_sampling(parser)


def _add_gemm(which: _Parsers) -> None:
    parser = _measuring(which, "gemm", "one matrix product")
    parser.add_argument("--shape", type=whole(1), nargs=3, metavar=("M", "N", "K"), required=True,
                        help="of (M, K) times (K, N)")
    parser.add_argument("--trans-a", action="store_true", help="the first is stored as (K, M)")
    parser.add_argument("--trans-b", action="store_true", help="the second is stored as (N, K)")
    _add_sampling(parser)


def _add_conv(which: _Parsers) -> None:
    parser = _measuring(which, "conv", "one convolution")
    parser.add_argument("--shape", type=whole(1), nargs=4, metavar=("N", "H", "W", "C"), required=True, help="of x")
    parser.add_argument("--filters", type=whole(1), metavar="K", required=True, help="how many")
    _add_pair(parser, "--kernel", "R", "one size, or R and S", required=True)
    _add_pair(parser, "--stride", "N", "one, or one for each axis (default: 1)", default=[1])
    parser.add_argument("--padding", default="same", help='"same" (the default), "valid", or a number')
    _add_pair(parser, "--dilation", "N", "one, or one for each axis (default: 1)", default=[1])
    parser.add_argument("--groups", type=whole(1), metavar="N", default=1, help="default: 1")
    _add_direction(parser, ("fprop", "dgrad", "wgrad"))
    _add_sampling(parser)


def _add_pool(which: _Parsers) -> None:
    parser = _measuring(which, "pool", "one pooling")
    parser.add_argument("--shape", type=whole(1), nargs=4, metavar=("N", "H", "W", "C"), required=True, help="of x")
    _add_pair(parser, "--window", "R", "one size, or R and S", required=True)
    _add_pair(parser, "--stride", "N", "one, or one for each axis (default: the window)")
    parser.add_argument("--padding", default="valid", help='"valid" (the default), "same", or a number')
    parser.add_argument("--average", action="store_true", help="average instead of max pooling")
    _add_direction(parser, ("fprop", "dgrad"))
    _add_sampling(parser)


def _add_op(which: _Parsers) -> None:
    parser = _measuring(which, "op", "any call of the backends", CALL)
    parser.add_argument("name", metavar="NAME", help="a function of convgpu, or an op of the backends")
    parser.add_argument("arguments", nargs="*", metavar="[NAME=]VALUE",
                        help="the function's arguments: 8x56x56x64 is an array of this shape, and what Python does not "
                             "read as a value is a word (default: an example, for an op)")
    parser.add_argument("--gradients", action="store_true", help="also the calls of the function's gradients")
    _add_sampling(parser)


def _add_train(which: _Parsers) -> None:
    parser = _measuring(which, "train", "steps of training a whole network", with_dtype=False)
    parser.add_argument("--network", choices=TRAINED, default="alexnet", help="default: alexnet")
    parser.add_argument("--batch", type=whole(1), nargs="+", metavar="N", help="batch sizes, one row for each")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32",
                        help="what is computed in; the parameters are float32 (default: float32)")
    parser.add_argument("--steps", type=whole(1), metavar="N", default=20, help="what times are told for (default: 20)")
    parser.add_argument("--budget", type=_seconds, metavar="SECONDS", default=60.0,
                        help="after which fewer steps are timed, at least 3, and the time is scaled (default: 60)")


def _add_show(which: _Parsers) -> None:
    parser = which.add_parser("show", help="tables and pictures of a result file, without running anything")
    parser.add_argument("file", metavar="RESULTS.json")
    _add_output(parser, with_json=False)
    parser.set_defaults(run=_command("show"))


def _add_compare(which: _Parsers) -> None:
    parser = which.add_parser("compare", help="two result files; exit status 1 where ours became slower",
                              description="Ratios are A/B: above 1, B is faster. Slower or faster is what lies beyond "
                                          "the samples' quartiles, by 3%% or more.")
    parser.add_argument("a", metavar="A.json")
    parser.add_argument("b", metavar="B.json")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    parser.set_defaults(run=_command("compare"))


def _measuring(which: _Parsers, name: str, help_text: str, more: str = "",
               with_dtype: bool = True) -> argparse.ArgumentParser:
    description = " ".join(filter(None, (f"Time {help_text}.", more, ENDS)))
    parser: argparse.ArgumentParser = which.add_parser(name, help=help_text, description=description)
    parser.add_argument("--device", nargs="+", choices=("cpu", "gpu"), help="default: all that are usable")
    if with_dtype:
        parser.add_argument("--dtype", choices=DTYPES, default="float32", help="default: float32")
    parser.add_argument("--threads", type=whole(1), metavar="N", help="of the CPU (default: all cores)")
    parser.add_argument("--peers", choices=("torch",), help="PyTorch's columns beside ours")
    _add_output(parser, with_json=True)
    parser.set_defaults(run=_command(name))
    return parser


def _add_pair(parser: argparse.ArgumentParser, name: str, metavar: str, help_text: str, **options: Any) -> None:
    parser.add_argument(name, type=whole(1), nargs="+", action=_OneOrTwo, metavar=metavar, help=help_text, **options)


def _add_direction(parser: argparse.ArgumentParser, directions: tuple[str, ...]) -> None:
    parser.add_argument("--direction", choices=(*directions, "all"), default="all", help="default: all")


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=whole(2), metavar="N", default=5, help="of each contender (default: 5)")


def _add_output(parser: argparse.ArgumentParser, with_json: bool) -> None:
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    parser.add_argument("--plot", metavar="OUT.png", help="a picture of the results")
    if with_json:
        parser.add_argument("--json", metavar="OUT.json", help="every sample, and where it was taken")


def whole(least: int) -> Callable[[str], int]:
    """A function that reads a whole number of at least `least` from an option."""
    def read(text: str) -> int:
        expected = f"expected a whole number of at least {least}"
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{expected}, got {text!r}") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{expected}, got {value}")
        return value

    return read


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds, a number of at least 0, got {text!r}")
    return value


class _OneOrTwo(argparse.Action):
    """An option with one size for both axes, or one size for each."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:
        if len(values) > 2:
            parser.error(f"argument {option_string}: expected one size, or one for each of the 2 axes, got "
                         f"{len(values)}: {' '.join(map(str, values))}")
        setattr(namespace, self.dest, values)


def _command(name: str) -> Callable[..., int]:
    """A function of benchmark.py, which is imported when it runs."""
    def run(**options: Any) -> int:
        from . import benchmark

        options.pop("what")
        return getattr(benchmark, name)(**options)

    return run
