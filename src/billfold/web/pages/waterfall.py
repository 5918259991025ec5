"""The waterfall chart of changes: from the old total, through the largest changes and all others, to the new total."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from billfold.money import axis_place, round_amount, show_minor_unit
from billfold.selection import ChangeColumn, Metric
from billfold.web.forms.change_query import ChangeQuery
from billfold.web.forms.cost_query import NONE
from billfold.web.pages.rendering import attempt, link

if TYPE_CHECKING:
    from billfold.reports.changes import ChangeRow, StatementChange
    from billfold.reports.moves import MoveReport

# A comparison reads at most this many groups, for the sums by kind and for the CSV.
MAX_MOVERS = 10_000
SHOWN_MOVERS = 100
DRAWN_MOVERS = 8

_LABEL_LENGTH = 22
_BAR_HEIGHT = 34
_FRAME_HEIGHT = 130
# The filters of the costs page; it cannot filter by day.
_FILTERS = {
    ChangeColumn.SERVICE: "service",
    ChangeColumn.ACCOUNT: "account",
    ChangeColumn.REGION: "region",
    ChangeColumn.CATEGORY: "category",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """A group that changed; `costs` is the URL of its current costs, None if they are not counted."""

    name: str
    old: Decimal
    new: Decimal
    difference: Decimal
    costs: str | None

    @property
    def kind(self) -> str:
        """Whether the group is new, gone or changed."""
        if not self.old:
            return "added"
        return "changed" if self.new else "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """The changes in one currency. `left_out` smaller groups are not shown; their sum is `smaller`.

    `sums` are by kind: new, gone and changed. `chart` is None if it cannot be drawn. `is_cut`: its axis does not start
    at 0.
    """

    currency: str
    total: ChangeRow
    movers: tuple[Mover, ...]
    left_out: int
    smaller: Decimal
    sums: tuple[tuple[str, int, Decimal], ...]
    chart: dict[str, Any] | None
    chart_height: int
    is_cut: bool


def list_movements(report: MoveReport, query: ChangeQuery) -> tuple[Movement, ...]:
    """The changes in each currency that has any."""
    if report.change is None:
        return ()
    # If more groups changed than were read, the kinds of the rest are unknown.
    is_complete = report.group_count == len(report.change.groups)
    return tuple(
        _describe(total, rows, report.change, query, is_complete=is_complete)
        for total in report.change.totals
        if (rows := [row for row in report.change.groups if row.currency == total.currency])
    )


def _describe(
    total: ChangeRow, rows: list[ChangeRow], change: StatementChange, query: ChangeQuery, *, is_complete: bool
) -> Movement:
    movers = [
        Mover(
            name=row.group[0],
            old=row.old,
            new=row.new,
            difference=row.difference,
            costs=_link_costs(row.group[0], change, query),
        )
        for row in rows
    ]
    shown = movers[:SHOWN_MOVERS]
    has_others = len(movers) > DRAWN_MOVERS
    drawn = attempt("chart of changes", lambda: _draw(total, movers[:DRAWN_MOVERS], change, has_others=has_others))
    chart, is_cut = drawn or (None, False)
    return Movement(
        currency=total.currency,
        total=total,
        movers=tuple(shown),
        left_out=len(movers) - len(shown),
        smaller=total.difference - sum((mover.difference for mover in shown), Decimal(0)),
        sums=_sum_by_kind(movers) if is_complete else (),
        chart=chart,
        chart_height=_FRAME_HEIGHT + _BAR_HEIGHT * len(chart["data"][0]["y"]) if chart else 0,
        is_cut=is_cut,
    )


def _sum_by_kind(movers: list[Mover]) -> tuple[tuple[str, int, Decimal], ...]:
    of_kind = {kind: [mover for mover in movers if mover.kind == kind] for kind in ("added", "removed", "changed")}
    return tuple(
        (kind, len(each), sum((mover.difference for mover in each), Decimal(0))) for kind, each in of_kind.items()
    )


def _link_costs(name: str, change: StatementChange, query: ChangeQuery) -> str | None:
    if not change.counted:
        return None
    month = {"client": change.client_id, "since": change.billing_period, "until": change.billing_period}
    metric = None if query.metric is Metric.BILLED else query.metric
    chosen = {_FILTERS[query.by]: name or NONE} if query.by in _FILTERS else {}
    # Grouping by the filtered column would give one row.
    group = "account" if query.by is ChangeColumn.SERVICE else None
    return link("/costs", month, metric=metric, group=group, **chosen)


def _draw(
    total: ChangeRow, movers: list[Mover], change: StatementChange, *, has_others: bool
) -> tuple[dict[str, Any], bool]:
    """The bars from top to bottom for Plotly, and whether the axis is cut."""
    bars = [(mover.name or NONE, mover.difference, mover.costs) for mover in movers]
    if has_others:
        bars.append(("all others", total.difference - sum((bar[1] for bar in bars), Decimal(0)), None))
    before = f"publication {change.earlier.number}" if change.earlier else "no bill"
    bars = [(before, total.old, None), *bars, (f"publication {change.later.number}", total.new, None)]
    names, amounts, addresses = zip(*bars, strict=True)
    span, is_cut = _choose_range(list(accumulate(amounts[:-1])))
    places = list(range(len(bars)))
    waterfall = {
        "type": "waterfall",
        "orientation": "h",
        "measure": ["absolute", *["relative"] * (len(bars) - 2), "total"],
        "x": amounts,
        "y": places,
        "text": [_label(amount, total.currency, signed=place in places[1:-1]) for place, amount in enumerate(amounts)],
        "textposition": "outside",
        "textfont": {"size": 12},
        "constraintext": "none",
        "cliponaxis": False,
        "customdata": [f"{name}: {_show(amount, total.currency)} {total.currency}" for name, amount, _ in bars],
        "hovertemplate": "%{customdata}<extra></extra>",
        "meta": {"hrefs": addresses},
    }
    layout = {
        "bargap": 0.35,
        "xaxis": {
            "type": "linear",
            "range": [axis_place(end) for end in span],
            "nticks": 3,
        },
        # Positions instead of names: two shortened names may be equal.
        "yaxis": {
            "tickvals": places,
            "ticktext": [_shorten(name) for name in names],
            "range": [places[-1] + 0.6, -0.6],
            "showgrid": False,
            "zeroline": False,
        },
    }
    return {"data": [waterfall], "layout": layout}, is_cut


def _choose_range(levels: list[Decimal]) -> tuple[tuple[Decimal, Decimal], bool]:
    """The range of the axis, and whether it starts away from 0, so that small changes of a large total are visible.

    Both ends have room for the amounts beside the bars.
    """
    low, high = min(levels), max(levels)
    moved = high - low
    if (low > 0 and moved < low / 2) or (high < 0 and moved < -high / 2):
        return (low - moved, high + moved * 3 / 2), True
    low, high = min(low, Decimal(0)), max(high, Decimal(0))
    room = (high - low) / 5
    return (low - room, high + 2 * room), False


def _shorten(name: str) -> str:
    """The beginning and the end of a long name: many names begin alike."""
    half = _LABEL_LENGTH // 2
    return (
        name if len(name) <= _LABEL_LENGTH else f"{name[:half].rstrip()}\N{HORIZONTAL ELLIPSIS}{name[-half:].lstrip()}"
    )


def _label(amount: Decimal, currency: str, *, signed: bool) -> str:
    """The text beside a bar; an amount that is too long is shortened to its first digits."""
    text = _show(amount, currency, signed=signed)
    if len(text) <= _LABEL_LENGTH:
        return text
    return f"{'+' if signed and amount > 0 else ''}{amount:.2e}".replace("-", "\N{MINUS SIGN}")


def _show(amount: Decimal, currency: str, *, signed: bool = False) -> str:
    """An amount with the decimals of its currency; one that rounds to zero shows as less than the smallest unit."""
    rounded = round_amount(amount, currency)
    text = f"{abs(rounded):,f}" if rounded or not amount else f"<{show_minor_unit(currency)}"
    sign = "\N{MINUS SIGN}" if amount < 0 else "+" if signed and amount > 0 else ""
    return f"{sign}{text}"
