"""A pytest plugin (`-p tests.no_skips`): where CI=true, a skipped test fails the session."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and _forbidden_skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skips = _forbidden_skips(terminalreporter.config)
    if skips:
        names = ", ".join(sorted({report.nodeid for report in skips}))
        terminalreporter.write_line(f"A skip in CI is a failure: {names}", red=True, bold=True)


def _forbidden_skips(config: pytest.Config) -> Sequence[pytest.TestReport | pytest.CollectReport]:
    """The skipped tests and modules of the whole run; none outside CI.

    A worker of pytest-xdist has no terminal reporter: the controller alone judges.
    """
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or terminal is None:
        return []
    return terminal.stats.get("skipped", [])  # type: ignore[no-any-return]
