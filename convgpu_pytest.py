"""A plugin of pytest: a test marked `convgpu_cases` runs once for each case of a family of `convgpu.verify`.

    @pytest.mark.convgpu_cases("conv_fprop", dtypes=["float32"])
    def test_my_convolution(convgpu_case):
        convgpu_case.check(my_convolution)

The marker takes the family, and `dtypes`, `data_formats` and `cases` as `convgpu.verify.against` does. A case that the
function declines is skipped; a test of which no case was accepted makes the run fail. convgpu is imported only where a
test has the marker.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

_MARKER = "convgpu_cases"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and what counts the cases."""
    config.addinivalue_line("markers", f"{_MARKER}(family, dtypes, data_formats, cases): run the test once for each "
                                       "case of a family of convgpu.verify, as the fixture convgpu_case")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Accepted(), "convgpu_accepted")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `convgpu_case` the cases of the marker."""
    if "convgpu_case" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker(_MARKER)
    if marker is None:
        pytest.fail(f"{metafunc.definition.nodeid}: convgpu_case needs @pytest.mark.{_MARKER}(family)", pytrace=False)
    asked = _asked(*marker.args, **marker.kwargs)
    metafunc.parametrize("convgpu_case", [_Case(question) for question in asked],
                         ids=[f"{q.case}-{q.dtype}-{q.data_format}".replace(" ", "_") for q in asked])


def _asked(family: str, dtypes: Any = ("float32",), data_formats: Any = ("channels_last",),
           cases: Any = None) -> list[Any]:
    from convgpu.verify.questions import questions

    return list(questions(family, dtypes, data_formats, cases))


class _Case:
    """One case: `check(fn)`, and its `arrays`, `options` and `expected` for tests of one's own."""

    def __init__(self, question: Any) -> None:
        self.question = question
        self.arrays, self.options = question.arrays, question.options

    def __repr__(self) -> str:
        return f"{self.question.family} {self.question.case} ({self.question})"

    @property
    def expected(self) -> Any:
        """The exact result, in float64 or wider."""
        return self.question.expected

    def check(self, fn: Any, **options: Any) -> None:
        """Judge a function by this case, with the options of `convgpu.verify.against`; skip the test if it declines."""
        from convgpu import verify

        question = self.question
        report = verify.against(fn, question.family, dtypes=[question.dtype], data_formats=[question.data_format],
                                cases=[question.case], **options)
        declined = report.cases("declined")
        if declined:
            pytest.skip(f"declined: {declined[0].declined}")
        if not report.passed:
            pytest.fail(str(report), pytrace=False)


class _Accepted:
    """Counts the accepted cases of each test, and fails the run where one accepted none."""

    def __init__(self) -> None:
        self._accepted: dict[str, int] = defaultdict(int)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if _MARKER in report.keywords and (report.when == "call" or report.failed):
            self._accepted[report.nodeid.partition("[")[0]] += not report.skipped

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._declined() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for name in self._declined():
            terminalreporter.write_line(f"{name}: no case was accepted, so nothing was verified: this run fails",
                                        red=True)

    def _declined(self) -> list[str]:
        return [name for name, accepted in self._accepted.items() if not accepted]
