"""What callers write, as values: a month, a moment, a delivery, and which statements a call is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, TypedDict, TypeVar, cast
from uuid import UUID

from billfold.errors import UsageError
from billfold.model import Client
from billfold.period import BillingPeriod, parse_moment, parse_period

if TYPE_CHECKING:
    from billfold.selection import ChangeColumn, CostColumn, Filter, KeyColumn, Selection
    from billfold.store.database import Database

# `2026-05`, or the value.
Month = BillingPeriod | str
# An instant, or ISO 8601 text: a date is its beginning, and without an offset the time is in UTC.
Moment = datetime | str
# A publication's number inside its statement, or a moment.
Point = int | Moment
# The whole id, or its first characters, 8 or more.
DeliveryId = UUID | str
# The id, or the client itself; None is the default client, BILLFOLD_CLIENT.
AnyClient = Client | str | None

# One text, or several.
Texts = str | Sequence[str]
# `service,month`, or several words, or values.
Columns: TypeAlias = "str | Sequence[str | CostColumn | KeyColumn]"

Word = TypeVar("Word", bound=StrEnum)


class Which(TypedDict, total=False):
    """Which statements a call is about: of a client, an export, a month, or one by its id; by default all of them."""

    client: str | None
    export: str | None
    month: Month | None
    statement: int | None


class Listed(Which, total=False):
    """The same for a list of at most `limit` rows, 50 by default, the newest first.

    Of deliveries and runs one `delivery`, of runs one `run`. `after` continues a list: the instant and the id of the
    last row seen; of statements it is `after_statement`: month, client, export and id.
    """

    delivery: UUID | None
    run: UUID | None
    delivered_on: date | None
    after: tuple[datetime, UUID | int] | None
    after_statement: tuple[date, str, str, int] | None
    limit: int


class CostFilters(TypedDict, total=False):
    """Which costs: values of one filter are alternatives, several filters must all match, and '' means no value.

    A service has a name and a code, either will do. `tag` and `cost_category` have values by key. `without` leaves out
    `tax`, `credit` or `refund`. From `cluster` on they are of split cost allocation: see `costs`.
    """

    service: Texts
    account: Texts
    region: Texts
    category: Texts
    owner: Texts
    tag: Mapping[str, Texts]
    cost_category: Mapping[str, Texts]
    iam_principal: Texts
    user_identifier: Texts
    without: Texts
    cluster: Texts
    namespace: Texts
    workload: Texts
    pod: Texts
    parent: Texts


def as_period(month: Month | None) -> BillingPeriod | None:
    """The month as a value; raises UsageError for text that names none."""
    if not isinstance(month, str):
        return month
    period = parse_period(month)
    if period is None:
        raise UsageError(f"{month!r} is not a month such as 2026-05")
    return period


def as_moment(moment: Moment | None) -> datetime | None:
    """The moment as an instant in UTC; raises UsageError for text that names none."""
    if isinstance(moment, str):
        parsed = parse_moment(moment)
        if parsed is None:
            raise UsageError(f"{moment!r} is not a moment such as 2026-05-03 or 2026-05-03T10:00Z")
        return parsed
    return moment and (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def as_point(point: Point | None) -> int | datetime | None:
    """A publication's number as it is, or the moment as an instant."""
    return point if isinstance(point, int) else as_moment(point)


def as_delivery_id(database: Database, delivery: DeliveryId) -> UUID:
    """The delivery's id; raises UsageError for text that names no delivery, or more than one."""
    from billfold.reports.identifiers import find_delivery_id

    return delivery if isinstance(delivery, UUID) else find_delivery_id(database, delivery)


def as_member(kind: type[Word], word: str | None, what: str) -> Word | None:
    """The member of an enumeration; raises UsageError with all of them for another word."""
    if word is None:
        return None
    try:
        return kind(word)
    except ValueError:
        raise UsageError(f"{word!r} is not a {what}", advice=f"use {', '.join(kind)}") from None


def as_texts(values: Texts | None) -> list[str]:
    """Several values, or a single one."""
    return [values] if isinstance(values, str) else list(values or ())


def as_columns(by: Columns) -> list[CostColumn | KeyColumn]:
    """The columns that costs are grouped by, each once; text is as in `billfold costs --by`."""
    from billfold.selection import parse_cost_columns

    columns: list[CostColumn | KeyColumn] = []
    for column in [by] if isinstance(by, str) else by:
        columns += parse_cost_columns([column]) if type(column) is str else [cast("CostColumn | KeyColumn", column)]
    return list(dict.fromkeys(columns)) or parse_cost_columns([])


def as_change_columns(by: Texts) -> list[ChangeColumn]:
    """The columns that changes are grouped by, each once: `service,day` or several words."""
    from billfold.selection import ChangeColumn

    names = [name.strip() for group in as_texts(by) for name in group.split(",") if name.strip()]
    unknown = [name for name in names if name not in list(ChangeColumn)]
    if unknown or not names:
        raise UsageError(
            f"changes cannot be grouped by {unknown[0] if unknown else 'nothing'}",
            advice=f"use {', '.join(ChangeColumn)}",
        )
    return list(dict.fromkeys(map(ChangeColumn, names)))


def as_selection(filters: CostFilters) -> Selection:
    """The filters as a report takes them."""
    from billfold.selection import ChargeCategory, Selection, parse_presets

    unknown = set(filters) - set(CostFilters.__annotations__)
    if unknown:
        raise TypeError(f"costs have no filter {', '.join(sorted(unknown))}")
    texts: dict[str, list[str]] = {
        name: as_texts(cast(Texts, values)) for name, values in filters.items() if not isinstance(values, Mapping)
    }

    def by_key(values: Mapping[str, Texts]) -> dict[str, list[str]]:
        return {key: as_texts(each) for key, each in values.items()}

    return Selection(
        services=texts.get("service", ()),
        accounts=texts.get("account", ()),
        regions=texts.get("region", ()),
        categories=[
            category
            for word in texts.get("category", ())
            if (category := as_member(ChargeCategory, word.capitalize(), "charge category"))
        ],
        owners=texts.get("owner", ()),
        tags=by_key(filters.get("tag", {})),
        cost_categories=by_key(filters.get("cost_category", {})),
        iam_principals=texts.get("iam_principal", ()),
        user_identifiers=texts.get("user_identifier", ()),
        parents=texts.get("parent", ()),
        clusters=texts.get("cluster", ()),
        namespaces=texts.get("namespace", ()),
        workloads=texts.get("workload", ()),
        pods=texts.get("pod", ()),
        without=parse_presets(texts.get("without", ())),
    )


def as_filter(which: Listed | Which, **more: object) -> Filter:
    """The filter of a report."""
    from billfold.selection import Filter

    given = {name: value for name, value in which.items() if name != "month"}
    return Filter(period=as_period(which.get("month")), **given, **more)  # type: ignore[arg-type]


def refuse_unknown_statement(database: Database, statement: int | None) -> None:
    """Raise UsageError for a statement that does not exist: an empty list would say that nothing happened to it."""
    if statement is None:
        return
    from billfold.reports.identifiers import find_named

    if find_named(database, statement=statement).statement_client is None:
        raise UsageError(f"there is no such statement {statement}", advice="`billfold statements` lists them")
