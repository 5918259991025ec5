"""Local files: a file keeps the folder that was its bucket when it first came in.

The same file under two folders would be two statements, and counted twice.
"""

from __future__ import annotations

from pathlib import Path

from billfold.aws import LOCAL_SCHEME, Bucket, address, is_local, open_bucket, resolve
from billfold.errors import InputError, UsageError
from billfold.model import Client, Delivery, SourceObject
from billfold.store.database import Connection
from billfold.store.deliveries import statements


def locate_delivery(
    connection: Connection, delivery: Delivery, bucket: Bucket, *, client: Client, tolerate_newer_files: bool
) -> tuple[Bucket, Delivery]:
    """The bucket and delivery by which a local delivery is known; another folder may be named now.

    Raises UsageError if a file without a manifest is counted in several folders.
    """
    if not is_local(bucket.name):
        return bucket, delivery
    if delivery.manifest is not None:
        return _locate_export(connection, delivery, delivery.manifest, bucket, client, tolerate_newer_files)
    locations = statements.list_locations(connection, client, delivery)
    counting = [each for each in locations if each.is_current and each.is_counted]
    if len({each.bucket for each in counting}) > 1:
        named = " and ".join(f"as statement {each.statement_id} of {each.bucket}" for each in counting)
        raise UsageError(
            f"{address(bucket.name, delivery.files[0].key)} is counted more than once, {named}",
            advice="`billfold rollback` the current delivery of all but one of them",
        )
    if not locations or locations[0].bucket == bucket.name:
        return bucket, delivery
    known = open_bucket(client, bucket.settings, locations[0].bucket)
    return known, resolve(known, locations[0].key, tolerate_newer_files=tolerate_newer_files)[0]


def _locate_export(
    connection: Connection,
    delivery: Delivery,
    manifest: SourceObject,
    bucket: Bucket,
    client: Client,
    tolerate_newer_files: bool,
) -> tuple[Bucket, Delivery]:
    locations = statements.list_export_locations(connection, client, delivery)
    if not locations or locations[0].bucket == bucket.name:
        return bucket, delivery
    known = open_bucket(client, bucket.settings, locations[0].bucket)
    path = Path(address(bucket.name, manifest.key))
    key = path.relative_to(known.name.removeprefix(LOCAL_SCHEME)).as_posix()
    try:
        return known, resolve(known, key, tolerate_newer_files=tolerate_newer_files)[0]
    except InputError:
        # The delivery needs files that are not below the known folder.
        return bucket, delivery
