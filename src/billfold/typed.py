"""Sources that somebody types: what proves to be no bill is refused on the spot, and leaves nothing behind.

A source of a client that fails is a fact about that client, and leaves a failed run. A typing error is not: it would
stand on the dashboard as a failure that nobody can end.
"""

from __future__ import annotations

from pathlib import Path

from billfold.errors import BillfoldError, SourceError, SourceNotFoundError, UnknownFormatError
from billfold.exports import LOCAL_SCHEME, Bucket, address, is_local
from billfold.exports.other_files import find_kind, tells_nothing
from billfold.model import Client
from billfold.store import statements
from billfold.store.database import Database, connect

_S3_SCHEME = "s3://"


def refuse_other_file(bucket: Bucket, key: str, client: Client, database: Database) -> None:
    """Raise UnknownFormatError for a local file that is not a bill, unless it has come in as one before."""
    if not is_local(bucket.name) or not key or key.endswith("/"):
        return
    try:
        source = bucket.head(key)
    except SourceError:
        # A folder, or what is not there: its resolution says so.
        return
    kind = find_kind(bucket, source) or ("file without a bill's columns" if tells_nothing(bucket, source) else None)
    if kind and not is_known(bucket.name, key, client, database):
        raise UnknownFormatError(f"is not a bill: {kind}", file=key, advice="name a file or folder that AWS wrote")


def leaves_nothing(error: BillfoldError, bucket: str, key: str, client: Client, database: Database) -> bool:
    """Whether what was typed is no source of the client's: nothing is there, or it is not a bill.

    What lies in the client's own bucket is a source, and so is what came in before.
    """
    is_on_disk = is_local(bucket) or (not bucket and not key.lower().startswith(_S3_SCHEME))
    is_nothing = isinstance(error, SourceNotFoundError | UnknownFormatError) or (
        is_on_disk and isinstance(error, SourceError)
    )
    return is_nothing and not is_known(bucket, key, client, database)


def is_known(bucket: str, key: str, client: Client, database: Database) -> bool:
    """Whether the bucket is the client's own, or a bill came in from this very file or folder."""
    if bucket and bucket == client.bucket:
        return True
    place = address(bucket, key) if bucket else key
    if not place.lower().startswith(_S3_SCHEME):
        place = LOCAL_SCHEME + str(Path(place.removeprefix(LOCAL_SCHEME)).absolute())
    with connect(database.conninfo) as connection:
        return statements.is_known_source(connection, client, place.rstrip("/"))
