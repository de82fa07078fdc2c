"""Packs what a machine without a network needs into build/carried: the kernel library, the commit, missing packages.

A copied checkout has no .git. So the commit and a digest of each file are written down before the copy, and read on the
other machine; a commit whose files differ is marked dirty. Only the standard library is used.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER, LIBRARY, COMMIT = ROOT / "build" / "carried", "libconvgpu_cuda.so", "commit.json"
PACKED = f"{LIBRARY}.xz"
# What the steps of bench/on_gpu.sh use, beside CuPy and PyTorch, which are too large to travel.
WANTED = ("numpy", "ml_dtypes", "pybind11", "ninja", "pytest", "hypothesis", "scipy", "scikit-learn",
          "matplotlib", "tqdm", "safetensors", "pillow")
TOO_LARGE = ("cupy", "torch")


def commit() -> str | None:
    """The commit that CONVGPU_COMMIT names, else git's, else the one that was written down; None where there is none.
    """
    if named := os.environ.get("CONVGPU_COMMIT"):
        return named
    told = _git("describe", "--always", "--dirty", "--abbrev=12")
    if told is not None and _git("ls-files", "--error-unmatch", "bench/carried.py") is not None:
        return told
    file = FOLDER / COMMIT
    if not file.exists():
        return None
    written = json.loads(file.read_text())
    same = all(_digest(ROOT / name) == digest for name, digest in written["files"].items())
    return written["commit"] if same or written["commit"].endswith("-dirty") else written["commit"] + "-dirty"


def pack(have: Path | None, python: str) -> int:
    """Fill build/carried. have: a file with the other machine's `pip list`; None: no package is carried."""
    told = commit()
    if told is None or _git("ls-files") is None:
        print("on_gpu: --pack: expected a git checkout, to tell the commit", file=sys.stderr)
        return 1
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    names = [name for name in (_git("ls-files", "csrc", "convgpu", "bench/*.py", "bench/*.cu", "tests/*.py", "setup.py")
                               or "").splitlines() if (ROOT / name).is_file()]
    (FOLDER / COMMIT).write_text(json.dumps({"commit": told, "files": {n: _digest(ROOT / n) for n in names}}))
    if not _pack_library() or have is not None and not _pack_packages(have, python):
        return 1
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    print(f"{FOLDER.relative_to(ROOT)}: {size / 1e6:.1f} MB, commit {told}")
    return 0


def unpacked_library(folder: Path) -> Path | None:
    """The carried kernel library, unpacked into a folder; None where none was carried."""
    packed, library = FOLDER / PACKED, folder / LIBRARY
    if not packed.exists():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    if not library.exists() or library.stat().st_mtime < packed.stat().st_mtime:
        partial = folder / f"{LIBRARY}.partial"
        with lzma.open(packed) as source, open(partial, "wb") as target:
            shutil.copyfileobj(source, target)
        partial.replace(library)
    return library


def _pack_library() -> bool:
    """Pack the kernel library without its symbols. Without a built library nothing is packed; a library that is older
    than its sources is an error.
    """
    library = ROOT / "convgpu" / LIBRARY
    if not library.exists():
        print("no kernel library is carried: convgpu/libconvgpu_cuda.so was not built here, and nvcc builds it there")
        return True
    sources = (path for path in (ROOT / "csrc").rglob("*.*") if path.suffix in (".cu", ".cuh", ".cpp", ".h", ".json"))
    newest = max(sources, key=lambda path: path.stat().st_mtime)
    if newest.stat().st_mtime > library.stat().st_mtime:
        print(f"on_gpu: --pack: convgpu/{LIBRARY} is older than {newest.relative_to(ROOT)}: build it again "
              "(CONVGPU_CUDA=1 python setup.py build_ext --inplace), or remove it", file=sys.stderr)
        return False
    stripped, strip = FOLDER / LIBRARY, shutil.which("strip")
    subprocess.run([strip, "--strip-unneeded", "-o", stripped, library] if strip else ["cp", library, stripped],
                   check=True)
    with open(stripped, "rb") as source, lzma.open(FOLDER / PACKED, "wb", preset=1) as target:
        shutil.copyfileobj(source, target)
    stripped.unlink()
    return True


def _pack_packages(have: Path, python: str) -> bool:
    """Pack the packages of WANTED that the list does not contain."""
    there = {_normal(line.split()[0].partition("==")[0]) for line in have.read_text().splitlines() if line.split()}
    for name in TOO_LARGE:
        if not any(package.split("-")[0] == name for package in there):
            print(f"on_gpu: --pack: {have} names no {name}, which is too large to travel: steps with it are left out")
    lacking = [name for name in WANTED if _normal(name) not in there]
    if not lacking:
        return True
    print(f"carried: {', '.join(lacking)}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", FOLDER / "packages", "--only-binary=:all:",
           "--python-version", python]
    resolved = subprocess.run([*pip, "--dry-run", "--report", "-", *lacking], stdout=subprocess.PIPE, text=True)
    if resolved.returncode != 0:
        return False
    found = [(item["metadata"]["name"], item["metadata"]["version"]) for item in json.loads(resolved.stdout)["install"]]
    return subprocess.run([*pip, "--no-deps", *(f"{name}=={version}" for name, version in found
                                                if _normal(name) not in there)]).returncode == 0


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
