"""A pool of threads that visits several clients at a time, each by one thread, in the order of arrival."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from billfold.interruption import Interruption

# How soon a waiting caller notices that it is to end.
_TICK_SECONDS = 0.1

_Result = TypeVar("_Result")


class ClientPool(Generic[_Result]):
    """At most `size` threads; each calls `visit` with one client at a time. `visit` must not raise an Exception.

    A thread cannot be stopped, and does not keep the process from ending.
    """

    def __init__(self, size: int, visit: Callable[[str], _Result | None]) -> None:
        self._size = size
        self._visit = visit
        self._changed = threading.Condition()
        self._waiting: deque[str] = deque()
        self._under_way: list[str] = []
        self._results: list[_Result] = []
        self._thread_count = 0

    def add(self, client_ids: Iterable[str]) -> None:
        """Visit these clients as soon as a thread is free; one that waits or is being visited is not added again."""
        with self._changed:
            for client_id in client_ids:
                if client_id in self._waiting or client_id in self._under_way:
                    continue
                self._waiting.append(client_id)
                if self._thread_count < self._size:
                    self._thread_count += 1
                    threading.Thread(target=self._work, name="client-pool", daemon=True).start()

    def forget_waiting(self) -> None:
        """Drop the clients that wait."""
        with self._changed:
            self._waiting.clear()

    def wait_for_end(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> Sequence[str]:
        """Wait for all visits, at most `seconds` or until `is_over`; returns the clients whose visit has not ended."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._thread_count and time.monotonic() < deadline and not is_over():
                self._changed.wait(_TICK_SECONDS)
            return [*self._under_way, *self._waiting]

    def take_results(self) -> list[_Result]:
        """The results of the visits that ended since the last call."""
        with self._changed:
            results, self._results = self._results, []
            return results

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread_count -= 1
                    self._changed.notify_all()
                    return
                client_id = self._waiting.popleft()
                self._under_way.append(client_id)
            try:
                result = self._visit(client_id)
            except Interruption:
                # The process ends: the other visits are dropped.
                return
            with self._changed:
                self._under_way.remove(client_id)
                if result is not None:
                    self._results.append(result)
