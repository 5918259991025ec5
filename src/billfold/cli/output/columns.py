"""The columns of the tables: each knows what its values are, and so what a narrow window may do to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """What a column's values are. Only text is folded, and only between words; everything else stays whole."""

    NUMBER = "number"
    ID = "id"
    NAME = "name"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column. `spare` orders the columns that a narrow window leaves out: the highest goes first, 0 always stays.

    Text is folded to `least_width` at most, or to its longest word. `short` are ids' prefixes that are known to differ
    from those of ids that are not shown, too.
    """

    header: str
    kind: Kind
    spare: int = 0
    least_width: int = 24
    short: Mapping[str, str] = field(default_factory=dict)


def number_column(header: str, *, spare: int = 0) -> Column:
    """Counts, amounts, numbered ids: whole and to the right."""
    return Column(header=header, kind=Kind.NUMBER, spare=spare)


def id_column(header: str, *, spare: int = 0, short: Mapping[str, str] | None = None) -> Column:
    """UUIDs: prefixes on a terminal, whole on a pipe. Without `short` a prefix differs from the others of the table."""
    return Column(header=header, kind=Kind.ID, spare=spare, short=short or {})


def name_column(header: str, *, spare: int = 0) -> Column:
    """Names, and other values that make no sense in parts: states, months, instants, currencies."""
    return Column(header=header, kind=Kind.NAME, spare=spare)


def text_column(header: str, *, spare: int = 0) -> Column:
    """Sentences."""
    return Column(header=header, kind=Kind.TEXT, spare=spare)


def group_column(header: str) -> Column:
    """What costs are grouped by: names of several words such as Amazon Elastic Compute Cloud fold between these."""
    return Column(header=header, kind=Kind.TEXT, least_width=16)
