"""How pages are rendered: one environment of templates that escapes everything, and the filters that they share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlencode

import structlog
from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from billfold import __version__
from billfold.log import Event
from billfold.money import SMALLEST_QUANTITY, find_percentage, round_amount, round_quantity
from billfold.reports.pace import DayRange
from billfold.store.database import Database
from billfold.store.reports import reading
from billfold.web.access import Access
from billfold.web.api.responses import missing
from billfold.web.pages.files import static_url

T = TypeVar("T")

# Spans of time: the larger unit in seconds and its name, and the smaller one that is told beside it.
_SPANS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_DASH = "\N{EN DASH}"
_COMMAND = re.compile("`([^`]+)`")
_NONE = Markup(f'<span class="none">{_DASH}</span>')

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """An entry of the navigation."""

    name: str
    title: str
    path: str


TABS = (
    Tab(name="costs", title="Costs", path="/"),
    Tab(name="changes", title="Changes", path="/changes"),
    Tab(name="deliveries", title="Deliveries", path="/deliveries"),
    Tab(name="checks", title="Checks", path="/checks"),
    Tab(name="clients", title="Clients", path="/clients"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What surrounds every page: which tab it is, which clients there are, and which one is looked at (None: all)."""

    tab: str
    clients: tuple[str, ...]
    client: str | None


def frame(database: Database, access: Access, *, tab: str, client: str | None) -> Frame:
    """The frame of a page for whoever asks: a token for one client sees only that one.

    Raises ForbiddenError for a client that the token is not for, and HTTPException 404 for one that there is not.
    """
    narrowed = access.narrow(client or None)
    if access.client_id is not None:
        return Frame(tab=tab, clients=(access.client_id,), client=narrowed)
    with reading.read(database) as connection:
        clients = reading.list_clients(connection)
    if narrowed is not None and narrowed not in clients:
        raise missing("client")
    return Frame(tab=tab, clients=clients, client=narrowed)


def render(request: Request, template: str, *, frame: Frame | None, status: int = 200, **context: Any) -> HTMLResponse:
    """The page of a template. Without a frame there is neither navigation nor a choice of clients."""
    page = _environment().get_template(template)
    text = page.render(request=request, frame=frame, tabs=TABS, version=__version__, **context)
    # What somebody may see depends on their token, and it changes with the next delivery.
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})


def attempt(figure: str, make: Callable[[], T]) -> T | None:
    """What `make` returns, None where it cannot be made: one figure that fails takes no page down, nor the others.

    Only what arithmetic and spelling raise is caught; the log has the traceback.
    """
    try:
        return make()
    except (ArithmeticError, ValueError) as error:
        log.error(Event.FIGURE_FAILED, figure=figure, exc_info=error)
        return None


def money(value: Decimal | str | None, currency: str = "") -> Markup:
    """An amount with its currency and that one's decimals; the exact one is shown on hover where it has more digits."""
    if value is None:
        return _NONE
    exact = Decimal(value)
    rounded = round_amount(exact, currency)
    title = Markup(' title="{}"').format(f"{plain(exact)} {currency}".strip()) if rounded != exact else Markup("")
    unit = Markup(' <span class="currency">{}</span>').format(currency) if currency else Markup("")
    text = f"{rounded:,f}".replace("-", "\N{MINUS SIGN}")
    return Markup('<span class="money"{}>{}{}</span>').format(title, text, unit)


def signed_money(value: Decimal | str | None, currency: str = "") -> Markup:
    """The same with its sign, for differences; what is shown as zero has neither sign nor colour."""
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
    """What `part` is of `whole`, in percent: `new`, or a dash, where there is nothing to compare with."""
    share = None if part is None or whole is None else find_percentage(part, whole, currency)
    if share is None:
        return _DASH
    if isinstance(share, str):
        return share
    return f"{share:+,}%".replace("-", "\N{MINUS SIGN}") if share else "0.0%"


def quantity(value: Decimal) -> Markup:
    """A quantity with at most six decimals; the exact one is shown on hover where it has more digits."""
    rounded = round_quantity(value)
    title = Markup(' title="{}"').format(plain(value)) if rounded != value else Markup("")
    # GB of a few bytes are common.
    text = plain(rounded) if rounded or not value else f"{'-' if value < 0 else ''}<{SMALLEST_QUANTITY}"
    return Markup("<span{}>{}</span>").format(title, text.replace("-", "\N{MINUS SIGN}"))


def count(value: int | None) -> str:
    """A whole number with thousands parted."""
    return _DASH if value is None else f"{value:,}"


def time(value: datetime | None) -> Markup:
    """An instant in UTC; the script of pages adds the local time on hover."""
    if value is None:
        return _NONE
    utc = value.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d %H:%M} UTC")


def duration(seconds: float | None) -> str:
    """A span of time in its two largest units: 340 ms, 12.3 s, 3 min 20 s, 5 h 10 min, 3 d 4 h."""
    if seconds is None:
        return _DASH
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = max(round(seconds), 60)
    large, large_unit, small, small_unit = next(units for units in _SPANS if whole >= units[0])
    rest = whole % large // small
    return f"{whole // large:,} {large_unit}" + (f" {rest} {small_unit}" if rest else "")


def size(value: int | None) -> str:
    """A number of bytes in the unit that fits it: 512 B, 1.4 MiB."""
    if value is None:
        return _DASH
    amount, unit = float(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"


def day(value: date | None) -> Markup:
    """A day as 2026-05-31, which no line's end parts."""
    return _NONE if value is None else Markup('<span class="nowrap">{}</span>').format(f"{value:%Y-%m-%d}")


def days(value: DayRange | None) -> Markup:
    """A day, or the first and the last of those that clients differ in."""
    if value is None or value.first == value.last:
        return day(value.last if value else None)
    return Markup("{} to {}, by client").format(day(value.first), day(value.last))


def words(text: str) -> Markup:
    """A sentence whose `commands` stand in backticks, as our messages and pieces of advice have them."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(text))))


def link(path: str, parameters: Mapping[str, Any] | None = None, /, **changes: Any) -> str:
    """An address with its query: the parameters with the changes applied; None and '' leave one out."""
    merged = {**(parameters or {}), **changes}
    return path if not (query := urlencode(_pairs(merged))) else f"{path}?{query}"


def _pairs(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in parameters.items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs += [(name, str(each)) for each in values if each not in (None, "")]
    return pairs


def _or_dash(show: Callable[..., str]) -> Callable[..., str]:
    """The filter, with a dash in place of a figure that it cannot show."""

    def show_or_dash(*values: Any) -> str:
        shown = attempt(show.__name__, lambda: show(*values))
        return _NONE if shown is None else shown

    return show_or_dash


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("billfold.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        money=_or_dash(money),
        signed_money=_or_dash(signed_money),
        percent=_or_dash(percent),
        count=count,
        time=time,
        day=day,
        days=days,
        quantity=_or_dash(quantity),
        duration=duration,
        size=size,
        words=words,
    )
    environment.globals.update(link=link, static_url=static_url)
    # Amounts travel to charts as exact text; Plotly reads numbers from it.
    environment.policies["json.dumps_kwargs"] = {"default": str, "ensure_ascii": False}
    return environment
