"""Links of the pages that leave the folder docs: on the site they lead to the repository."""

from __future__ import annotations

import re
from pathlib import Path

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def rewrite_links(docs: Path, repository: str | None, name: str, source: list[str]) -> None:
    """Change in place what a page of the site cannot reach.

    A link to a file that is no page of the site (a program, a folder, a page outside docs) becomes a link into the
    repository, or, where pyproject.toml names no repository, its text alone.
    """
    folder = (docs / name).parent

    def rewrite(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = (folder / target).resolve()
        if "://" in target or not path.exists() or (path.suffix == ".md" and path.is_relative_to(docs)):
            return match[0]
        inside = path.relative_to(docs.parent).as_posix()
        if repository is None:
            return f"{text} (`{inside}`)" if text.strip("`") not in inside else f"`{inside}`"
        return f"[{text}]({repository}/{'tree' if path.is_dir() else 'blob'}/main/{inside}{anchor})"

    source[0] = _LINK.sub(rewrite, source[0])
