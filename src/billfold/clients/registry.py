"""The registry of clients: who they are, which folder of which bucket is theirs, and which one a command acts as."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError

from billfold.aws.keys import is_trick
from billfold.errors import ConfigurationError, UsageError
from billfold.log import Event
from billfold.model import Client
from billfold.settings import CLIENT_FIELDS, Settings
from billfold.store.clients import registry as store
from billfold.store.clients.registry import Holdings
from billfold.store.database import Connection, Database, connect
from billfold.store.deliveries import records

# 192 random bits cannot be guessed (AWS: "How to use an external ID").
_EXTERNAL_ID_BYTES = 24

# Parts of a folder's name that other programs read as another folder; AWS writes none.
_FORBIDDEN_PARTS = ("", ".", "..")

log = structlog.get_logger(__name__)


def register(database: Database, settings: Settings, values: Mapping[str, Any]) -> Client:
    """Register a new client, with a random external id, and return it.

    A client that earlier settings described, but no longer do, moves into the registry with all of its bills.

    `values` are fields of Client by name. Those that are None or missing, and empty ones that can be cleared, get their
    defaults: the role that `billfold onboard` creates, the region and currency of the settings. Raises UsageError for
    an invalid value, an id that is in use, and a folder that overlaps with another client's.
    """
    fields = {name: _check(name, value) for name, value in values.items() if not _is_left_out(name, value)}
    for name in ("client_id", "bucket", "account_id"):
        if name not in fields:
            raise UsageError(f"a client needs a value for {name}")
    client_id = fields["client_id"]
    client = Client(
        **{
            "region": settings.region,
            "currency": settings.currency,
            "role_arn": role_arn(fields["account_id"], client_id, fields.get("region") or settings.region),
            **fields,
            "role_session_name": role_name(client_id),
            "external_id": secrets.token_urlsafe(_EXTERNAL_ID_BYTES),
            "is_registered": True,
        }
    )
    with connect(database.conninfo) as connection, connection.transaction():
        store.lock_clients(connection)
        if client_id == settings.client and _describes_client(settings):
            raise UsageError(f"client {client_id} is the one that the settings describe (BILLFOLD_CLIENT)")
        known = store.find_client(connection, client_id)
        if known is not None and known.is_registered:
            raise UsageError(
                f"there is a client {client_id} already",
                advice="see `billfold client show` and `billfold client change`",
            )
        _refuse_overlap(connection, settings, client)
        store.insert_client(connection, client)
    log.info(Event.CLIENT_REGISTERED, client=client_id, bucket=client.bucket, prefix=client.prefix)
    return client


def change(database: Database, settings: Settings, client_id: str, values: Mapping[str, Any]) -> Client:
    """Change a registered client, and return it; bucket, folder and account cannot change.

    `values` are changeable fields by name. None keeps a field, an empty text clears an optional one: the role is then
    the one that `billfold onboard` creates. Raises UsageError for a client that is not registered, for an invalid
    value, and if there is nothing to change.
    """
    wanted = {name: value for name, value in values.items() if value is not None}
    if not wanted:
        raise UsageError(f"nothing to change for client {client_id}", advice="see billfold client change --help")
    with connect(database.conninfo) as connection, connection.transaction():
        store.lock_clients(connection)
        client = _find_registered(connection, client_id)
        fields: dict[str, Any] = {}
        for name, value in wanted.items():
            is_cleared = value == "" and CLIENT_FIELDS[name].is_clearable
            fields[name] = None if is_cleared else _check(name, value)
        changed = replace(client, **fields)
        if changed.role_arn is None and changed.account_id:
            changed = replace(changed, role_arn=role_arn(changed.account_id, client_id, changed.region))
        if changed.region is None:
            changed = replace(changed, region=settings.region)
        store.update_client(connection, changed)
    log.info(Event.CLIENT_CHANGED, client=client_id, fields=sorted(wanted))
    return changed


def resolve_client(database: Database, settings: Settings, client_id: str | None) -> Client:
    """The client of this id, or the default one, from the registry or from the settings.

    Raises UsageError for an unknown or disabled client, and ConfigurationError if registry and settings both describe
    it.
    """
    wanted = client_id or settings.client
    with connect(database.conninfo) as connection:
        client = store.find_client(connection, wanted)
        if client is None or not client.is_registered:
            if wanted == settings.client:
                return settings.default_client()
            known = sorted({each.client_id for each in store.list_clients(connection) if each.is_registered})
            raise UsageError(
                f"client {wanted} is not registered, and the settings describe {settings.client}",
                advice=f"registered clients: {', '.join(known) or 'none yet'}; `billfold client add` registers one",
            )
    if wanted == settings.client and _describes_client(settings):
        raise ConfigurationError(
            f"client {wanted} is registered, and the settings describe it too",
            advice="unset AWS_BILLING_BUCKET and AWS_ASSUME_ROLE_ARN, or `billfold client remove` it",
        )
    if not client.enabled:
        raise UsageError(f"client {wanted} is disabled", advice=f"billfold client enable {wanted}")
    return client


def resolve_client_of_delivery(database: Database, settings: Settings, delivery_id: UUID) -> Client:
    """The client of a delivery, as `resolve_client` finds it; raises UsageError if there is none."""
    with connect(database.conninfo) as connection:
        stored = records.find_delivery(connection, delivery_id)
    return resolve_client(database, settings, stored.client_id)


def find_owner(database: Database, settings: Settings, bucket: str, key: str) -> Client | None:
    """The client that a key of a bucket belongs to, even a disabled one; None if it belongs to no client.

    The registry comes first, then the settings. A key with a part `..` or `.` belongs to no client.
    """
    with connect(database.conninfo) as connection:
        return look_up_owner(connection, settings, bucket, key)


def look_up_owner(connection: Connection, settings: Settings, bucket: str, key: str) -> Client | None:
    """The same on an open connection, for a message that names thousands of keys."""
    if is_trick(key):
        return None
    client_id = store.find_owner(connection, bucket, key)
    if client_id is not None:
        return store.find_client(connection, client_id)
    default = settings.default_client()
    return default if default.bucket == bucket and owns(default, key) else None


def owns(client: Client, key: str) -> bool:
    """Whether a key of the client's bucket is in its folder; a key with a part `..` or `.` is in no folder."""
    return key.startswith(client.prefix) and not is_trick(key)


