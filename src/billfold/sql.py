"""The loader of SQL files: whole scripts, and named queries introduced by `-- name: …`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- name: (?P<name>[a-z0-9_]+)(?P<rest>.*)$", re.MULTILINE)


@cache
def read_script(package: str, name: str) -> str:
    """The text of `sql/<name>.sql` in `package`."""
    return (resources.files(package) / "sql" / f"{name}.sql").read_text(encoding="utf-8")


@cache
def read_queries(package: str, name: str) -> Mapping[str, str]:
    """The named queries of `sql/<name>.sql`: each starts at its `-- name:` line and ends at the next."""
    text = read_script(package, name)
    marks = list(_NAME.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    queries = {mark["name"]: text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)}
    assert len(queries) == len(marks), f"{package}/{name}.sql names a query twice"
    return queries
