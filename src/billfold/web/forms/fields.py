"""The fields of an address's query: forms send them empty, hands write them wrong; each complaint names its field."""

from __future__ import annotations

from collections.abc import Iterable

from billfold.errors import UsageError
from billfold.period import BillingPeriod, parse_period

MAX_TEXT_LENGTH = 300
# As the API takes them: an ARN of IAM is longer than what people write.
MAX_VALUE_LENGTH = 1_000
# PostgreSQL's integer, which is what ids and numbers are.
MAX_NUMBER = 2**31 - 1


def read_texts(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """The texts without blanks around them, each once and none empty."""
    values = tuple(values)
    if any(len(value) > MAX_TEXT_LENGTH or "\0" in value for value in values):
        raise UsageError(f"{name} is no text of at most {MAX_TEXT_LENGTH} characters")
    return tuple(dict.fromkeys(value.strip() for value in values if value.strip()))


def read_values(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """The texts as they are, blanks around them too, each once and none empty: values of a bill may begin with one."""
    values = tuple(values)
    if any(len(value) > MAX_VALUE_LENGTH or "\0" in value for value in values):
        raise UsageError(f"{name} is no text of at most {MAX_VALUE_LENGTH} characters")
    return tuple(dict.fromkeys(value for value in values if value.strip()))


def read_text(name: str, value: str) -> str | None:
    """The text, None where nothing was asked for."""
    return next(iter(read_texts(name, [value])), None)


def choose(name: str, value: str, known: tuple[str, ...]) -> str:
    """The value, which must be a known one."""
    if value not in known:
        raise UsageError(f"{name} is none of {', '.join(known)}")
    return value


def read_month(name: str, value: str) -> BillingPeriod | None:
    """The month, None where none was asked for."""
    if not value:
        return None
    month = parse_period(value)
    if month is None:
        raise UsageError(f"{name} is no month such as 2026-05")
    return month


def read_number(name: str, value: str, *, least: int = 1, most: int = MAX_NUMBER) -> int | None:
    """The whole number, None where none was asked for."""
    if not value:
        return None
    # More digits than that are out of range, and slow to read.
    if not (value.isascii() and value.isdigit() and len(value) <= len(str(most)) and least <= int(value) <= most):
        raise UsageError(f"{name} is no whole number from {least} to {most}")
    return int(value)
