"""The log: which events there are, and where they go. Standard error is its only output.

`events.py` declares every event with its levels, fields and meaning, and `fields.py` every field: docs/log-events.md is
made from both. `output.py` writes JSON lines for machines and colored lines for people, or leaves the events to the
`logging` of a program that uses Billfold. A module logs with `structlog.get_logger(__name__)` and an event of the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from billfold.log.events import CONTEXT_FIELDS, STATE_COUNTS, Event
from billfold.log.fields import EVERY_EVENT, FIELDS, Field

if TYPE_CHECKING:
    from billfold.log.output import configure_logging, is_for_people, leave_to_logging

__all__ = [
    "CONTEXT_FIELDS",
    "EVERY_EVENT",
    "FIELDS",
    "STATE_COUNTS",
    "Event",
    "Field",
    "configure_logging",
    "is_for_people",
    "leave_to_logging",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # `billfold --help` needs the names of events, but neither structlog nor the settings.
        if name in __all__:
            from billfold.log import output

            return getattr(output, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
