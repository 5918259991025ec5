"""No file is counted twice: neither alone and in the bill of an export, nor in two folders."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from billfold.bills.standalone import find_owning_statement, find_standalone, find_twin
from billfold.model import Client
from billfold.store.database import Connection, connect
from billfold.store.deliveries import history, statements
from billfold.verification.verdict import Proofs, Subject


def prove_files(proofs: Proofs, subject: Subject) -> None:
    """No file of the current delivery is counted in another statement too.

    An operator's force, or an earlier version of Billfold, can let a file in twice. This reads current rows outside the
    statement's snapshot, because other statements are concerned too.
    """
    delivery_id = subject.held.delivery_id
    with connect(subject.database.conninfo) as connection:
        differences = list(_find_counted_twice(connection, subject, delivery_id)) if delivery_id else []
    proofs.add("standalone_files", differences, "no file is counted twice")


def _find_counted_twice(connection: Connection, subject: Subject, delivery_id: UUID) -> Iterator[str]:
    client = Client(client_id=subject.statement.client_id)
    delivery = history.read_delivery(connection, delivery_id)
    standalone = find_standalone(connection, client, delivery, subject.statement.billing_period)
    own = subject.statement.statement_id
    counted = statements.list_counted(connection, [own, *(each.statement_id for each in standalone)])
    if own not in counted:
        return
    for each in standalone:
        if each.statement_id in counted:
            yield f"its file {each.export_path} is counted in statement {each.statement_id} as well"
    if twin := find_twin(connection, client, delivery):
        yield f"{delivery.export_name} is counted in statement {twin.statement_id}, of {twin.bucket}, as well"
    owner = find_owning_statement(connection, client, delivery)
    if owner and owner.is_counted:
        yield f"{delivery.export_name} is counted in statement {owner.statement_id} ({owner.name}) as well"
