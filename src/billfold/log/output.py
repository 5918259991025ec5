"""Where log events go: JSON lines for machines, colored lines for people, always to standard error."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Collection
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from billfold.log.events import Event
from billfold.settings import Settings, find_unknown_variables

_log = structlog.get_logger(__name__)

# Libraries that log every request. What matters of theirs reaches Billfold as an exception.
_QUIET_LIBRARIES = {
    "boto3": logging.ERROR,
    "botocore": logging.ERROR,
    "psycopg": logging.ERROR,
    "urllib3": logging.ERROR,
    "werkzeug": logging.WARNING,
}


def configure_logging(settings: Settings, *, shown_elsewhere: Collection[str] = ()) -> None:
    """Send the events of structlog and of `logging` to standard error, from the configured level on.

    On a terminal the events named in `shown_elsewhere` are left out, because the command prints them in its own words.
    The first events are warnings of variables that are not settings.
    """
    for_people = is_for_people(settings)
    level = getattr(logging, settings.log_level.upper())
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if for_people else "iso", utc=not for_people),
    ]
    endings = _for_people(shown_elsewhere) if for_people else _for_machines()
    structlog.configure(
        processors=[*common, *endings],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # A progress bar replaces sys.stderr while it is shown: each write looks it up again.
        logger_factory=lambda *_: _StandardErrorLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _route_libraries(common, endings)
    for name, meant in find_unknown_variables().items():
        _log.warning(Event.SETTING_UNKNOWN, name=name, meant=meant)


def leave_to_logging() -> None:
    """Send events to the loggers of `logging`, where a program that uses Billfold decides about them.

    Nothing changes where structlog is configured already, by a door of ours or by that program.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def is_for_people(settings: Settings) -> bool:
    """Whether log events are written for somebody who watches a terminal."""
    return settings.log_format == "human" or (settings.log_format == "auto" and sys.stderr.isatty())


def _for_people(shown_elsewhere: Collection[str]) -> list[Processor]:
    def leave_out(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if event.get("event") in shown_elsewhere:
            raise structlog.DropEvent
        return event

    # Local variables of a traceback could hold credentials.
    traceback = structlog.dev.RichTracebackFormatter(show_locals=False)
    return [leave_out, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=traceback)]


def _for_machines() -> list[Processor]:
    traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(traceback),
        _begin_with_the_event,
        structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
    ]


def _begin_with_the_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {**{name: event.get(name) for name in ("timestamp", "level", "event")}, **event}


def _route_libraries(common: list[Processor], endings: list[Processor]) -> None:
    handler = _StandardErrorHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *endings],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name, level in _QUIET_LIBRARIES.items():
        logging.getLogger(name).setLevel(level)


class _StandardErrorLogger(structlog.WriteLogger):
    """Writes events to a stream; nothing fails because its reader, such as a closed terminal, is gone."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class _StandardErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is at that moment."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _value: Any) -> None:
        return
