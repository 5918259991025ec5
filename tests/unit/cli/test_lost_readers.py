"""A reader that is gone, such as a closed terminal, and a port that is taken: one line, or none, and no traceback."""

from __future__ import annotations

import contextlib
import os
import pty
from collections.abc import Iterator

import pytest
import structlog

from billfold.cli.output.screen import show_error
from billfold.errors import ConfigurationError
from billfold.log import configure_logging
from billfold.settings import load_settings
from billfold.web.server import listen


@contextlib.contextmanager
def lost_reader(kind: str) -> Iterator[None]:
    """Standard error leads to somebody who is gone."""
    reader, writer = pty.openpty() if kind == "terminal" else os.pipe()
    os.close(reader)
    with contextlib.redirect_stderr(open(writer, "w", buffering=1, encoding="utf-8", closefd=False)):
        yield
    os.close(writer)


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_an_event_that_nobody_can_read_fails_nothing(kind: str) -> None:
    with lost_reader(kind):
        configure_logging(load_settings())

        structlog.get_logger("test").error("something_happened")


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_an_error_that_nobody_can_read_keeps_its_exit_code(kind: str) -> None:
    with lost_reader(kind):
        show_error("there is no such statement")


def test_a_port_that_is_taken_is_refused_in_one_line() -> None:
    with listen("127.0.0.1", 0, 1) as other:
        port = other.getsockname()[1]

        with pytest.raises(ConfigurationError, match=rf"^port {port} of 127\.0\.0\.1 is in use .* --port$"):
            listen("127.0.0.1", port, 1)


def test_an_address_that_is_not_ours_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigurationError, match=r"^cannot listen on 203\.0\.113\.1, port 0 \(.*\): check --host"):
        listen("203.0.113.1", 0, 1)
