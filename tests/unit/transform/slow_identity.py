"""The canonical hash once more, slow and obvious: one line item as a dict of header and value, in plain Python."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from uuid import UUID

from billfold.model import ExportFormat
from billfold.transform.columns import MAP_COLUMNS, TYPED_MAP_COLUMNS, UNSTABLE_COLUMNS, describe_columns

# A number that JSON would round: the map that holds one is spelled as it stands.
_LONG_NUMBER = re.compile(r"[0-9][0-9.]{16,}", re.ASCII)


def slow_row_hash(item: Mapping[str, str], export_format: ExportFormat) -> UUID:
    """The row_hash of a line item given by its source headers; an empty value counts as none."""
    columns = describe_columns(list(item), export_format, file="a test")
    text = ""
    for column in sorted(columns, key=lambda column: column.canonical.encode()):
        value = item[column.header]
        if value and column.canonical not in UNSTABLE_COLUMNS:
            text += _spelled(column.canonical, value)
    return UUID(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())


def _spelled(name: str, value: str) -> str:
    if name not in MAP_COLUMNS:
        return _prefixed(name) + _prefixed(value)
    if value.replace(" ", "") == "{}":
        return ""
    entries = None if _LONG_NUMBER.search(value) else _entries(value)
    if entries is None:
        return _prefixed(name) + _prefixed(value)
    mark = "=" if name in TYPED_MAP_COLUMNS else ""
    inside = "".join(
        _prefixed(key) + (mark if isinstance(text, _Typed) else "") + _prefixed(text)
        for key, text in sorted(entries.items(), key=_bytes_of_key)
    )
    return _prefixed(name + "{}") + _prefixed(inside)


class _Typed(str):
    """What JSON spells without quotes: a number, true, false or null."""


_WORDS = {True: "true", False: "false", None: "null"}


def _entries(value: str) -> dict[str, str] | None:
    try:
        found = json.loads(value, parse_int=_Typed, parse_float=_Typed)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    return {key: text if isinstance(text, str) else _Typed(_WORDS[text]) for key, text in found.items()}


def _bytes_of_key(entry: tuple[str, str]) -> bytes:
    return entry[0].encode()


def _prefixed(text: str) -> str:
    return f"{len(text.encode())}:{text}"
