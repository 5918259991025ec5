"""A processor of structlog that lets only declared events pass, with their levels and fields."""

from __future__ import annotations

from structlog.typing import EventDict, WrappedLogger

from billfold.log import CONTEXT_FIELDS, STATE_COUNTS, Event


def assert_declared(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The same event; AssertionError for one that `billfold.log.Event` declares in another way, or not at all."""
    name = event["event"]
    fields = {"exception" if field == "exc_info" else field for field in event} - {"event"}
    assert isinstance(name, Event), event
    assert ("error" if method == "exception" else method) in name.levels, event
    assert STATE_COUNTS in name.fields or fields <= name.fields | CONTEXT_FIELDS, event
    return event
