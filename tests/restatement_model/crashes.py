"""Crashes inside of one process: an exception at a named point, after which nothing may have changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st


class CrashError(Exception):
    """What the machine raises inside of the product."""


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """Where an attempt breaks off: before or after a function of the product; `is_committed` once all is done."""

    module: str
    function: str
    is_after: bool = True
    is_committed: bool = False


INGEST_CRASHES = (
    CrashPoint("billfold.store.deliveries.attempts", "start"),
    CrashPoint("billfold.bills.delivery", "fetch_delivery"),
    CrashPoint("billfold.store.deliveries.attempts", "adopt", is_after=False),
    CrashPoint("billfold.store.deliveries.attempts", "adopt", is_committed=True),
    CrashPoint("billfold.store.deliveries.members", "ensure_members"),
    CrashPoint("billfold.store.deliveries.publications", "begin_publication"),
    CrashPoint("billfold.store.deliveries.landing", "land_rows"),
    CrashPoint("billfold.store.deliveries.landing", "withdraw"),
    CrashPoint("billfold.store.deliveries.landing", "land_charges", is_after=False),
    CrashPoint("billfold.store.deliveries.landing", "land_charges"),
    CrashPoint("billfold.store.deliveries.landing", "roll_up"),
    CrashPoint("billfold.store.deliveries.publications", "record_publication"),
    CrashPoint("billfold.store.deliveries.publications", "finish_publication", is_after=False),
    CrashPoint("billfold.store.deliveries.publications", "finish_publication", is_committed=True),
)
ROLLBACK_CRASHES = (
    CrashPoint("billfold.store.deliveries.publications", "begin_publication"),
    CrashPoint("billfold.store.deliveries.history", "restore_bill"),
    CrashPoint("billfold.store.deliveries.landing", "roll_up"),
    CrashPoint("billfold.store.deliveries.publications", "record_publication"),
    CrashPoint("billfold.store.deliveries.history", "mark_rolled_back"),
    CrashPoint("billfold.store.deliveries.history", "mark_taken_back"),
)
FETCH_CRASH, LAND_CRASH, WITHDRAW_CRASH, FINISH_CRASH = (
    next(point for point in INGEST_CRASHES if point.function == name)
    for name in ("fetch_delivery", "land_rows", "withdraw", "finish_publication")
)
RESTORE_CRASH = next(point for point in ROLLBACK_CRASHES if point.function == "restore_bill")
# Most attempts do not crash; those that do break off in the middle of the work as often as anywhere.
WHILE_INGESTING = st.one_of(
    st.none(),
    st.none(),
    st.none(),
    st.sampled_from((FETCH_CRASH, LAND_CRASH, WITHDRAW_CRASH)),
    st.sampled_from(INGEST_CRASHES),
)
WHILE_RESTORING = st.one_of(st.none(), st.sampled_from(ROLLBACK_CRASHES))


@contextmanager
def crashing(point: CrashPoint | None) -> Iterator[list[CrashPoint]]:
    """Break off what runs inside when it comes to the point, once; the list then holds the point."""
    crashed: list[CrashPoint] = []
    if point is None:
        yield crashed
        return
    function = getattr(import_module(point.module), point.function)

    @wraps(function)
    def crash_once(*arguments: Any, **options: Any) -> Any:
        if not crashed and not point.is_after:
            crashed.append(point)
            raise CrashError
        result = function(*arguments, **options)
        if not crashed:
            crashed.append(point)
            raise CrashError
        return result

    with patch(f"{point.module}.{point.function}", crash_once):
        try:
            yield crashed
        except CrashError:
            assert crashed
