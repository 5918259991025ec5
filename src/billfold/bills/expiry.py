"""Expiry: a lifecycle rule removed data files of the current delivery; nothing has to be done."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import structlog

from billfold.aws import Bucket, find_places, parse_manifest
from billfold.errors import BillfoldError, ManifestError, SourceNotFoundError
from billfold.log import Event
from billfold.model import Client
from billfold.store.database import Database, connect
from billfold.store.deliveries import statements
from billfold.store.deliveries.statements import CurrentFile, CurrentStatement

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """A statement's current delivery, some files of which are gone."""

    statement: CurrentStatement
    delivery_id: UUID
    export_name: str
    files: tuple[CurrentFile, ...]
    reason: str


def find_expired(database: Database, client: Client, bucket: Bucket, error: BillfoldError) -> Expired | None:
    """The current delivery of the refused manifest, if files that it came in with are gone.

    None for any other error: the manifest of a delivery that never came in, or that was replaced, needs its files.
    """
    if not isinstance(error, ManifestError):
        return None
    try:
        manifest = bucket.head(error.file)
        content = bucket.read_small(manifest, bucket.settings.max_manifest_bytes)
        execution_id = parse_manifest(content, manifest.key).execution_id
    except BillfoldError:
        return None
    places = find_places(manifest.key)
    with connect(database.conninfo) as connection:
        found = statements.find_of_manifest(
            connection, client, manifest, statement=places[0].statement if places else None, execution_id=execution_id
        )
        if found is None:
            return None
        statement_id, export_name = found
        statement = statements.read_statement(connection, statement_id)
        assert statement.delivery_id is not None, "it was found by its delivery"
        files = statements.list_current_files(connection, statement.delivery_id)
    gone = sum(_is_gone(bucket, file.key) for file in files)
    if not gone:
        return None
    reason = f"stays as it is: {gone} of {len(files)} data files {'is' if gone == 1 else 'are'} no longer in the bucket"
    log.info(Event.DELIVERY_EXPIRED, client=client.client_id, delivery_id=str(statement.delivery_id), reason=reason)
    return Expired(
        statement=statement,
        delivery_id=statement.delivery_id,
        export_name=export_name,
        files=files,
        reason=reason,
    )


def _is_gone(bucket: Bucket, key: str) -> bool:
    try:
        bucket.head(key)
    except SourceNotFoundError:
        return True
    return False
