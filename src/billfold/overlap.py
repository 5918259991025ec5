"""Overlap: of several statements of one bill one makes up the costs, whatever is published, rolled back or taken over.

What a statement overlaps with can change with every publication that brings or takes rows. Each such publication
settles it in its own transaction, under the lock of the client's publications.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from billfold.store import counting
from billfold.store.database import BulkConnection


def find_counted(bulk: BulkConnection, statement_id: int) -> frozenset[int]:
    """The counted statements that hold the bill of this one, before the open transaction changes its rows."""
    return frozenset(each.statement_id for each in counting.list_overlaps(bulk, statement_id) if each.is_counted)


def settle(
    bulk: BulkConnection,
    statement_id: int,
    *,
    before: Collection[int],
    delivery_id: UUID | None = None,
    export_format: str | None = None,
) -> tuple[str, ...]:
    """Have a statement yield to those that hold its bill and count already, or count again where none does any more.

    `before` are those that counted beside it already: that was an operator's choice, and is told. A statement that an
    operator left out stays so. `delivery_id` and `export_format` are those of what is being published. Returns what is
    worth telling.
    """
    overlaps = counting.list_overlaps(bulk, statement_id, delivery_id=delivery_id, export_format=export_format)
    others = [each for each in overlaps if each.is_counted]
    named = ", ".join(f"statement {each.statement_id} ({each.export_name})" for each in others)
    is_counted, yields = counting.read(bulk, statement_id)
    if is_counted and others:
        if all(each.statement_id in before for each in others):
            return (
                f"{named} holds the same bill, and both make up the costs: it is counted twice;"
                f" `billfold statement count {statement_id}` leaves only this one",
            )
        counting.keep(bulk, statement_id, is_counted=False, yields=True)
    elif yields and not others:
        counting.keep(bulk, statement_id, is_counted=True, yields=False)
        return ("no other statement of the same bill makes up the costs any more: this one does",)
    if others:
        return (
            f"{named} holds the same bill and makes up the costs: this one is kept but not counted;"
            f" `billfold statement count {statement_id}` switches",
        )
    return ()
