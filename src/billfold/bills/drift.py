"""Drift: how the columns of a delivery differ from those of the delivery before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_SHOWN_COLUMNS = 10
_EMPTY = "empty"
_TEXT = "text"
# The types that are judged from a CSV's values; any other type is declared by a Parquet file.
_JUDGED = frozenset({"number", "time", "map", _TEXT})
_KINDS = {
    "number": tuple(
        "number double float decimal hugeint bigint integer smallint tinyint uhugeint ubigint uinteger usmallint"
        " utinyint".split()
    ),
    "time": ("time", "date"),
    "map": ("map", "struct", "json"),
}


def find_drift(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """The findings about columns that are new, gone or of another type: at most one line for each of these.

    Both sides are AWS's headers with their types, from `Bill.describe_columns`; if one of them is empty, there is
    nothing to compare. A column without a value has no type. A CSV's type is judged from a sample, so a text column
    that becomes narrower is not a finding; the opposite is. Between a CSV and a Parquet file only kinds of types are
    compared, and a text that Parquet declares agrees with all: an account id looks like a number in a CSV. A column
    that had several types may have any of them.
    """
    if not before or not now:
        return ()
    lines = {
        "new columns": sorted(now.keys() - before.keys()),
        "columns that are gone": sorted(before.keys() - now.keys()),
        "columns of another type": [
            f"{header} ({before[header]}, now {now[header]})"
            for header in sorted(before.keys() & now.keys())
            if _is_retyped(before[header], now[header])
        ],
    }
    return tuple(f"{kind}: {_show(columns)}" for kind, columns in lines.items() if columns)


def _is_retyped(before: str, now: str) -> bool:
    known, found = _types(before), _types(now)
    if not known or not found:
        return False
    if (known | found) & _JUDGED:
        known = {_kind(one) for one in known}
        found = {_kind(one) for one in found if one in _JUDGED or _kind(one) != _TEXT}
        return _TEXT not in known and not found <= known
    return not found <= known


def _types(description: str) -> set[str]:
    """The types of a column: several where the files of a delivery differ, none where no file has a value."""
    return set(description.split(" | ")) - {_EMPTY}


def _kind(name: str) -> str:
    """The kind that the type has in a CSV: anything unknown is text."""
    if name.endswith("]"):
        return _TEXT
    return next((kind for kind, starts in _KINDS.items() if name.startswith(starts)), _TEXT)


def _show(columns: Iterable[str]) -> str:
    names = list(columns)
    more = len(names) - _SHOWN_COLUMNS
    return ", ".join(names[:_SHOWN_COLUMNS]) + (f" and {more} more" if more > 0 else "")
