"""The docstrings of convgpu, which are plain text, as the reStructuredText that Sphinx reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Shapes|Source):$")
# A formula is a paragraph of its own that defines something, and ends in no full stop.
_FORMULA = re.compile(r"(^|\s)(=|<-|<=|->|~)\s")
_CODE = re.compile(r"(`[^`\n]+`)")


def to_rst(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Change a docstring in place: formulas into literal blocks, and stars and bars of prose into themselves.

    A hook of `autodoc-process-docstring`, which runs before napoleon reads the sections.
    """
    made: list[str] = []
    in_section = False
    for paragraph in _paragraphs(lines):
        in_section = bool(_SECTION.match(paragraph[0])) or (in_section and paragraph[0].startswith(" "))
        made += _converted(paragraph, in_section)
    lines[:] = made


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Groups of lines between empty ones."""
    group: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            group.append(line.rstrip())
        elif group:
            yield group
            group = []


def _converted(paragraph: list[str], in_section: bool) -> list[str]:
    first = paragraph[0]
    if first.startswith(" ") and not in_section:
        return ["::", "", *("    " + line for line in paragraph), ""]
    if first.lstrip().startswith(">>>"):
        return [*paragraph, ""]
    if _SECTION.match(first):  # one entry per argument, whose continued lines stand further in
        return [first, *map(_escaped, paragraph[1:]), ""]
    if in_section:
        return [*map(_escaped, paragraph), ""]
    if _is_formula(paragraph):
        return ["::", "", *("    " + line for line in paragraph), ""]
    return [*map(_escaped, paragraph), ""]


def _is_formula(paragraph: list[str]) -> bool:
    end = paragraph[-1].replace("...", "")
    return bool(_FORMULA.search(paragraph[0])) and not end.endswith((".", ":"))


def _escaped(line: str) -> str:
    parts = _CODE.split(line)
    return "".join(_code(part) if part.startswith("`") else re.sub(r"([*|\\]|(?<=\w)_(?=\W|$))", r"\\\1", part)
                   for part in parts)


def _code(part: str) -> str:
    """A name in backticks links to where it is described; anything else is code."""
    inner = part[1:-1]
    return part if re.fullmatch(r"[A-Za-z_][\w.]*", inner) else f"``{inner}``"
