"""The `convgpu` command: what is typed, printed and returned to the shell, and nothing else.

`train`, `predict` and `filter` call functions of `convgpu.examples`, which users can read and copy; `benchmark` has its
options in benchmark_options.py and calls convgpu.benchmark, which measures, from benchmark.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from .. import __version__, environment
from ..files import UsageError, check_writable, printable
from .benchmark_options import LAYER_NETWORKS, add_benchmark, whole
from .ptx_options import add_ptx

LEDGER_NETWORKS = (*LAYER_NETWORKS, "efficientnet_b0")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; an error is one line on stderr. Returns the exit status: 2 for wrong usage, 130 after Ctrl-C."""
    arguments = vars(_parser().parse_args(argv))
    command, run = arguments.pop("command"), arguments.pop("run")
    try:
        environment.check()
    except ValueError as error:
        print(f"convgpu {command}: {_one_line(error)}", file=sys.stderr)
        return 2
    try:
        return run(**arguments)
    except KeyboardInterrupt:
        print(f"convgpu {command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads the output any more, so there is nothing left to say
        return 1
    except UsageError as error:
        print(f"convgpu {command}: {_one_line(error)}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"convgpu {command}: out of memory{': ' * bool(str(error))}{_one_line(error)}", file=sys.stderr)
        return 1
    except (ValueError, OSError, ImportError, NotImplementedError) as error:
        print(f"convgpu {command}: {_one_line(error)}", file=sys.stderr)
        return 1


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return printable(f"{error.filename}: {error.strerror}")
    return printable(" ".join(str(error).split())) or type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convgpu", description="A tensor engine for convolutional networks.",
        epilog="Exit status: 0, 1 where something failed or was found wrong, 2 for wrong usage, 130 after Ctrl-C.")
    parser.add_argument("--version", action="version", version=f"convgpu {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_predict(commands)
    _add_filter(commands)
    _add_verify(commands)
    add_benchmark(commands)
    _add_ledger(commands)
    add_ptx(commands)
    info = commands.add_parser("info", help="versions, devices, backends, and what is missing")
    info.set_defaults(run=_info)
    return parser


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser("train", help="train LeNet-5 on handwritten digits",
                                description="Train LeNet-5 on scikit-learn's digits, or on images of yours.")
    train.add_argument("--data", metavar="FILE.npz",
                       help="x_train, y_train, x_test, y_test: images (N, H, W[, C]) of 16x16 or more, integer labels")
    train.add_argument("--out", metavar="FOLDER", default="convgpu-run", help="where results go (default: convgpu-run)")
    train.add_argument("--epochs", type=whole(1), metavar="N", help="passes over the data (default: 15)")
    train.add_argument("--batch-size", type=whole(1), metavar="N", help="images per step (default: 32)")
    train.add_argument("--seed", type=whole(0), metavar="N", help="of weights, split, order, shifts (default: 0)")
    train.add_argument("--device", choices=("cpu", "gpu"), help="default: the GPU where there is a usable one")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in the --out folder")
    train.add_argument("--dtype", choices=("float32", "bfloat16", "float16"),
                       help="what is computed in; the parameters are float32 (default: float32)")
    train.add_argument("--overwrite", action="store_true", help="begin anew where the --out folder holds a run")
    train.set_defaults(run=_train)


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    predict = commands.add_parser("predict", help="read pictures with trained weights",
                                  description="Print the class and its probability for each PNG or JPEG picture, the "
                                              "runner-up, and whether it looks unlike the training data.")
    predict.add_argument("images", nargs="+", metavar="IMAGE", help="a picture of any size, grey or in colour")
    predict.add_argument("--weights", required=True, metavar="W", help="model.safetensors from convgpu train")
    predict.add_argument("--device", choices=("cpu", "gpu"), help="default: the GPU where there is a usable one")
    predict.set_defaults(run=_predict)


def _add_filter(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    filters = commands.add_parser("filter", help="run a hand-made filter over a picture",
                                  description="Filter each channel of a picture; its border is repeated outwards.")
    filters.add_argument("image", metavar="IMAGE")
    filters.add_argument("--kernel", required=True, metavar="KERNEL",
                         help="sobel-x, sobel-y, gaussian, mean, sharpen, or a FILE with a matrix (.npy or text)")
    filters.add_argument("--out", required=True, metavar="OUT.png", help="the picture to write")
    filters.set_defaults(run=_filter)


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = commands.add_parser("verify", help="is this build right, on this machine? or a function of yours?",
                                 description="Run the named cases against the reference in float64; exit status 1 if "
                                             "any call is wrong, 2 for wrong usage. docs/verification.md has the "
                                             "bound. --against judges a function of yours instead of a backend.")
    verify.add_argument("--backend", choices=("cuda", "cpu", "emulated", "ptx", "numpy", "reference"),
                        help="default: cuda where there is a usable GPU, else cpu where it is built, else numpy")
    verify.add_argument("--family", action="append", dest="families", choices=_Families(), metavar="FAMILY",
                        help="one family of ops, or with --against of functions: %(choices)s (may be repeated; "
                             "default: all that the backend has)")
    verify.add_argument("--quick", action="store_true",
                        help="each case in one dtype and data format; large products where a kernel has no other")
    verify.add_argument("--case", action="append", dest="cases", metavar="NAME",
                        help="only the case of this name (may be repeated)")
    verify.add_argument("--json", metavar="FILE", help="write what was found")
    against = verify.add_argument_group("a function of yours")
    against.add_argument("--against", metavar="MODULE:FUNCTION",
                         help="judge this function (also FILE.py:FUNCTION) by the cases of --family")
    against.add_argument("--dtype", action="append", dest="dtypes", metavar="DTYPE",
                         choices=("float64", "float32", "float16", "bfloat16"), help="default: float32")
    against.add_argument("--data-format", action="append", dest="data_formats",
                         choices=("channels_last", "channels_first"), help="default: channels_last")
    against.add_argument("--arrays", choices=("numpy", "torch"), help="what the function takes (default: numpy)")
    against.add_argument("--device", choices=("cpu", "cuda"), help="where tensors of PyTorch are (default: cpu)")
    against.add_argument("--units", type=float, metavar="N", help="the allowed error in units of eps (default: 16)")
    verify.set_defaults(run=_verify)


def _add_ledger(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    ledger = commands.add_parser("ledger", help="what a training step costs on a GPU, without a GPU",
                                 description="Count launches, bytes, memory and waits of one step of a network on a "
                                             "GPU, and predict its time, on any machine. docs/ledger.md says what the "
                                             "figures are worth.")
    ledger.add_argument("--network", choices=LEDGER_NETWORKS, default="resnet50", help="default: resnet50")
    ledger.add_argument("--batch", type=whole(1), metavar="N", default=256, help="images of a step (default: 256)")
    ledger.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float32",
                        help="in which products are computed (default: float32)")
    ledger.add_argument("--device", metavar="GPU", help="by name, as H200 (default: this machine's, or an H200)")
    ledger.add_argument("--keras", action="store_true", help="the network of keras.applications, trained by Keras")
    ledger.add_argument("--max-batch", action="store_true", help="also find the largest batch that fits the GPU")
    ledger.add_argument("--json", metavar="OUT.json", help="write every row")
    ledger.add_argument("--plot", metavar="OUT.png", help="a picture of time and memory")
    ledger.set_defaults(run=_ledger)


class _Families:
    """The names of all families of ops and of functions, looked up when an option or its help asks for them."""

    def __iter__(self) -> Iterator[str]:
        from ..facts import FAMILIES
        from ..verify import ASKED

        return iter(dict.fromkeys((*FAMILIES, *ASKED)))

    def __contains__(self, name: object) -> bool:
        return name in list(self)


# Each command imports what it needs when it runs, so that `convgpu --help` answers at once.


def _train(**options: object) -> int:
    from ..examples.train_digits import train

    return train(**options)  # type: ignore[arg-type]


def _predict(**options: object) -> int:
    from ..examples.predict import predict_files

    return predict_files(**options)  # type: ignore[arg-type]


def _filter(**options: object) -> int:
    from ..examples.filter import filter_file

    return filter_file(**options)  # type: ignore[arg-type]


def _verify(json: str | None, families: list[str] | None, against: str | None, **options: Any) -> int:
    from ..facts import FAMILIES
    from ..verify import verify

    if json is not None:
        check_writable(json, "--json")
    judging = {name: options.pop(name) for name in ("dtypes", "data_formats", "arrays", "device", "units")}
    if against is not None:
        if json is not None or options["backend"] is not None or options["quick"]:
            raise UsageError("--against: --json, --backend and --quick are for backends")
        return _judge(against, families or [], options["cases"], judging)
    if any(judging.values()):
        raise UsageError("--dtype, --data-format, --arrays, --device and --units are for --against")
    unknown = [name for name in families or () if name not in FAMILIES]
    if unknown:
        raise UsageError(f"--family {unknown[0]} is for --against; a backend has {', '.join(FAMILIES)}")
    try:
        report = verify(families=families, progress=True, **options)
    except LookupError as error:
        print(f"convgpu verify: {error.args[0]}", file=sys.stderr)
        return 2
    print(report)
    if json is not None:
        report.save(json)
    return 0 if report.passed(families) else 1


def _judge(target: str, families: list[str], cases: list[str] | None, judging: dict[str, Any]) -> int:
    """Judge a function of the user by the cases of one family."""
    from .. import verify
    from ..verify.against import imported

    asked = [name for name in families if name in verify.ASKED]
    if len(families) != 1 or not asked:
        raise UsageError(f"--against: expected one --family of {', '.join(verify.ASKED)}, got "
                         f"{' and '.join(families) or 'none'}")
    try:
        fn = imported(target)
    except ValueError as error:
        raise UsageError(str(error)) from None
    given = {name: value for name, value in judging.items() if value is not None}
    try:
        report = verify.against(fn, asked[0], cases=cases, name=target, **given)
    except LookupError as error:
        raise UsageError(error.args[0]) from None
    print(report)
    return 0 if report.passed else 1


def _ledger(**options: object) -> int:
    from ..ledger.command import run

    return run(**options)  # type: ignore[arg-type]


def _info() -> int:
    from ..info import report

    print(report())
    return 0
