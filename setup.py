"""The compiled modules; everything else is in pyproject.toml. csrc/build_system/choice.py says which are built."""

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import SetupError

sys.path.insert(0, str(Path(__file__).resolve().parent / "csrc"))

from build_system.choice import CannotBuild, Choice, choose  # noqa: E402 - not installed, so not found without the path
from build_system.ninja import build, targets_of  # noqa: E402


class BuildKernels(build_ext):
    """All modules and their libraries at once, by ninja."""

    choice: Choice

    def run(self) -> None:
        inplace = self.inplace or self.editable_mode
        into = Path("convgpu") if inplace else Path(self.build_lib, "convgpu")
        try:
            self._built = [str(path) for path in build(targets_of(self.choice), into)]
        except CannotBuild as error:
            raise SetupError(str(error)) from None

    def get_outputs(self) -> list[str]:
        return getattr(self, "_built", [])

    def get_output_mapping(self) -> dict[str, str]:
        return {}


try:
    BuildKernels.choice = choose(editable=bool({"editable_wheel", "develop"} & set(sys.argv)))
except CannotBuild as error:
    sys.exit(str(error))
modules = [name for name in ("cuda", "emulated", "cpu", "ptx") if getattr(BuildKernels.choice, name)]
modules += ["ptx_kernels"] if BuildKernels.choice.ptx_archs else []
setup(ext_modules=[Extension(f"convgpu._{name}", []) for name in modules], cmdclass={"build_ext": BuildKernels})
