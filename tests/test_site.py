"""The documentation as a site: it is made without a warning, and its reference has every public name."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import convgpu as cg

ROOT = Path(__file__).parent.parent
NEEDED = ("sphinx", "myst_parser", "furo")
needs_sphinx = pytest.mark.skipif(not all(map(importlib.util.find_spec, NEEDED)),
                                  reason='the site needs Sphinx: pip install "convgpu[docs]"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the pages. Links between pages and to headings lead somewhere, or this fails."""
    folder = tmp_path_factory.mktemp("site")
    strict = ["-q", "-W", "--keep-going", "-d", folder / "trees"]
    command = [sys.executable, "-m", "sphinx", *strict, ROOT / "docs", folder]
    made = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert made.returncode == 0, made.stderr
    return folder


@needs_sphinx
def test_every_public_name_is_in_the_reference(site: Path) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    described = set(re.findall(r'id="(?:module-)?(convgpu\.[\w.]+)"', text))
    names = {f"convgpu.{name}" for name in cg.__all__ if name != "numpy"}  # described in docs/numpy.md
    for module in (cg.optim, cg.data, cg.distributed, cg.ptx):
        names |= {f"{module.__name__}.{name}" for name in module.__all__}
    assert sorted(names - described) == []


@needs_sphinx
def test_formulas_and_examples_are_set_as_code(site: Path) -> None:
    page = (site / "reference" / "pooling.html").read_text(encoding="utf-8")
    blocks = [re.sub("<[^>]+>", "", block) for block in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)]
    assert any("max over r of x[n, p*stride + r*dilation - before, c]" in block for block in blocks)
    assert any("max_pool(x, 2)[0, :, :, 0]" in block for block in blocks)


@needs_sphinx
def test_links_out_of_the_pages_are_text_or_lead_to_the_repository(site: Path) -> None:
    page = (site / "getting-started.html").read_text(encoding="utf-8")
    assert 'href="../' not in page and "convgpu/architectures/lenet5.py" in page
