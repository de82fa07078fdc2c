"""Tables as text of at most 100 characters a line, and as Markdown."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

WIDTH = 100


@dataclass
class Column:
    """Cells under a title; neighbouring columns of one group share a heading above their titles."""

    group: str
    title: str
    cells: list[str]
    left: bool = False
    least: int = 0  # the least width of the column, whatever its cells hold

    @property
    def width(self) -> int:
        """The width of the widest cell or the title."""
        return max(self.least, *(len(text) for text in (self.title, *self.cells)))

    def line(self, text: str) -> str:
        """The text, padded to the column's width."""
        return text.ljust(self.width) if self.left else text.rjust(self.width)


def number(value: float | None, digits: int = 3) -> str:
    """The value with `digits` significant digits and no exponent; "-" for None.

    >>> [number(x) for x in (0.01234, 1.5, 123.4, 12345.6, None)]
    ['0.0123', '1.50', '123', '12,346', '-']
    """
    if value is None:
        return "-"
    if abs(value) >= 10**(digits - 1):
        return f"{value:,.0f}"
    exponent = int(f"{value:e}".split("e")[1]) if value else 0
    return f"{value:.{digits - 1 - exponent}f}"


def percent(share: float | None) -> str:
    """A share as "62%"; "-" for None."""
    return "-" if share is None else f"{100 * share:.0f}%"


def wrapped(line: str) -> str:
    """A sentence broken into lines of at most 100 characters."""
    return textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)


def text(columns: Sequence[Column], keys: int) -> str:
    """The table; a table that is too wide is cut into parts that repeat the first `keys` columns. Groups stay together.
    """
    parts = [list(columns[:keys])]
    for _, members in itertools.groupby(columns[keys:], key=lambda column: column.group or id(column)):
        group = _widened(list(members))
        if len(parts[-1]) > keys and _width(parts[-1]) + 2 + _width(group) > WIDTH:
            parts.append(list(columns[:keys]))
        parts[-1] += group
    return "\n\n".join("\n".join(_lines(part)) for part in parts)


def _widened(group: list[Column]) -> list[Column]:
    """The columns of a group, made wide enough for the group's name."""
    missing = len(group[0].group) - _width(group)
    return group if missing <= 0 else [*group[:-1], replace(group[-1], least=group[-1].width + missing)]


def _width(columns: Sequence[Column]) -> int:
    return sum(c.width for c in columns) + 2 * (len(columns) - 1)


def _lines(columns: Sequence[Column]) -> Iterator[str]:
    if any(c.group for c in columns):
        groups, start = "", 0
        for i, column in enumerate(columns):
            if i and column.group != columns[i - 1].group and column.group:
                groups = groups.ljust(start) + column.group
            start += column.width + 2
        yield groups.rstrip()
    yield "  ".join(c.line(c.title) for c in columns).rstrip()
    for cells in zip(*[c.cells for c in columns]):
        yield "  ".join(c.line(cell) for c, cell in zip(columns, cells)).rstrip()


def markdown(columns: Sequence[Column]) -> str:
    """The table as one Markdown table."""
    titles = [f"{c.group} {c.title}".strip() for c in columns]
    rows = [titles, ["---" if c.left else "---:" for c in columns], *map(list, zip(*[c.cells for c in columns]))]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
