"""The calls of loggers in the source: their level, their event and the fields that they name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "billfold"

_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCall:
    """A call `log.info(Event.NAME, field=…)`; `events` are the names of the declarations that it can log.

    `is_open`: it also spreads a mapping (`**facts`), or a variable holds its event, and only its run tells the rest.
    """

    place: str
    level: str
    events: frozenset[str]
    fields: frozenset[str]
    is_open: bool


def find_log_calls(folder: Path = SOURCE) -> Iterator[LogCall]:
    """Every call of a logger of structlog in the source."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_logger(node.func):
                names = {keyword.arg for keyword in node.keywords}
                fields = {"exception" if name == "exc_info" else name for name in names if name}
                events = frozenset(_declarations(node.args[0])) if node.args else frozenset()
                yield LogCall(
                    place=f"{path.relative_to(folder)}:{node.lineno}",
                    level=_LEVELS[node.func.attr],
                    events=events,
                    fields=frozenset(fields | ({"exception"} if node.func.attr == "exception" else set())),
                    is_open=None in names or not events,
                )


def _is_logger(called: ast.Attribute) -> bool:
    owner = called.value
    if called.attr not in _LEVELS:
        return False
    if isinstance(owner, ast.Name):
        return owner.id.strip("_") == "log"
    return isinstance(owner, ast.Call) and isinstance(owner.func, ast.Attribute) and owner.func.attr == "get_logger"


def _declarations(node: ast.expr) -> Iterator[str]:
    """`Event.NAME`, or both ends of a choice between two."""
    if isinstance(node, ast.IfExp):
        yield from _declarations(node.body)
        yield from _declarations(node.orelse)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Event":
        yield node.attr
