"""The fields of a query: forms send them empty, and people mistype them; each error names its field."""

from __future__ import annotations

from collections.abc import Iterable

from billfold.errors import UsageError
from billfold.period import BillingPeriod, parse_period

MAX_TEXT_LENGTH = 300
# As in the API: an IAM ARN is longer than what people type.
MAX_VALUE_LENGTH = 1_000
# PostgreSQL's integer, the type of ids and numbers.
MAX_NUMBER = 2**31 - 1


def read_texts(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """The distinct texts, without blanks around them and without empty ones."""
    values = tuple(values)
    if any(len(value) > MAX_TEXT_LENGTH or "\0" in value for value in values):
        raise UsageError(f"{name} must be text of at most {MAX_TEXT_LENGTH} characters")
    return tuple(dict.fromkeys(value.strip() for value in values if value.strip()))


def read_values(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """The distinct texts unchanged, without empty ones: a value in a bill may begin with a blank."""
    values = tuple(values)
    if any(len(value) > MAX_VALUE_LENGTH or "\0" in value for value in values):
        raise UsageError(f"{name} must be text of at most {MAX_VALUE_LENGTH} characters")
    return tuple(dict.fromkeys(value for value in values if value.strip()))


def read_text(name: str, value: str) -> str | None:
    """The text, None if the field is empty."""
    return next(iter(read_texts(name, [value])), None)


def choose(name: str, value: str, known: tuple[str, ...]) -> str:
    """The value, if it is a known one."""
    if value not in known:
        raise UsageError(f"{name} must be one of {', '.join(known)}")
    return value


def read_month(name: str, value: str) -> BillingPeriod | None:
    """The month, None if the field is empty."""
    if not value:
        return None
    month = parse_period(value)
    if month is None:
        raise UsageError(f"{name} must be a month such as 2026-05")
    return month


def read_number(name: str, value: str, *, min_value: int = 1, max_value: int = MAX_NUMBER) -> int | None:
    """The whole number, None if the field is empty."""
    if not value:
        return None
    # A longer number is out of range, and slow to parse.
    is_number = value.isascii() and value.isdigit() and len(value) <= len(str(max_value))
    if not (is_number and min_value <= int(value) <= max_value):
        raise UsageError(f"{name} must be a whole number from {min_value} to {max_value}")
    return int(value)
