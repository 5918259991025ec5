"""Identifiers: ids of deliveries as people type them, as prefixes that mean exactly one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from billfold.errors import UsageError
from billfold.identifiers import read_range, refuse_ambiguous, shorten
from billfold.store.database import Database
from billfold.store.reports import reading

# A prefix of 8 characters has this many candidates only if somebody chose the ids.
_MAX_CANDIDATES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the ids in a request mean: the clients of the statement and the delivery, None if there is none.

    `last_number` is that of the statement's latest publication, 0 if it has none.
    """

    has_client: bool
    statement_client: str | None
    delivery_client: str | None
    last_number: int


def find_named(
    database: Database, *, client: str | None = None, statement: int | None = None, delivery: UUID | None = None
) -> Named:
    """What these ids mean; None means nothing."""
    parameters = {"client": client, "statement": statement, "delivery": delivery}
    with reading.read(database) as connection:
        [named] = reading.fetch(connection, "find_named", Named, parameters)
    return named


def find_delivery_id(database: Database, text: str) -> UUID:
    """The delivery whose id is the text, or alone begins with it.

    Raises UsageError if there is none, or several, which it names.
    """
    first, last = read_range(text, what="delivery")
    with reading.read(database) as connection:
        found = reading.list_deliveries_between(connection, first, last, most=_MAX_CANDIDATES)
    if not found:
        raise UsageError(f"there is no delivery {text.strip()}", advice="`billfold deliveries` lists them")
    if len(found) > 1:
        raise refuse_ambiguous(text.strip(), [str(each) for each in found], what="delivery")
    return found[0]


def shorten_delivery_ids(database: Database, delivery_ids: Iterable[UUID | None]) -> Mapping[str, str]:
    """Each of the ids with its shortest prefix that no other delivery's id begins with."""
    shown = {each for each in delivery_ids if each is not None}
    with reading.read(database) as connection:
        neighbours = reading.list_neighbours(connection, shown)
    short = shorten(str(each) for each in (*shown, *neighbours))
    return {str(each): short[str(each)] for each in shown}
