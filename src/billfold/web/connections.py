"""Connections with deadlines: nobody holds one open with half a request, nor by never reading the answer.

uvicorn ends only connections that wait between two requests.
"""

from __future__ import annotations

import asyncio

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from billfold.log import Event

# Whoever reads an answer more slowly than this does not read it.
_LEAST_BYTES_PER_SECOND = 1024
_TOO_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 15\r\n"
    b"connection: close\r\n\r\nRequest Timeout"
)

log = structlog.get_logger(__name__)


def make_protocol(request_seconds: float) -> type[H11Protocol]:
    """The protocol for uvicorn: a request is there as a whole within these seconds, and an answer is read as steadily.

    The time of a request runs from the connection, or from the first byte after the answer before it, and no further
    byte prolongs it.
    """

    class TimedProtocol(H11Protocol):
        _arriving: asyncio.TimerHandle | None = None
        _leaving: asyncio.TimerHandle | None = None
        _left_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch_arrival()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_arrival()

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in (self._arriving, self._leaving):
                if timer is not None:
                    timer.cancel()
            self._arriving = self._leaving = None
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch_arrival()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch_leaving()

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._leaving is not None:
                self._leaving.cancel()
                self._leaving = None

        def _watch_arrival(self) -> None:
            """What has begun to arrive has its deadline until all of it is there."""
            if not self._is_arriving():
                if self._arriving is not None:
                    self._arriving.cancel()
                    self._arriving = None
            elif self._arriving is None:
                self._arriving = self.loop.call_later(request_seconds, self._end_arrival)

        def _is_arriving(self) -> bool:
            """Whether a part of a request is missing; between two requests uvicorn itself ends the connection."""
            if self.conn.their_state is h11.IDLE:
                return self._cycle_or_none() is None or bool(self.conn.trailing_data[0])
            return self.conn.their_state is h11.SEND_BODY

        def _cycle_or_none(self) -> RequestResponseCycle | None:
            """The request that is or was worked on; uvicorn declares it without the None that it is at first."""
            return self.cycle

        def _end_arrival(self) -> None:
            self._arriving = None
            if self.transport.is_closing() or not self._is_arriving():
                return
            if self.flow.read_paused:
                # It is we who do not read.
                self._watch_arrival()
                return
            log.warning(Event.REQUEST_TOO_SLOW, seconds=request_seconds)
            cycle = self._cycle_or_none()
            has_begun = bool(self.conn.trailing_data[0]) or self.conn.their_state is h11.SEND_BODY
            is_answered = cycle is not None and self.conn.their_state is h11.SEND_BODY and cycle.response_started
            if has_begun and not is_answered:
                self.transport.write(_TOO_LATE)
            self.transport.close()

        def _watch_leaving(self) -> None:
            if self._leaving is None:
                self._left_bytes = self.transport.get_write_buffer_size()
                self._leaving = self.loop.call_later(request_seconds, self._judge_leaving)

        def _judge_leaving(self) -> None:
            self._leaving = None
            waiting_bytes = self.transport.get_write_buffer_size()
            if self._left_bytes - waiting_bytes < _LEAST_BYTES_PER_SECOND * request_seconds:
                log.warning(Event.ANSWER_NOT_READ, waiting_bytes=waiting_bytes, seconds=request_seconds)
                self.transport.abort()
            else:
                self._watch_leaving()

    return TimedProtocol
