"""Sources that somebody types, and what is recorded if they are not bills.

A failing source of a known client is a fact about that client: it leaves a failed run under its key. A file that is not
a bill leaves no delivery: that would stay on the dashboard as a failure that nobody can end. If the client is the one
of the settings and never had a bill, the source was a typing error: it leaves nothing at all.
"""

from __future__ import annotations

from pathlib import Path

from billfold.aws import LOCAL_SCHEME, Bucket, address, is_local
from billfold.aws.other_files import find_kind, has_no_text
from billfold.errors import BillfoldError, SourceError, SourceNotFoundError, UnknownFormatError
from billfold.model import Client
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.store.deliveries import statements
from billfold.store.reports import reading

_S3_SCHEME = "s3://"


def refuse_other_file(bucket: Bucket, key: str, client: Client, database: Database) -> None:
    """Raise UnknownFormatError for a local file that is not a bill, unless it came in as one before."""
    if not is_local(bucket.name) or not key or key.endswith("/"):
        return
    try:
        source = bucket.head(key)
        kind = find_kind(bucket, source) or ("it holds no text" if has_no_text(bucket, source) else None)
    except SourceError:
        # A folder, or a file that is missing or cannot be read: its resolution reports that.
        return
    if kind and not _has_come_in(bucket.name, key, client, database):
        place = address(bucket.name, key)
        raise UnknownFormatError(f"is not a bill: {kind}", file=place, advice="name a file or folder that AWS wrote")


def leaves_nothing(
    error: BillfoldError, bucket: str, key: str, *, client: Client, settings: Settings, database: Database
) -> bool:
    """Whether the source is a typing error: nothing else is known of its client."""
    is_on_disk = is_local(bucket) or (not bucket and not key.lower().startswith(_S3_SCHEME))
    is_nothing = isinstance(error, SourceNotFoundError | UnknownFormatError) or (
        is_on_disk and isinstance(error, SourceError)
    )
    if not is_nothing or client.is_registered or client.client_id != settings.client:
        return False
    if not is_on_disk and client.bucket is not None and client.bucket in (bucket, _bucket_of(key)):
        return False
    with connect(database.conninfo) as connection:
        return client.client_id not in reading.list_clients(connection)


def _bucket_of(source: str) -> str:
    return source[len(_S3_SCHEME) :].partition("/")[0] if source.lower().startswith(_S3_SCHEME) else ""


def _has_come_in(bucket: str, key: str, client: Client, database: Database) -> bool:
    place = LOCAL_SCHEME + str(Path(address(bucket, key)).absolute())
    with connect(database.conninfo) as connection:
        return statements.is_known_source(connection, client, place)
