"""How pages show figures: money, percentages, quantities, times and sizes."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from billfold.money import SMALLEST_QUANTITY, find_percentage, round_amount, round_quantity

if TYPE_CHECKING:
    from billfold.reports.pace import DayRange

DASH = "\N{EN DASH}"
NONE = Markup(f'<span class="none">{DASH}</span>')

# Durations: the larger unit in seconds with its name, and the smaller unit shown beside it.
_SPANS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_COMMAND = re.compile("`([^`]+)`")


def money(value: Decimal | str | None, currency: str = "") -> Markup:
    """An amount with the decimals of its currency; hover shows the exact amount if it has more digits."""
    if value is None:
        return NONE
    exact = Decimal(value)
    rounded = round_amount(exact, currency)
    title = Markup(' title="{}"').format(f"{plain(exact)} {currency}".strip()) if rounded != exact else Markup("")
    unit = Markup(' <span class="currency">{}</span>').format(currency) if currency else Markup("")
    text = f"{rounded:,f}".replace("-", "\N{MINUS SIGN}")
    return Markup('<span class="money"{}>{}{}</span>').format(title, text, unit)


def signed_money(value: Decimal | str | None, currency: str = "") -> Markup:
    """A difference, with a sign and a colour unless it rounds to zero."""
    shown = money(value, currency)
    rounded = round_amount(Decimal(value or 0), currency)
    if rounded > 0:
        return Markup('<span class="money more">+{}</span>').format(shown)
    if rounded < 0:
        return Markup('<span class="money less">{}</span>').format(shown)
    return shown


def plain(value: Decimal) -> str:
    """The exact digits, without trailing zeros and without an exponent."""
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def percent(part: Decimal | None, whole: Decimal | None, currency: str = "") -> str:
    """`part` in percent of `whole`; `new` or a dash if there is nothing to compare with."""
    share = None if part is None or whole is None else find_percentage(part, whole, currency)
    if share is None:
        return DASH
    if isinstance(share, str):
        return share
    return f"{share:+,}%".replace("-", "\N{MINUS SIGN}") if share else "0.0%"


def quantity(value: Decimal) -> Markup:
    """A quantity with at most six decimals; hover shows the exact quantity if it has more digits."""
    rounded = round_quantity(value)
    title = Markup(' title="{}"').format(plain(value)) if rounded != value else Markup("")
    # GB of a few bytes are common.
    text = plain(rounded) if rounded or not value else f"{'-' if value < 0 else ''}<{SMALLEST_QUANTITY}"
    return Markup("<span{}>{}</span>").format(title, text.replace("-", "\N{MINUS SIGN}"))


def count(value: int | None) -> str:
    """A whole number with thousands separators."""
    return DASH if value is None else f"{value:,}"


def time(value: datetime | None) -> Markup:
    """A time in UTC; the script of the page adds the local time on hover."""
    if value is None:
        return NONE
    utc = value.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d %H:%M} UTC")


def duration(seconds: float | None) -> str:
    """A duration in its two largest units: 340 ms, 12.3 s, 3 min 20 s, 5 h 10 min, 3 d 4 h."""
    if seconds is None:
        return DASH
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = max(round(seconds), 60)
    large, large_unit, small, small_unit = next(units for units in _SPANS if whole >= units[0])
    rest = whole % large // small
    return f"{whole // large:,} {large_unit}" + (f" {rest} {small_unit}" if rest else "")


def size(value: int | None) -> str:
    """A number of bytes in a unit that fits: 512 B, 1.4 MiB."""
    if value is None:
        return DASH
    amount, unit = float(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


def day(value: date | None) -> Markup:
    """A day as 2026-05-31, without a line break in it."""
    return NONE if value is None else Markup('<span class="nowrap">{}</span>').format(f"{value:%Y-%m-%d}")


def days(value: DayRange | None) -> Markup:
    """A day, or the first and last day if clients differ."""
    if value is None or value.first == value.last:
        return day(value.last if value else None)
    return Markup("{} to {}, by client").format(day(value.first), day(value.last))


def words(text: str) -> Markup:
    """A sentence with each `command` in backticks shown as code."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(text))))
