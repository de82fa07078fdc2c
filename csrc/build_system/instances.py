"""Writes the sources that differ by a dtype alone into the build folder; one list per family says which.

csrc/FAMILY/instances.json is a list of entries, one for each engine whose kernels are templates:

    name        the name of the engine; its file for float16 is FAMILY/<name>_float16.cu
    header      the header of that folder that defines the macro, and what the templates need
    macro       the macro that instantiates the templates
    instances   the macro's arguments for each dtype

Each dtype has a file of its own, since a compiler takes a minute for one: ninja compiles them side by side.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent
LIST = "instances.json"
KEYS = {"name", "header", "macro", "instances"}

TEXT = """// Written by csrc/build_system/instances.py from csrc/{family}/{list}.
#include "{header}"

namespace convgpu::{family} {{

{macro}({arguments})

}}  // namespace convgpu::{family}
"""


def entries(family: Path) -> list[dict[str, object]]:
    """Return the list of a family, which is empty if the family has no such file."""
    path = family / LIST
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    for entry in found:
        if set(entry) != KEYS or not (family / entry["header"]).is_file():
            raise ValueError(f"{path}: expected entries of {', '.join(sorted(KEYS))}, with a header that is there, "
                             f"got {entry}")
    return found


def texts(folder: Path) -> dict[Path, str]:
    """Return the path in `folder` and the text of every file of every family."""
    found: dict[Path, str] = {}
    for family in sorted(path.parent for path in SOURCES.glob(f"*/{LIST}")):
        for entry in entries(family):
            for dtype, arguments in entry["instances"].items():
                path = folder / family.name / f"{entry['name']}_{dtype}.cu"
                if path in found:
                    raise ValueError(f"{family / LIST}: expected one entry for {path.name}, got two")
                header = os.path.relpath(family / entry["header"], path.parent)
                found[path] = TEXT.format(family=family.name, list=LIST, header=header, macro=entry["macro"],
                                          arguments=arguments)
    return found


def write(folder: Path) -> list[Path]:
    """Bring the files in `folder` up to date, and return them. A file with the same text keeps its time of change."""
    wanted = texts(folder)
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in set(folder.rglob("*.cu")) - set(wanted):
        path.unlink()
    return list(wanted)
