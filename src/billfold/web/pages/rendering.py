"""How pages are rendered: the template environment, which escapes everything, and the frame around each page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlencode

import structlog
from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from billfold import __version__
from billfold.app import Billfold
from billfold.log import Event
from billfold.web.access import Access
from billfold.web.api.responses import not_found
from billfold.web.pages import formats
from billfold.web.pages.static_files import static_url

T = TypeVar("T")

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
    Tab(name="jobs", title="Queue", path="/jobs"),
    Tab(name="checks", title="Checks", path="/checks"),
    Tab(name="clients", title="Clients", path="/clients"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The frame of a page: its tab, the clients to choose from, and the chosen one (None: all)."""

    tab: str
    clients: tuple[str, ...]
    client: str | None


def frame(billfold: Billfold, access: Access, *, tab: str, client: str | None) -> Frame:
    """The frame of a page; a token of one client sees only that client.

    Raises ForbiddenError if the token is for another client, and HTTPException 404 for an unknown client.
    """
    narrowed = access.narrow(client or None)
    if access.client_id is not None:
        return Frame(tab=tab, clients=(access.client_id,), client=narrowed)
    clients = billfold.dashboard.client_ids()
    if narrowed is not None and narrowed not in clients:
        raise not_found("client")
    return Frame(tab=tab, clients=clients, client=narrowed)


def render(request: Request, template: str, *, frame: Frame | None, status: int = 200, **context: Any) -> HTMLResponse:
    """The page of a template. Without a frame it has neither navigation nor a choice of clients."""
    page = _environment().get_template(template)
    text = page.render(request=request, frame=frame, tabs=TABS, version=__version__, **context)
    # A page depends on the token, and changes with the next delivery.
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})


def attempt(figure: str, make: Callable[[], T]) -> T | None:
    """The result of `make`, None if it fails: one broken figure must not take the page down.

    This catches only errors of arithmetic and formatting; the log has the traceback.
    """
    try:
        return make()
    except (ArithmeticError, ValueError) as error:
        log.error(Event.FIGURE_FAILED, figure=figure, exc_info=error)
        return None


def link(path: str, parameters: Mapping[str, Any] | None = None, /, **changes: Any) -> str:
    """A URL with the parameters and changes applied to them; None and '' leave a parameter out."""
    merged = {**(parameters or {}), **changes}
    return path if not (query := urlencode(_pairs(merged))) else f"{path}?{query}"


def _pairs(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in parameters.items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs += [(name, str(each)) for each in values if each not in (None, "")]
    return pairs


def _or_dash(show: Callable[..., str]) -> Callable[..., str]:
    """The filter, with a dash for a figure that cannot be shown."""

    def show_or_dash(*values: Any) -> str:
        shown = attempt(show.__name__, lambda: show(*values))
        return formats.NONE if shown is None else shown

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
        money=_or_dash(formats.money),
        signed_money=_or_dash(formats.signed_money),
        percent=_or_dash(formats.percent),
        count=formats.count,
        time=formats.time,
        day=formats.day,
        days=formats.days,
        quantity=_or_dash(formats.quantity),
        duration=formats.duration,
        size=formats.size,
        words=formats.words,
    )
    environment.globals.update(link=link, static_url=static_url)
    # Charts get amounts as exact text; Plotly parses it to numbers.
    environment.policies["json.dumps_kwargs"] = {"default": str, "ensure_ascii": False}
    return environment
