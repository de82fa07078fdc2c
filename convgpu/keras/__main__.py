"""Run an unchanged Keras script on convgpu: `python -m convgpu.keras [--tf-keras] script.py [arguments]`."""

from __future__ import annotations

import os
import runpy
import sys

from . import tf_keras

USAGE = """usage: python -m convgpu.keras [--tf-keras] script.py [arguments]

Runs a Keras script with convgpu as the backend.
  --tf-keras   `from tensorflow import keras` and `tensorflow.keras` give this Keras, too"""


def main(arguments: list[str]) -> int:
    """Run the script that the arguments name as the main program."""
    if arguments[:1] == ["--tf-keras"]:
        tf_keras.install()
        arguments = arguments[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    script = arguments[0]
    if not os.path.isfile(script):
        print(f"convgpu.keras: expected the name of a script, got {script!r}: there is no such file", file=sys.stderr)
        return 2
    sys.argv = arguments
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    runpy.run_path(script, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
