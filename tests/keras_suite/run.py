"""Keras's own tests, from its wheel, on convgpu: `python tests/keras_suite/run.py [--all] [directory or file ...]`.

Without arguments a part that takes a few minutes; with --all the fourteen directories, one process each. What is left
out, and why, stands in exclusions.txt.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

PART = (
    "layers/convolutional", "layers/pooling", "layers/normalization/batch_normalization_test.py", "layers/activations",
    "activations", "trainers/trainer_test.py", "optimizers/adam_test.py", "optimizers/sgd_test.py",
    "optimizers/loss_scale_optimizer_test.py", "losses", "saving/saving_lib_test.py", "models/sequential_test.py",
    "callbacks/model_checkpoint_test.py", "backend/common/variables_test.py",
)
ALL = (
    "layers/convolutional", "layers/pooling", "layers/normalization", "layers/activations", "layers/attention",
    "layers/core", "layers/merging", "layers/regularization", "layers/reshaping", "layers/rnn", "layers/preprocessing",
    "layers/layer_test.py", "metrics", "losses", "models", "trainers", "callbacks",
    "backend/common", "backend/tests", "optimizers", "saving", "legacy", "quantizers", "distillation", "random",
    "activations", "ops/nn_test.py", "ops/core_test.py", "ops/math_test.py", "ops/linalg_test.py", "ops/image_test.py",
)


def run(targets: tuple[str, ...], options: tuple[str, ...] = ()) -> int:
    """pytest's exit code for files and directories of keras/src."""
    spec = importlib.util.find_spec("keras")
    if spec is None or spec.origin is None:
        raise ImportError('tests/keras_suite needs the package keras: pip install "convgpu[keras]"')
    package = Path(spec.origin).parent
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, f"--rootdir={package.parent}", "-p", "plugin",
               "--assert=plain", "-p", "no:cacheprovider", "-q", "-W", "ignore", "--tb=short", *options,
               *[str(package / "src" / target) for target in targets]]
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="the fourteen directories, one process each")
    parser.add_argument("targets", nargs="*", help="files and directories below keras/src")
    chosen = parser.parse_args()
    if not chosen.all:
        return run(tuple(chosen.targets) or PART)
    codes = {}
    for target in ALL:
        print(f"== {target}", flush=True)
        codes[target] = run((target,))
    failed = [target for target, code in codes.items() if code]
    print(f"{len(codes) - len(failed)} of {len(codes)} without failures; failures in {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
