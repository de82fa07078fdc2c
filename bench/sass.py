"""Shows what the compiler made of the kernels: python bench/sass.py [LIBRARY] prints, for each kernel and architecture,
registers, shared memory, stack, and the counts of instructions that tell fast kernels from slow ones.

It reads the built library (convgpu/libconvgpu_cuda.so) with cuobjdump, compiles nothing, and needs no GPU. STL and LDL
are spilled registers; LDG.E.128 is a load of 16 bytes; MEMBAR.ALL.GPU waits until the whole GPU sees what was written.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "csrc"))

from build_system import toolchain  # noqa: E402 - build_system is a folder, no installed package

LIBRARY = ROOT / "convgpu" / "libconvgpu_cuda.so"
# The columns count global loads and stores (of 16 bytes), asynchronous copies to shared memory, shared memory loads,
# multiply-adds, tensor core products, TMA, waits for the memory of the whole GPU, spills. Each entry is an instruction
# with any suffixes; with a slash, only with the suffix after it.
COLUMNS = ("LDG", "LDG/128", "STG", "STG/128", "LDGSTS", "LDS", "FFMA", "DFMA", "HMMA", "HGMMA", "UTMALDG",
           "UTMASTG", "MEMBAR/GPU", "STL", "LDL")
# Groups: the address, the name, and for a branch its target, which is the last operand.
_INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)(?:[^;\n]*?0x([0-9a-f]+)\s*;)?")


@dataclass
class Kernel:
    """One kernel for one architecture."""

    arch: str
    symbol: str
    name: str = ""  # the template arguments stay: "pool::max_pool_window<float, unsigned char, 4, 3>"
    registers: int = 0
    stack: int = 0
    shared: int = 0  # bytes of static shared memory; kernels also take dynamic memory
    instructions: Counter[str] = field(default_factory=Counter)
    among_products: Counter[str] = field(default_factory=Counter)  # the instructions between products, see _among

    def count(self, column: str, among_products: bool = False) -> int:
        """The number of instructions of a column of COLUMNS; with `among_products`, only those among its wgmma."""
        wanted, _, suffix = column.partition("/")
        instructions = self.among_products if among_products else self.instructions
        return sum(n for (name, *suffixes), n in ((full.split("."), n) for full, n in instructions.items())
                   if name == wanted and (not suffix or suffix in suffixes))

    @property
    def spills(self) -> int:
        """The number of instructions that store or load spilled registers."""
        return self.count("STL") + self.count("LDL")


def kernels_of(library: Path) -> list[Kernel]:
    """All kernels of a library, sorted by name."""
    tool = toolchain.find_tool("cuobjdump")
    if tool is None:
        raise SystemExit("sass: expected cuobjdump in CUDA_HOME, on the PATH, or in the package nvidia-cuda-cuobjdump "
                         "(and nvdisasm: nvidia-cuda-nvdisasm), found none")
    found = {(k.arch, k.symbol): k for k in _resources(_output(tool, "-res-usage", library))}
    for arch, symbol, instructions, among_products in _code(_output(tool, "-sass", library)):
        found[arch, symbol].instructions = instructions
        found[arch, symbol].among_products = among_products
    names = demangled([k.symbol for k in found.values()])
    for kernel in found.values():
        kernel.name = names[kernel.symbol]
    return sorted(found.values(), key=lambda k: (k.name, k.arch))


def _output(tool: Path, option: str, library: Path) -> str:
    return subprocess.run([tool, option, library], capture_output=True, text=True, check=True).stdout


def _resources(text: str) -> Iterator[Kernel]:
    """The kernels in the lines " Function NAME:" and "  REG:32 STACK:0 SHARED:0 ...", below "arch = sm_80"."""
    arch = symbol = ""
    for line in text.splitlines():
        if found := re.match(r"\s*arch = (\w+)", line):
            arch = found[1]
        elif found := re.match(r"\s*Function ([\w$]+)\s*:", line):
            symbol = found[1]
        elif "REG:" in line and symbol:
            numbers = {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", line)}
            yield Kernel(arch, symbol, registers=numbers["REG"], stack=numbers["STACK"], shared=numbers["SHARED"])


def _code(text: str) -> Iterator[tuple[str, str, Counter[str], Counter[str]]]:
    """For each function: architecture, symbol, and the counts of its instructions in all and among its HGMMA."""
    arch = ""
    for part in re.split(r"\s*Function : ", text):
        symbol, _, body = part.partition("\n")
        if arch:
            code = _INSTRUCTION.findall(body)
            first, last = _among([address for address, _, _ in code], [name for _, name, _ in code],
                                 [target.zfill(len(address)) for address, _, target in code])
            yield (arch, symbol.strip(), Counter(name for _, name, _ in code),
                   Counter(name for _, name, _ in code[first:last]))
        for found in re.finditer(r"arch = (\w+)", part):  # the architecture of the functions that follow
            arch = found[1]


def _among(addresses: list[str], names: list[str], targets: list[str]) -> tuple[int, int]:
    """The start and end index of the code that is executed between one HGMMA and another.

    The code reaches from the first HGMMA to the last, and over the innermost loop around each: what follows an HGMMA in
    a loop is executed before the HGMMA of the next round.
    """
    products = [i for i, name in enumerate(names) if name.startswith("HGMMA")]
    if not products:
        return 0, 0
    first, last = products[0], products[-1]
    at = {address: i for i, address in enumerate(addresses)}
    loops = [(at[target], i) for i, (name, target) in enumerate(zip(names, targets))
             if name.startswith("BRA") and at.get(target, i + 1) <= i]
    for product in products:
        around = [(end - begin, begin, end) for begin, end in loops if begin <= product <= end]
        if around:
            _, begin, end = min(around)
            first, last = min(first, begin), max(last, end)
    return first, last + 1


def demangled(symbols: list[str]) -> dict[str, str]:
    """Readable names; without c++filt the symbols themselves."""
    tool = shutil.which("c++filt")
    if tool is None:
        return dict(zip(symbols, symbols))
    lines = subprocess.run([tool], input="\n".join(symbols), capture_output=True, text=True, check=True).stdout
    return {symbol: _short(line) for symbol, line in zip(symbols, lines.splitlines())}


def _short(name: str) -> str:
    name = name.removeprefix("void ").replace("convgpu::", "").replace("(anonymous namespace)::", "")
    depth = 0
    for i, c in enumerate(name):
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            return name[:i]
    return name


def _width(column: str) -> int:
    return max(8, len(column) + 1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("library", nargs="?", type=Path, default=LIBRARY)
    parser.add_argument("--like", default="", help="only kernels whose name contains this")
    options = parser.parse_args()
    if not options.library.is_file():
        raise SystemExit(f"sass: expected a built library, found no {options.library}: CONVGPU_CUDA=1 pip install -e .")
    kernels = [k for k in kernels_of(options.library) if options.like in k.name]
    print(f"{'arch':8}{'regs':>5}{'stack':>6}{'shared':>7}" + "".join(f"{c:>{_width(c)}}" for c in COLUMNS)
          + "  kernel")
    for k in kernels:
        counts = "".join(f"{k.count(c):{_width(c)}}" for c in COLUMNS)
        print(f"{k.arch:8}{k.registers:5}{k.stack:6}{k.shared:7}{counts}  {k.name}")
    print(f"{len(kernels)} kernels, {sum(k.spills > 0 for k in kernels)} spill")


if __name__ == "__main__":
    main()
