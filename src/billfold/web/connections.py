"""Connections with deadlines: no client can hold one open with half a request, or by never reading the response.

uvicorn itself only ends connections that wait between two requests.
"""

from __future__ import annotations

import asyncio

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from billfold.log import Event

# A client that reads more slowly than this counts as not reading.
_MIN_BYTES_PER_SECOND = 1024
_TIMEOUT_RESPONSE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 15\r\n"
    b"connection: close\r\n\r\nRequest Timeout"
)

log = structlog.get_logger(__name__)


def make_protocol(request_seconds: float) -> type[H11Protocol]:
    """The protocol for uvicorn: a request must arrive within this time, and a response must be read steadily."""
    return type("TimedProtocol", (_TimedProtocol,), {"request_seconds": request_seconds})


class _TimedProtocol(H11Protocol):
    """A request's time runs from the connection, or from the first byte after the previous response.

    No later byte extends it.
    """

    request_seconds: float
    _arrival_timer: asyncio.TimerHandle | None = None
    _reading_timer: asyncio.TimerHandle | None = None
    _unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_arrival()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_arrival()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._arrival_timer, self._reading_timer):
            if timer is not None:
                timer.cancel()
        self._arrival_timer = self._reading_timer = None
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_arrival()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _watch_arrival(self) -> None:
        """Start the deadline when a request begins to arrive, and cancel it when all of it is here."""
        if not self._is_arriving():
            if self._arrival_timer is not None:
                self._arrival_timer.cancel()
                self._arrival_timer = None
        elif self._arrival_timer is None:
            self._arrival_timer = self.loop.call_later(self.request_seconds, self._end_arrival)

    def _is_arriving(self) -> bool:
        """Whether a part of a request is missing; between two requests uvicorn itself ends the connection."""
        if self.conn.their_state is h11.IDLE:
            return self._cycle_or_none() is None or bool(self.conn.trailing_data[0])
        return self.conn.their_state is h11.SEND_BODY

    def _cycle_or_none(self) -> RequestResponseCycle | None:
        """The current or last request; uvicorn's type omits the None of a new connection."""
        return self.cycle

    def _end_arrival(self) -> None:
        self._arrival_timer = None
        if self.transport.is_closing() or not self._is_arriving():
            return
        if self.flow.read_paused:
            # The delay is ours: we have paused reading.
            self._watch_arrival()
            return
        log.warning(Event.REQUEST_TOO_SLOW, seconds=self.request_seconds)
        cycle = self._cycle_or_none()
        has_begun = bool(self.conn.trailing_data[0]) or self.conn.their_state is h11.SEND_BODY
        is_answered = cycle is not None and self.conn.their_state is h11.SEND_BODY and cycle.response_started
        if has_begun and not is_answered:
            self.transport.write(_TIMEOUT_RESPONSE)
        self.transport.close()

    def _watch_reading(self) -> None:
        if self._reading_timer is None:
            self._unread_bytes = self.transport.get_write_buffer_size()
            self._reading_timer = self.loop.call_later(self.request_seconds, self._check_reading)

    def _check_reading(self) -> None:
        self._reading_timer = None
        waiting_bytes = self.transport.get_write_buffer_size()
        if self._unread_bytes - waiting_bytes < _MIN_BYTES_PER_SECOND * self.request_seconds:
            log.warning(Event.ANSWER_NOT_READ, waiting_bytes=waiting_bytes, seconds=self.request_seconds)
            self.transport.abort()
        else:
            self._watch_reading()
