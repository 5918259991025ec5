"""docs/log-events.md, read: which events there are, with which fields, of which types, and who reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "log-events.md").read_text(encoding="utf-8")

_TYPES: Mapping[str, type[Any] | tuple[type[Any], ...]] = {
    "text": str,
    "whole number": int,
    "true or false": bool,
    "seconds": (int, float),
    "object": dict,
    "list of text": list,
    "list of objects": list,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentedEvent:
    """One row of the list of events."""

    name: str
    levels: frozenset[str]
    when: str
    fields: frozenset[str]
    metrics: frozenset[str]


def names_in(cell: str) -> frozenset[str]:
    """What stands in backticks."""
    return frozenset(re.findall(r"`([^`]+)`", cell))


def read_rows(heading: str) -> list[list[str]]:
    """The rows of the table under a heading, without its head."""
    section = DOCUMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def read_events() -> Sequence[DocumentedEvent]:
    """The events as they are listed."""
    return [
        DocumentedEvent(
            name=name.strip("`"),
            levels=frozenset(levels.split(", ")),
            when=when,
            fields=names_in(fields),
            metrics=names_in(metrics),
        )
        for name, levels, when, fields, metrics in read_rows("The events")
    ]


def read_field_types() -> Mapping[str, tuple[type[Any], ...]]:
    """The types that each field may have; KeyError for one that the document invents."""
    types = {}
    for names, spelled, _ in (*read_rows("What every event has"), *read_rows("The fields")):
        found: list[type[Any]] = []
        for each in re.split(", (?:or )?", spelled):
            kind = _TYPES[each]
            found += kind if isinstance(kind, tuple) else [kind]
        types.update(dict.fromkeys(names_in(names), tuple(found)))
    return types


def read_context() -> frozenset[str]:
    """The fields that all events of a piece of work have."""
    return names_in(DOCUMENT.partition("While a delivery is worked on")[2].partition("\n## ")[0])
