"""When a delivery was made: S3 knows it; for a local copy the file time shows it, unless it is impossible."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from billfold.aws.bucket import is_local
from billfold.model import SourceObject

# The clock of a file server may be a little ahead of ours.
FUTURE_TOLERANCE = timedelta(minutes=5)
# The first Cost and Usage Report covers December 2015. Archives and version control without times leave 1970 or 1980.
EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)
_NEVER = datetime.max.replace(tzinfo=UTC)


def modified_at(status: os.stat_result) -> datetime:
    """A file's time; a time outside the calendar becomes its first or last moment."""
    try:
        return datetime.fromtimestamp(status.st_mtime, UTC)
    except (OverflowError, ValueError, OSError):
        return _NEVER if status.st_mtime > 0 else datetime.min.replace(tzinfo=UTC)


def find_time_fault(source: SourceObject) -> str | None:
    """Why the time of a local file cannot be when AWS delivered it; None if it can, and for every object in S3.

    S3's times are set by AWS: their order is right even if our clock is wrong.
    """
    if not is_local(source.bucket):
        return None
    if source.modified_at > datetime.now(UTC) + FUTURE_TOLERANCE:
        return f"the file time of {source.key} is in the future ({_show(source.modified_at)})"
    if source.modified_at < EARLIEST:
        return f"the file time of {source.key} is before AWS wrote such exports ({_show(source.modified_at)})"
    return None


def _show(moment: datetime) -> str:
    return "after the year 9999" if moment == _NEVER else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