def set_enabled(database: Database, client_id: str, *, enabled: bool) -> None:
    """Start or stop the client's ingests; its bills stay. Raises UsageError for an unknown client."""
    with connect(database.conninfo) as connection:
        _find_registered(connection, client_id)
        store.set_enabled(connection, client_id, enabled=enabled)
    log.info(Event.CLIENT_ENABLED if enabled else Event.CLIENT_DISABLED, client=client_id)


def find_for_onboarding(database: Database, settings: Settings, client_id: str | None) -> Client:
    """As `resolve_client`, but also disabled clients: their accounts can be prepared before their first bill.

    A client without a role gets the one that its template creates.
    """
    wanted = client_id or settings.client
    registered = [each for each in list_clients(database) if each.client_id == wanted and each.is_registered]
    client = registered[0] if registered else resolve_client(database, settings, wanted)
    if client.role_arn is None and client.account_id:
        return replace(client, role_arn=role_arn(client.account_id, wanted, client.region))
    return client


def renew_external_id(database: Database, client_id: str) -> Client:
    """Give a registered client a new random external id, and return it.

    Its role denies access until the client has deployed the new template. Raises UsageError for a client that is not
    registered.
    """
    with connect(database.conninfo) as connection, connection.transaction():
        client = _find_registered(connection, client_id)
        renewed = replace(client, external_id=secrets.token_urlsafe(_EXTERNAL_ID_BYTES))
        assert renewed.external_id is not None
        store.set_external_id(connection, client_id, renewed.external_id)
    log.warning(Event.EXTERNAL_ID_RENEWED, client=client_id)
    return renewed


