"""Sphinx's settings: `sphinx-build -W -b html docs docs/_build/html` makes the site (pip install "convgpu[docs]")."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

from site_docstrings import to_rst  # noqa: E402
from site_links import rewrite_links  # noqa: E402

import convgpu  # noqa: E402

_project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "convgpu"
author = "the authors of convgpu"
copyright = f"{author}; {_project['license']}"  # noqa: A001 - Sphinx's name
version = release = convgpu.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.intersphinx"]
exclude_patterns = ["_build", "examples"]
default_role = "py:obj"
nitpicky = False
suppress_warnings = ["config.cache"]

myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath", "colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
intersphinx_mapping: dict[str, tuple[str, str | None]] = {}  # nothing is fetched while the site is built

html_theme = "furo"
html_title = f"convgpu {version}"
html_static_path: list[str] = []
html_show_sourcelink = False


def setup(app: object) -> None:
    """Connect what makes the repository's Markdown and the docstrings of convgpu into pages."""
    urls = _project.get("urls", {})
    app.connect("source-read", lambda app, name, source: rewrite_links(DOCS, urls.get("Source"), name, source))
    app.connect("autodoc-process-docstring", to_rst, priority=100)  # before napoleon, whose priority is 500
