"""The registry of clients in PostgreSQL."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from psycopg.rows import class_row

from billfold.model import Client
from billfold.sql import read_queries
from billfold.store.clients.tokens import revoke_of_client
from billfold.store.database import Connection

# Tables with rows of statements, and tables that name the client: each refers only to tables later in the list.
_TABLES_OF_STATEMENTS = (
    "billing_checks",
    "billing_statement_pairs",
    "billing_restatement",
    "billing_daily_tag_cost",
    "billing_daily_cost",
    "billing_split_cost_history",
    "billing_split_cost",
    "billing_usage_fact_history",
    "billing_usage_fact",
    "raw_aws_billing_rows_history",
    "raw_aws_billing_rows",
)
_TABLES_OF_CLIENTS = (
    "billing_jobs",
    "billing_doctor_runs",
    "billing_message_failures",
    "billing_left_out_files",
    "billing_ingestion_runs",
    "billing_deliveries",
    "billing_statements",
    "billing_account_owners",
    "dim_account",
    "dim_resource",
    "dim_sku",
    "dim_commitment",
    "dim_tag_set",
    "billing_clients",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """How many rows a client has; `trace_count` counts its deliveries, and its runs that were tried.

    `owner_count` counts the accounts whose owners the operator wrote.
    """

    statement_count: int
    row_count: int
    trace_count: int
    owner_count: int


def find_client(connection: Connection, client_id: str) -> Client | None:
    """The client with this id, registered or described by the settings; None if it does not exist."""
    found = _find(connection, client_id)
    return found[0] if found else None


def list_clients(connection: Connection) -> list[Client]:
    """All clients, ordered by id."""
    return _find(connection, None)


def _find(connection: Connection, client_id: str | None) -> list[Client]:
    with connection.cursor(row_factory=class_row(Client)) as cursor:
        return cursor.execute(_query("find_clients"), {"client_id": client_id}).fetchall()


def find_owner(connection: Connection, bucket: str, key: str) -> str | None:
    """The id of the registered client whose folder contains the key; folders do not overlap."""
    row = connection.execute(_query("find_owner"), {"bucket": bucket, "key": key}).fetchone()
    return row[0] if row else None


def find_overlapping(connection: Connection, client: Client) -> tuple[str, str] | None:
    """Id and prefix of another client whose folder equals this one's, contains it or lies in it."""
    parameters = {"client_id": client.client_id, "bucket": client.bucket, "prefix": client.prefix}
    row = connection.execute(_query("find_overlapping"), parameters).fetchone()
    return (row[0], row[1]) if row else None


def lock_clients(connection: Connection) -> None:
    """Keep others from registering a client before this transaction ends."""
    connection.execute(_query("lock_clients"))


def insert_client(connection: Connection, client: Client) -> None:
    """Register a new client, or one that the settings described."""
    connection.execute(_query("insert_client"), asdict(client))


def update_client(connection: Connection, client: Client) -> None:
    """Update the fields of a registered client that may change."""
    connection.execute(_query("update_client"), asdict(client))


def set_enabled(connection: Connection, client_id: str, *, enabled: bool) -> bool:
    """Enable or disable the client; False if it does not exist."""
    return connection.execute(_query("set_enabled"), {"client_id": client_id, "enabled": enabled}).rowcount == 1


def set_external_id(connection: Connection, client_id: str, external_id: str) -> bool:
    """Change the external id of a registered client; False if it does not exist."""
    parameters = {"client_id": client_id, "external_id": external_id}
    return connection.execute(_query("set_external_id"), parameters).rowcount == 1


def count_holdings(connection: Connection, client_id: str) -> Holdings:
    """How many rows the tables have of the client."""
    row = connection.execute(_query("count_rows"), {"client_id": client_id}).fetchone()
    assert row is not None
    return Holdings(statement_count=row[0], row_count=row[1], trace_count=row[2], owner_count=row[3])


def delete_client(connection: Connection, client_id: str) -> None:
    """Delete the client with all its rows and revoke its tokens; needs an open transaction."""
    parameters = {"client_id": client_id}
    for name in ("forget_current", "forget_publications_of_deliveries"):
        connection.execute(_query(name), parameters)
    for table in _TABLES_OF_STATEMENTS:
        _delete(connection, "purge_rows", table, parameters)
    connection.execute(_query("purge_files"), parameters)
    _delete(connection, "purge_rows", "billing_publications", parameters)
    for table in _TABLES_OF_CLIENTS:
        _delete(connection, "purge_of_client", table, parameters)
    # A later client of the same name is another client.
    revoke_of_client(connection, client_id)


def _delete(connection: Connection, name: str, table: str, parameters: dict[str, Any]) -> None:
    connection.execute(_query(name).decode().format(table=table, client_table=table).encode(), parameters)


def _query(name: str) -> bytes:
    return read_queries("billfold.store.clients", "registry")[name].encode()
