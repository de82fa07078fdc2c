"""Every Python block of README.md and docs/*.md runs: a page from top to bottom, in one namespace."""

import doctest
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from gpu_device import use_stand_in
from native_backends import BUILT

import convgpu as cg
from convgpu import ptx
from convgpu.ptx import nvrtc

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if page.name == "device.md":
        if not BUILT:
            pytest.skip("the page's GPU is a stand-in, which needs convgpu._emulated")
        use_stand_in(monkeypatch)
    if page.name in ("ptx.md", "verify-against.md") and not (ptx.is_built() and nvrtc.is_installed()):
        pytest.skip('the page needs convgpu._ptx and NVRTC (pip install "convgpu[ptx]")')
    if page.name == "torch.md" and importlib.util.find_spec("torch") is None:
        pytest.skip("the page needs PyTorch: pip install torch")
    text, namespace = page.read_text(encoding="utf-8"), {"__name__": "__main__"}
    with cg.set_workspace_limit(None):  # a page that sets one leaves it to no other test
        for match in BLOCK.finditer(text):
            code, lines_before = match.group(1), text.count("\n", 0, match.start(1))
            if ">>> " in code:
                session = doctest.DocTestParser().get_doctest(code, namespace, page.name, str(page), lines_before)
                doctest.DebugRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(session, clear_globs=False)
                namespace = session.globs
            else:
                exec(compile("\n" * lines_before + code, str(page), "exec"), namespace)


def test_readme_example_learns_the_sobel_filter(capsys: pytest.CaptureFixture[str]) -> None:
    code = BLOCK.search((ROOT / "README.md").read_text(encoding="utf-8"))
    namespace: dict = {}
    exec(code.group(1), namespace)
    learned = namespace["params"]["w"].numpy().reshape(3, 3)
    np.testing.assert_allclose(learned, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], atol=1e-3)
    assert "-2." in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"](docs/{page.name})" not in readme] == []
