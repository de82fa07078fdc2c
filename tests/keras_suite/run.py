"""Keras's own tests, from its wheel, on convgpu: `python tests/keras_suite/run.py [option] [directory or file ...]`.

Every test file of the wheel stands in files.txt, under what runs it. Without arguments those run which the project's
own tests include, a few minutes; with --keras-suite those that ask jax for dtypes; with --all all but those that are
not run, one process per directory. What is left out of a file, and why, stands in exclusions.txt.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SECTIONS = ("part", "keras-suite", "all", "not run")


def table() -> dict[str, tuple[str, str]]:
    """Per test file of Keras the section of files.txt in which it stands, and the rest of the section's line."""
    files: dict[str, tuple[str, str]] = {}
    section = reason = ""
    for line in (HERE / "files.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            section, _, reason = (part.strip() for part in line.lstrip("# ").partition(":"))
        elif line.strip():
            if section not in SECTIONS or line.strip() in files:
                raise ValueError(f"files.txt: expected a file once in one of {SECTIONS}, got {line!r} in {section!r}")
            files[line.strip()] = section, reason
    return files


def chosen(*sections: str) -> tuple[str, ...]:
    """The files of sections."""
    return tuple([name for name, (section, _) in table().items() if section in sections])


def package() -> Path:
    """Where Keras is installed."""
    spec = importlib.util.find_spec("keras")
    if spec is None or spec.origin is None:
        raise ImportError('tests/keras_suite needs the package keras: pip install "convgpu[keras]"')
    return Path(spec.origin).parent


def run(targets: tuple[str, ...], options: tuple[str, ...] = ()) -> int:
    """pytest's exit code for files and directories of keras/src."""
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, f"--rootdir={package().parent}", "-p", "plugin",
               "--assert=plain", "-p", "no:cacheprovider", "-q", "-W", "ignore", "--tb=short", *options,
               *[str(package() / "src" / target) for target in targets]]
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keras-suite", action="store_true", help="the files that need jax, of the extra keras-suite")
    parser.add_argument("--all", action="store_true", help="every file but those that are not run")
    parser.add_argument("targets", nargs="*", help="files and directories below keras/src")
    options = parser.parse_args()
    if options.keras_suite and importlib.util.find_spec("jax") is None:
        print('these tests of Keras ask jax for dtypes: pip install "convgpu[keras-suite]"', file=sys.stderr)
        return 2
    if not options.all:
        return run(tuple(options.targets) or chosen("keras-suite" if options.keras_suite else "part"))
    folders: dict[str, list[str]] = {}
    for name in chosen("part", "keras-suite", "all"):
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    codes = {}
    for folder, names in folders.items():
        print(f"== {folder}", flush=True)
        codes[folder] = run(tuple(names))
    failed = [folder for folder, code in codes.items() if code not in (0, 5)]  # 5: all were skipped as files
    print(f"{len(codes) - len(failed)} of {len(codes)} without failures; failures in {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
