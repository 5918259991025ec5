"""Migration 0009 on a database that holds deliveries already: what a newer one has overtaken waits no longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from billfold.store.database import Connection, Database, connect
from billfold.store.migrate import migrate
from tests.old_databases import old_database

DELIVERY = (
    "INSERT INTO billing_deliveries (client_id, statement_id, bucket, export_path, export_name, billing_period,"
    " manifest_key, content_digest, delivered_at, state, reason, released_at, publication_id, trigger_source,"
    " finished_at) VALUES ('acme', 1, 'b', 'exports/acme', 'acme', '2026-05-01', 'manifest', %s,"
    " timestamptz '2026-06-01 00:00+00' + %s * interval '1 day', %s, %s, %s, %s, 'cli', now()) RETURNING delivery_id"
)


@pytest.fixture
def before(database: Database) -> Iterator[Connection]:
    """A database of the migration before, with a statement that shows the delivery of 4 June."""
    with old_database(database, 8) as old, connect(old.conninfo) as connection:
        connection.execute("INSERT INTO billing_clients (client_id) VALUES ('acme')")
        connection.execute(
            "INSERT INTO billing_statements (client_id, bucket, export_path, export_name, billing_period,"
            " hash_version, currency) VALUES ('acme', 'b', 'exports/acme', 'acme', '2026-05-01', 1, 'USD')"
        )
        row = connection.execute(DELIVERY, ["current", 3, "published", None, None, None]).fetchone()
        assert row is not None
        connection.execute(
            "INSERT INTO billing_publications (statement_id, number, kind, delivery_id, hash_version,"
            " mapping_version, cost_basis, rows_before, rows_added, rows_removed, rows_after, charges_before,"
            " charges_after, billed_cost_before, billed_cost_after, gross_cost_after, net_cost_after)"
            " VALUES (1, 1, 'delivery', %s, 1, 1, 'gross', 0, 2, 0, 2, 0, 2, '{}', '{}', '{}', '{}')",
            [row[0]],
        )
        connection.execute(
            "UPDATE billing_statements SET current_delivery_id = %s, current_publication_id = 1", [row[0]]
        )
        yield connection


def test_what_was_overtaken_is_superseded_and_lets_nothing_through(before: Connection) -> None:
    for name, day, state, publication_id in (
        ("older", 2, "held", None),
        ("newer", 4, "held", None),
        ("came back", 1, "held", 1),
        ("superseded", 0, "superseded", None),
    ):
        reason = "would leave 1 of 2 rows" if state == "held" else "is older"
        before.execute(DELIVERY, [name, day, state, reason, "2026-06-03", publication_id])

    migrate(before)

    reason = "was held (would leave 1 of 2 rows) until the delivery of 2026-06-04 00:00:00 UTC was published"
    found = before.execute(
        "SELECT content_digest, state, reason, released_at IS NOT NULL FROM billing_deliveries ORDER BY content_digest"
    ).fetchall()
    assert found == [
        ("came back", "published", None, False),
        ("current", "published", None, False),
        ("newer", "held", "would leave 1 of 2 rows", True),
        ("older", "superseded", reason, False),
        ("superseded", "superseded", "is older", False),
    ]
