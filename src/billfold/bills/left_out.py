"""Left out: files beside the bills of a folder that are not bills, or are copies of one, each named once.

A version that was read once is remembered, so that a schedule does not read it on each pass.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence

import structlog

from billfold.aws import Bucket
from billfold.aws.layout import folder_of, is_manifest
from billfold.aws.other_files import find_kind, kind_of_key
from billfold.log import Event
from billfold.model import Client, LeftOutFile, SourceObject
from billfold.store.database import Database, connect
from billfold.store.deliveries import left_out

_SHOWN_KEYS = 3
_COPY = "copy of the file beside it"

_log = structlog.get_logger(__name__)


class OtherFiles:
    """The files that one resolution leaves out.

    `takes_named` is whether it also leaves out a file that is named by itself, as an event names one.
    """

    def __init__(self, client: Client, database: Database, *, takes_named: bool = False) -> None:
        self.takes_named = takes_named
        self._client = client
        self._database = database
        self._found: dict[str, LeftOutFile] = {}

    @property
    def found(self) -> tuple[LeftOutFile, ...]:
        """The files left out so far, in the order of their keys."""
        return tuple(self._found[key] for key in sorted(self._found))

    def __call__(self, bucket: Bucket, sources: Sequence[SourceObject]) -> set[str]:
        """The keys of those that are not bills; raises SourceUnavailableError if S3 is busy."""
        kinds = {source.key: kind for source in sources if (kind := kind_of_key(source.key))}
        unknown = [source for source in sources if source.key not in kinds]
        if unknown:
            with connect(self._database.conninfo) as connection:
                kinds |= left_out.find_kinds(connection, self._client, unknown)
                bills = left_out.find_bills(connection, self._client, unknown)
            kinds |= dict.fromkeys(_find_copies(unknown, bills), _COPY)
            to_read = [source for source in unknown if source.key not in kinds and source.key not in bills]
            read = {source: kind for source in to_read if (kind := find_kind(bucket, source))}
            if read:
                with connect(self._database.conninfo) as connection:
                    left_out.keep_kinds(connection, self._client, read)
            kinds |= {source.key: kind for source, kind in read.items()}
        for key, kind in kinds.items():
            self._found[key] = LeftOutFile(key=key, kind=kind)
        return set(kinds)

    def log(self, bucket: str) -> None:
        """Log the left out files, once."""
        if self._found:
            counts = Counter(each.kind for each in self._found.values())
            keys = [each.key for each in self.found[:_SHOWN_KEYS]]
            _log.info(Event.FILES_LEFT_OUT, bucket=bucket, files=len(self._found), kinds=dict(counts), keys=keys)


def _find_copies(sources: Sequence[SourceObject], bills: Container[str]) -> Iterator[str]:
    """The keys of data files whose content another file of the folder has: files of one folder are parts of one bill.

    The one that has come in stays, else the one with the shortest name: a browser adds " (1)" to a second download.
    """
    alike: defaultdict[tuple[str, str, int], list[SourceObject]] = defaultdict(list)
    for source in sources:
        # Empty files have nothing to compare.
        if source.size_bytes and not is_manifest(source.key):
            alike[folder_of(source.key), source.etag, source.size_bytes].append(source)
    for same in alike.values():
        _, *copies = sorted(same, key=lambda source: (source.key not in bills, len(source.key), source.key))
        yield from (source.key for source in copies if source.key not in bills)
