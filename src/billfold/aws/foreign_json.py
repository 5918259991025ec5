"""JSON from outside: a manifest or a message, read as a whole or refused with one reason."""

from __future__ import annotations

import json
import math
from typing import Any

# No count, size or cost in a manifest or an event needs more; Python itself refuses integers of 4,300 digits.
MAX_NUMBER_CHARACTERS = 400
# Manifests and events nest to about five levels.
MAX_DEPTH = 64


class UnreadableJsonError(ValueError):
    """Why a document cannot be read, worded to follow its name; `line` is the physical line, if known."""

    def __init__(self, reason: str, *, line: int | None = None) -> None:
        self.reason = reason
        self.line = line
        super().__init__(reason)


def read_json(content: bytes | str) -> Any:
    """The content as a document in which nothing can be read in two ways.

    Raises UnreadableJsonError, and nothing else, for what is not UTF-8 or not JSON, for NaN and Infinity, for numbers
    that are too long or exceed a double, for objects that name a member twice, and for nesting beyond MAX_DEPTH.
    """
    try:
        document = json.loads(
            content.decode("utf-8-sig") if isinstance(content, bytes) else content,
            parse_int=_read_int,
            parse_float=_read_float,
            parse_constant=_refuse_constant,
            object_pairs_hook=_read_object,
        )
    except UnreadableJsonError:
        raise
    except UnicodeDecodeError as error:
        raise UnreadableJsonError("is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise UnreadableJsonError(f"is not JSON: {error.msg}", line=error.lineno) from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise UnreadableJsonError(f"is not JSON: {error}") from error
    if isinstance(document, dict | list) and _is_deeper(document, MAX_DEPTH):
        raise _too_deep()
    return document


def skim_json(content: bytes) -> Any:
    """The document, to find out which program wrote it; None if it is not JSON. The values of numbers are not kept."""
    try:
        return json.loads(content.decode("utf-8-sig"), parse_int=float)
    except (ValueError, RecursionError):
        return None


def _read_int(text: str) -> int:
    _refuse_long(text)
    return int(text)


def _read_float(text: str) -> float:
    _refuse_long(text)
    number = float(text)
    if math.isinf(number):
        raise UnreadableJsonError(f"holds the number {text}, which is too large")
    return number


def _refuse_long(text: str) -> None:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise UnreadableJsonError(f"holds a number of {len(text)} characters (at most {MAX_NUMBER_CHARACTERS})")


def _refuse_constant(text: str) -> None:
    raise UnreadableJsonError(f"is not JSON: it holds {text}, which is not a number")


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise UnreadableJsonError(f"names {name[:80]!r} twice in one object")
        members[name] = value
    return members


def _is_deeper(document: dict[str, Any] | list[Any], limit: int) -> bool:
    """Whether anything is nested deeper than this; level by level, because deep nesting would break recursion."""
    level: list[dict[str, Any] | list[Any]] = [document]
    for _ in range(limit):
        inner = (member for each in level for member in (each.values() if isinstance(each, dict) else each))
        level = [member for member in inner if isinstance(member, dict | list)]
        if not level:
            return False
    return True


def _too_deep() -> UnreadableJsonError:
    return UnreadableJsonError("is nested too deeply")