def remove(database: Database, client_id: str, *, purge: bool) -> Holdings:
    """Delete the client and, with `purge`, all of its data; returns how much that was.

    Raises UsageError for an unknown client and, without `purge`, for a client with data.
    """
    with connect(database.conninfo) as connection, connection.transaction():
        store.lock_clients(connection)
        _find_known(connection, client_id)
        holdings = store.count_holdings(connection, client_id)
        if holdings != Holdings(statement_count=0, row_count=0, trace_count=0, owner_count=0) and not purge:
            raise UsageError(
                f"client {client_id} has {holdings.statement_count:,} statements of {holdings.row_count:,} line items"
                f", {holdings.trace_count:,} deliveries and runs and {holdings.owner_count:,} owners of accounts",
                advice="--purge deletes it permanently; `billfold client disable` keeps it and stops its ingests",
            )
        store.delete_client(connection, client_id)
    log.warning(Event.CLIENT_REMOVED, client=client_id, statements=holdings.statement_count, rows=holdings.row_count)
    return holdings


def list_clients(database: Database) -> list[Client]:
    """All clients, including those that the settings described when they were last used."""
    with connect(database.conninfo) as connection:
        return store.list_clients(connection)


def find_known(database: Database, client_id: str) -> Client:
    """The client of this id, registered or not; raises UsageError if there is none."""
    with connect(database.conninfo) as connection:
        return _find_known(connection, client_id)


def role_arn(account_id: str, client_id: str, region: str | None = None) -> str:
    """The role that `billfold onboard` creates in the client's account."""
    return f"arn:{partition_of(region)}:iam::{account_id}:role/{role_name(client_id)}"


def role_name(client_id: str) -> str:
    """The name of the client's role, and of its sessions in CloudTrail: at most 64 characters."""
    return f"billfold-{client_id}"[:64]


def partition_of(region: str | None) -> str:
    """The partition of AWS that a region is in (AWS: "Amazon Resource Names")."""
    name = region or ""
    return "aws-cn" if name.startswith("cn-") else "aws-us-gov" if name.startswith("us-gov-") else "aws"


def _is_left_out(name: str, value: Any) -> bool:
    return value is None or (value == "" and CLIENT_FIELDS[name].is_clearable)


def _check(name: str, value: Any) -> Any:
    field = CLIENT_FIELDS[name]
    option = f"--{name.replace('_', '-')}"
    try:
        checked = field.check(value)
    except ValidationError:
        raise UsageError(f"{option} is {str(value)[:200]!r}: expected {field.expected}") from None
    # A key may begin with a slash: reports without a prefix do.
    if name == "prefix" and checked and any(part in _FORBIDDEN_PARTS for part in _parts_of_prefix(checked)):
        raise UsageError(f"{option} is {value!r}: expected a folder without empty parts, `.` or `..`")
    return checked


def _parts_of_prefix(prefix: str) -> list[str]:
    return prefix.removeprefix("/").rstrip("/").split("/")


def _describes_client(settings: Settings) -> bool:
    """Whether the settings say where a client's bill is; a name alone selects one from the registry."""
    return bool(settings.bucket or settings.role_arn)


def _refuse_overlap(connection: Connection, settings: Settings, client: Client) -> None:
    found = store.find_overlapping(connection, client)
    default = settings.default_client()
    # The client of the settings has a row only after its first delivery.
    if found is None and default.client_id != client.client_id and _overlaps(default, client):
        found = default.client_id, default.prefix
    if found:
        other, prefix = found
        raise UsageError(
            f"s3://{client.bucket}/{prefix} belongs to client {other} already: s3://{client.bucket}/{client.prefix}"
            " overlaps with it",
            advice="a folder of a bucket belongs to one client",
        )


def _overlaps(one: Client, other: Client) -> bool:
    """Whether the folder of one is the other's, is in it or contains it."""
    is_nested = one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)
    return one.bucket is not None and one.bucket == other.bucket and is_nested


def _find_registered(connection: Connection, client_id: str) -> Client:
    client = _find_known(connection, client_id)
    if not client.is_registered:
        raise UsageError(f"client {client_id} is described by settings, not registered")
    return client


def _find_known(connection: Connection, client_id: str) -> Client:
    client = store.find_client(connection, client_id)
    if client is None:
        known = ", ".join(each.client_id for each in store.list_clients(connection))
        raise UsageError(f"there is no client {client_id}", advice=f"known clients: {known or 'none yet'}")
    return client
