"""The words of `billfold costs`: what it groups by and what it leaves out, as values of the report."""

from __future__ import annotations

import re
from collections.abc import Sequence

from billfold.errors import UsageError
from billfold.reports import CostColumn, KeyColumn, MapColumn, Preset

_ESCAPED_EQUALS = "\\="
_PAIR = re.compile(r"((?:\\=|[^=])++)=(.*)", re.DOTALL)
_COMMA = re.compile(r"(?<!\\),")

_COLUMNS = ", ".join([*CostColumn, *(f"{column}:KEY" for column in MapColumn)])


def parse_cost_columns(by: Sequence[str]) -> list[CostColumn | KeyColumn]:
    """The columns of `--by account,tag:Env --by month`, each once.

    A key goes from the first colon to the next comma; a comma inside of a key is written `\\,`.
    """
    names = _words(by)
    if not names:
        raise UsageError("costs cannot be grouped by nothing", advice=f"use {_COLUMNS}")
    return list(dict.fromkeys(map(_parse_column, names)))


def parse_presets(without: Sequence[str]) -> list[Preset]:
    """The presets of `--without tax,credit --without refund`, each once."""
    names = [name.lower() for name in _words(without)]
    unknown = [name for name in names if name not in list(Preset)]
    if unknown or (without and not names):
        raise UsageError(
            f"costs cannot leave out {unknown[0] if unknown else 'nothing'}", advice=f"use {', '.join(Preset)}"
        )
    return list(dict.fromkeys(map(Preset, names)))


def parse_pairs(option: str, words: Sequence[str]) -> dict[str, list[str]]:
    """The values by key of `--tag KEY=VALUE`, split at the first equals sign; no value stands for none.

    An equals sign inside of a key is written `\\=`; values need no such care.
    """
    values: dict[str, list[str]] = {}
    for word in parse_texts(option, words):
        pair = _PAIR.fullmatch(word)
        if pair is None:
            raise UsageError(f"{option} {word!r} is no KEY=VALUE", advice="KEY= asks for what has no value")
        values.setdefault(pair[1].replace("\\=", "="), []).append(pair[2])
    return values


def format_pair(key: str, value: str) -> str:
    """A key and its value as `parse_pairs` reads them."""
    return f"{key.replace('=', _ESCAPED_EQUALS)}={value}"


def parse_texts(option: str, words: Sequence[str]) -> list[str]:
    """The words as they are; raises UsageError for bytes that are no text, which PostgreSQL could not compare."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{option} is not UTF-8 text") from error
    return list(words)


def _parse_column(name: str) -> CostColumn | KeyColumn:
    kind, _, key = name.partition(":")
    if kind in list(MapColumn):
        if not key:
            raise UsageError(f"{kind} needs a key", advice=f"such as {kind}:team")
        return KeyColumn(column=MapColumn(kind), key=key)
    if name not in list(CostColumn):
        raise UsageError(f"costs cannot be grouped by {name}", advice=f"use {_COLUMNS}")
    return CostColumn(name)


def _words(groups: Sequence[str]) -> list[str]:
    parse_texts("the command line", groups)
    words = (name.strip() for group in groups for name in _COMMA.split(group))
    return [word.replace("\\,", ",") for word in words if word]
