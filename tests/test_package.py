"""The package as it is built and installed: outside the tree, with NumPy alone, with no compiler in sight."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = (
    'python3 -m venv .venv && .venv/bin/pip install ".[demo]" && .venv/bin/convgpu train',
    ('python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && '
     ".venv/bin/pytest -n auto --dist loadfile --no-loadscope-reorder"),
)


def check_output(*command: object, **options: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it; the tree itself stays clean."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    unwanted = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "build")
    shutil.copytree(ROOT, source, ignore=unwanted)
    unforced = {key: value for key, value in os.environ.items() if not key.startswith("CONVGPU_")}
    check_output(sys.executable, "-m", "build", "--outdir", folder, source, env=unforced)
    return folder


@pytest.fixture(scope="session")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel; nothing but that folder was on the PATH of pip."""
    folder = tmp_path_factory.mktemp("environment")
    check_output(sys.executable, "-m", "venv", folder)
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    wheel, = built.glob("*.whl")
    check_output(binaries / "pip", "install", "--disable-pip-version-check", wheel, env=clean(binaries))
    return binaries


def clean(binaries: Path) -> dict[str, str]:
    """The environment without other Python paths and without any compiler."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON") and key != "VIRTUAL_ENV"}
    return kept | {"PATH": str(binaries)}


def wheel_metadata(built: Path) -> tuple[list[str], Parser]:
    wheel, = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        text = file.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    return names, Parser().parsestr(text)


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_has_the_commands(command: str) -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").splitlines().count(command) == 1


def test_core_needs_numpy_alone(built: Path) -> None:
    _, metadata = wheel_metadata(built)
    required = metadata.get_all("Requires-Dist")
    assert [r for r in required if "extra ==" not in r] == ["numpy>=2.0"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra")) >= {"demo", "test", "cuda12", "cuda13"}
    by_extra = {extra: {re.split(r"[>=<;\[ ]", r)[0] for r in required if re.search(rf"extra == .{extra}.", r)}
                for extra in ("demo", "test", "cuda12", "cuda13")}
    assert by_extra["demo"] == {"scikit-learn", "matplotlib", "tqdm", "safetensors", "pillow", "ml_dtypes"}
    assert {"convgpu", "pytest", "hypothesis", "scipy", "scikit-image"} <= by_extra["test"]
    assert by_extra["cuda12"] == {"cupy-cuda12x", "ml_dtypes"} and by_extra["cuda13"] == {"cupy-cuda13x", "ml_dtypes"}


def test_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    names, _ = wheel_metadata(built)
    wheel, = built.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "convgpu").rglob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == ours | {"convgpu/py.typed", "convgpu_pytest.py"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_sdist_holds_the_tests_and_the_docs(built: Path) -> None:
    sdist, = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"tests/test_package.py", "docs/getting-started.md", "README.md", "LICENSE", "CHANGELOG.md"} <= names


def test_installed_package_runs_the_readmes_example(installed: Path, tmp_path: Path) -> None:
    example = re.search(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "example.py").write_text(example.group(1) + "print(cg.__file__)\n")
    said = check_output(installed / "python", "example.py", cwd=tmp_path, env=clean(installed)).split()
    assert Path(said[-1]).is_relative_to(installed.parent)
    assert [abs(float(v.strip("[]"))) for v in said[:-1] if v.strip("[]")] == [1, 0, 1, 2, 0, 2, 1, 0, 1]


def test_installed_commands(installed: Path, tmp_path: Path) -> None:
    options = {"cwd": tmp_path, "env": clean(installed)}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("version")
    assert version is None  # it stands in convgpu/__init__.py alone
    assert re.fullmatch(r"convgpu \d+\.\d+\.\d+\n", check_output(installed / "convgpu", "--version", **options))
    said = check_output(installed / "convgpu", "info", **options)
    assert 'matplotlib   missing: pip install "convgpu[demo]"' in said
    done = subprocess.run([installed / "convgpu", "train"], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 1
    assert done.stderr == 'convgpu train: training needs the package tqdm: pip install "convgpu[demo]"\n'
    assert list(tmp_path.iterdir()) == []


def test_info_knows_the_extras() -> None:
    from convgpu import info

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra: {re.split(r"[>=<\[;]", name)[0] for name in names} for extra, names in extras.items()}
    for extra, names in info.PACKAGES.items():
        assert set(names) <= named[extra]
    assert all(package in named[extra] for extra, package in info.CUPY.items())


def test_hooks_and_tests_use_the_same_versions_of_their_tools():
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    for tool in ("ruff", "mypy", "clang-format"):
        pinned = re.findall(rf"\b({tool}==[\d.]+)", hooks)
        assert pinned and set(pinned) <= set(extra), tool
