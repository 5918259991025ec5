"""What the tables and the reports hold, said in the model's words, and where the two disagree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg import Connection, IsolationLevel

from billfold.model import CostBasis
from billfold.store.database import connect
from tests.bills.landing import Landing
from tests.restatement_model.bills import Charge, Money, difference, left_out
from tests.restatement_model.changes import compare_changes
from tests.restatement_model.splits import NOT_ALLOCATED
from tests.restatement_model.statements import Publication, Standing, Statement

# A record of the model or of the tables, as it is counted and shown.
Record = tuple[Any, ...]
Ids = Mapping[int, tuple[str, int]]


def find_differences(landing: Landing, statements: Sequence[Statement], *, step: int) -> list[str]:
    """Everything in which the tables are not what the model says; `step` chooses which publications are compared.

    Tells the model's publications when they were made, which nobody but the database can know.
    """
    with connect(landing.database.conninfo) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            ids: dict[int, tuple[str, int]] = {}
            found = list(_compare_publications(connection, statements, ids))
            if found:
                # Nothing else can be told apart without them.
                return found
            found += _compare_states(connection, statements)
            found += _compare_rows(connection, statements, ids)
            found += _compare_charges(connection, statements, ids)
            found += _compare_splits(connection, statements, ids)
            found += _compare_daily_costs(connection, statements, ids)
            found += _compare_earlier_moments(connection, statements)
    found += compare_changes(landing, statements, step=step)
    return [*found, *(f"broken: {rule}" for rule in landing.broken_rules())]


def _compare_publications(
    connection: Connection[Any], statements: Sequence[Statement], ids: dict[int, tuple[str, int]]
) -> Iterator[str]:
    held: defaultdict[str, list[Record]] = defaultdict(list)
    moments: defaultdict[str, list[datetime]] = defaultdict(list)
    for publication_id, published_at, period, *facts, before, after, gross, net, left in connection.execute(
        _PUBLICATIONS
    ):
        ids[publication_id] = (period, facts[0])
        moments[period].append(published_at)
        amounts = tuple(map(_money, (before, after, gross, net)))
        left = {(each["reason"].split()[0], each["currency"]): (each["rows"], Decimal(each["cost"])) for each in left}
        held[period].append((*facts, *amounts, left))
    for statement in statements:
        wanted = [_publication_facts(statement, publication) for publication in statement.publications]
        for number, (expected, actual) in enumerate(_pairs(wanted, held[statement.period]), start=1):
            if expected != actual:
                yield f"publication {number} of {statement.period}: expected {expected}, found {actual}"
        for publication, published_at in zip(statement.publications, moments[statement.period], strict=False):
            if publication.published_at not in (None, published_at):
                yield f"publication {publication.number} of {statement.period} has changed its time"
            publication.published_at = published_at
        if sorted(set(moments[statement.period])) != moments[statement.period]:
            yield f"the times of {statement.period} do not increase: {moments[statement.period]}"


def _publication_facts(statement: Statement, publication: Publication) -> Record:
    before, after = statement.after(publication.number - 1), publication.standing
    return (
        publication.number,
        str(publication.kind),
        publication.delivery.delivery_id if publication.delivery else None,
        publication.restored,
        str(CostBasis(publication.basis)),
        publication.mapping_version,
        len(before.rows),
        publication.rows_added,
        publication.rows_removed,
        len(after.rows),
        len(before.charges),
        len(after.charges),
        _nonzero(before.billed),
        _nonzero(after.billed),
        _nonzero(after.gross),
        _nonzero(after.net),
        left_out(after.rows, publication.basis),
    )


def _compare_states(connection: Connection[Any], statements: Sequence[Statement]) -> Iterator[str]:
    wanted = Counter(
        (
            statement.period,
            delivery.delivery_id,
            str(delivery.state),
            delivery.publication,
            delivery is statement.current,
        )
        for statement in statements
        for delivery in statement.deliveries
        if delivery.delivery_id is not None
    )
    yield from _differences("deliveries", wanted, connection.execute(_DELIVERIES))
    yield from (f"a run stays {status}: {key}" for status, key in connection.execute(_UNFINISHED_RUNS))


def _compare_rows(connection: Connection[Any], statements: Sequence[Statement], ids: Ids) -> Iterator[str]:
    def record(item: Mapping[str, str], occurrence: int, *publications: Any) -> Record:
        return (frozenset(item.items()), occurrence, *publications)

    wanted = Counter(
        record(item.columns(statement.period), occurrence, (statement.period, born))
        for statement in statements
        for (item, occurrence), born in statement.standing.rows.items()
    )
    withdrawn = Counter(
        record(item.columns(statement.period), occurrence, (statement.period, born), (statement.period, gone))
        for statement in statements
        for (item, occurrence), born, gone in statement.withdrawn_rows.elements()
    )
    for name, query, expected in (("rows", _ROWS, wanted), ("withdrawn rows", _WITHDRAWN_ROWS, withdrawn)):
        found = (
            record(
                {column: value for column, value in content.items() if column != "identity_line_item_id"},
                occurrence,
                *_numbers(publication_ids, ids),
            )
            for content, occurrence, *publication_ids in connection.execute(query)
        )
        yield from _differences(name, expected, found)


def _compare_charges(connection: Connection[Any], statements: Sequence[Statement], ids: Ids) -> Iterator[str]:
    wanted = Counter(
        (*_spell(charge), occurrence, part, (statement.period, born))
        for statement in statements
        for (_, occurrence, part), (charge, born) in statement.standing.charges.items()
    )
    withdrawn = Counter(
        (*_spell(charge), occurrence, part, (statement.period, born), (statement.period, gone))
        for statement in statements
        for (_, occurrence, part), charge, born, gone in statement.withdrawn_charges.elements()
    )
    for name, table, mark, expected in (
        ("charges", "billing_usage_fact", "", wanted),
        ("withdrawn charges", "billing_usage_fact_history", ", removed_by", withdrawn),
    ):
        query = f"SELECT {_CHARGE}, occurrence, part, added_by{mark} FROM {table} AS fact {_DIMENSIONS} {_SKU}"
        found = ((*_freeze(record[:15]), *_numbers(record[15:], ids)) for record in connection.execute(query.encode()))
        yield from _differences(name, expected, found)


def _compare_splits(connection: Connection[Any], statements: Sequence[Statement], ids: Ids) -> Iterator[str]:
    """Split costs as they stand, with the publication that brought them, and those that were withdrawn.

    What is not allocated is under the keys of whichever of its charges comes first: only what it says is compared.
    """
    wanted = Counter(
        (*row.facts, occurrence, None if row.allocation == NOT_ALLOCATED else (statement.period, born))
        for statement in statements
        for (_, occurrence, _), (row, born) in statement.standing.splits.items()
    )
    withdrawn = Counter(
        (*row.facts, occurrence, (statement.period, born), (statement.period, gone))
        for statement in statements
        for (_, occurrence, _), row, born, gone in statement.withdrawn_splits.elements()
        if row.allocation != NOT_ALLOCATED
    )
    found = (
        (*facts, None if facts[0] == NOT_ALLOCATED else next(_numbers([publication_id], ids)))
        for *facts, publication_id in connection.execute(_SPLITS.encode())
    )
    yield from _differences("split costs", wanted, found)
    gone = (
        (*facts, *_numbers(publication_ids, ids))
        for *facts, added_by, removed_by in connection.execute(_WITHDRAWN_SPLITS.encode())
        for publication_ids in [(added_by, removed_by)]
    )
    yield from _differences("withdrawn split costs", withdrawn, gone)


def _compare_daily_costs(connection: Connection[Any], statements: Sequence[Statement], ids: Ids) -> Iterator[str]:
    wanted = Counter(
        (statement.period, *group, *amounts)
        for statement in statements
        for group, amounts in statement.standing.daily.items()
    )
    for table in ("billing_daily_cost", "billing_daily_tag_cost"):
        found = connection.execute(_DAILY_COSTS.format(table=table).encode())
        yield from _differences(f"costs in {table}", wanted, found)
    moved = Counter(
        ((statement.period, publication.number), *group, *amounts)
        for statement in statements
        for publication in statement.publications[1:]
        for group, amounts in difference(
            statement.after(publication.number - 1).daily, publication.standing.daily
        ).items()
    )
    found = (
        (*_numbers([publication_id], ids), *record)
        for publication_id, *record in connection.execute(_RESTATEMENTS.encode())
    )
    yield from _differences("restatements", moved, found)


def _compare_earlier_moments(connection: Connection[Any], statements: Sequence[Statement]) -> Iterator[str]:
    """At the moment of every publication, and a microsecond before it: all charges and daily costs."""
    published = sorted(
        (publication.published_at, publication.number, statement.period)
        for statement in statements
        for publication in statement.publications
        if publication.published_at
    )
    by_period = {statement.period: statement for statement in statements}
    stood = {statement.period: Standing() for statement in statements}
    charges: Counter[Record] = Counter()
    splits: Counter[Record] = Counter()
    daily: Counter[Record] = Counter()
    for _, number, period in published:
        for aside in ("before", "after"):
            if aside == "after":
                stood[period] = by_period[period].after(number)
            for each, standing in stood.items():
                place = (f"{aside} publication {number} of {period}", each)
                charges.update((*place, *_spell(charge)) for charge, _ in standing.charges.values())
                splits.update((*place, *row.facts) for row, _ in standing.splits.values())
                daily.update((*place, *group, *amounts) for group, amounts in standing.daily.items())
    yield from _differences("charges as of", charges, map(_freeze, connection.execute(_CHARGES_AS_OF.encode())))
    yield from _differences("split costs as of", splits, connection.execute(_SPLITS_AS_OF.encode()))
    yield from _differences("daily costs as of", daily, connection.execute(_DAILY_COSTS_AS_OF.encode()))


def _numbers(publication_ids: Iterable[int], ids: Ids) -> Iterator[tuple[str, int]]:
    """The period and number of each; what no publication stands for is told by its id."""
    return (ids.get(publication_id, ("unknown", publication_id)) for publication_id in publication_ids)


def _spell(charge: Charge) -> Record:
    whose = (charge.tags, charge.cost_categories, charge.principal)
    return (*charge.group, charge.description, *charge.costs, *whose)


def _freeze(record: Sequence[Any]) -> Record:
    """The record with its objects of JSON as the model has them."""
    return tuple(frozenset(value.items()) if isinstance(value, dict) else value for value in record)


def _money(amounts: Mapping[str, str]) -> Money:
    return _nonzero({currency: Decimal(amount) for currency, amount in amounts.items()})


def _nonzero(amounts: Money) -> Money:
    # A currency that nothing is left of may be named with 0 or not at all.
    return {currency: amount for currency, amount in amounts.items() if amount}


def _pairs(wanted: Sequence[Record], found: Sequence[Record]) -> Iterator[tuple[Record | None, Record | None]]:
    for index in range(max(len(wanted), len(found))):
        yield (
            wanted[index] if index < len(wanted) else None,
            found[index] if index < len(found) else None,
        )


def _differences(name: str, wanted: Counter[Any], records: Iterable[Sequence[Any]]) -> Iterator[str]:
    found = Counter(map(tuple, records))
    for record, count in (wanted - found).items():
        yield f"{name}: {count} missing: {_show(record)}"
    for record, count in (found - wanted).items():
        yield f"{name}: {count} too many: {_show(record)}"


def _show(record: Record) -> str:
    return ", ".join(map(_show_value, record))


def _show_value(value: Any) -> str:
    match value:
        case frozenset():
            return str(dict(sorted(value)))
        case Decimal():
            return format(value, "f")
        case _:
            return str(value)


_PUBLICATIONS = b"""
    SELECT publication.publication_id, publication.published_at, to_char(statement.billing_period, 'YYYY-MM'),
        publication.number, publication.kind, publication.delivery_id, restored.number, publication.cost_basis,
        publication.mapping_version, publication.rows_before, publication.rows_added, publication.rows_removed,
        publication.rows_after, publication.charges_before, publication.charges_after, publication.billed_cost_before,
        publication.billed_cost_after, publication.gross_cost_after, publication.net_cost_after, publication.left_out
    FROM billing_publications AS publication JOIN billing_statements AS statement USING (statement_id)
    LEFT JOIN billing_publications AS restored ON restored.publication_id = publication.restored_publication_id
    ORDER BY publication.publication_id"""
_DELIVERIES = b"""
    SELECT to_char(delivery.billing_period, 'YYYY-MM'), delivery.delivery_id, delivery.state, publication.number,
        coalesce(delivery.delivery_id = statement.current_delivery_id, false)
    FROM billing_deliveries AS delivery LEFT JOIN billing_statements AS statement USING (statement_id)
    LEFT JOIN billing_publications AS publication USING (publication_id)"""
_UNFINISHED_RUNS = b"SELECT status, source_s3_key FROM billing_ingestion_runs WHERE status IN ('pending', 'running')"
_ROWS = b"SELECT row_data, occurrence, added_by FROM raw_aws_billing_rows"
_WITHDRAWN_ROWS = b"SELECT row_data, occurrence, added_by, removed_by FROM raw_aws_billing_rows_history"
_GROUP = (
    "coalesce(sub_account.account_id, payer.account_id), service.service_name, charge.charge_category, billing_currency"
)
_CHARGE = (
    f"(charge_period_start AT TIME ZONE 'UTC')::date, {_GROUP}, sku.charge_description,"
    " billed_cost, effective_cost, list_cost, contracted_cost, coalesce(tag_set.tags, '{}'),"
    " coalesce(tag_set.cost_categories, '{}'), coalesce(tag_set.iam_principal, '')"
)
_DIMENSIONS = """
    LEFT JOIN dim_service AS service ON service.service_key = fact.service_key
    LEFT JOIN dim_charge AS charge ON charge.charge_key = fact.charge_key
    LEFT JOIN dim_account AS sub_account ON sub_account.account_key = fact.sub_account_key
    LEFT JOIN dim_account AS payer ON payer.account_key = fact.billing_account_key"""
_SKU = """
    LEFT JOIN dim_sku AS sku ON sku.sku_key = fact.sku_key
    LEFT JOIN dim_tag_set AS tag_set ON tag_set.tag_set_key = fact.tag_set_key"""
_SUMS = "sum(billed_cost), sum(effective_cost), sum(list_cost), sum(contracted_cost), sum(charge_count)"
_DAILY_COSTS = f"""
    SELECT to_char(billing_period, 'YYYY-MM'), charge_date, {_GROUP}, {_SUMS}
    FROM {{table}} AS fact {_DIMENSIONS} GROUP BY 1, 2, 3, 4, 5, 6"""
_RESTATEMENTS = f"""
    SELECT publication_id, charge_date, {_GROUP}, {_SUMS}
    FROM billing_restatement AS fact {_DIMENSIONS} GROUP BY 1, 2, 3, 4, 5, 6
    HAVING (sum(billed_cost), sum(effective_cost), sum(list_cost), sum(contracted_cost), sum(charge_count))
        <> (0, 0, 0, 0, 0)"""
_MOMENT = """
    aside || ' publication ' || published.number || ' of ' || to_char(publisher.billing_period, 'YYYY-MM'),
    to_char(fact.billing_period, 'YYYY-MM')"""
_MOMENTS = """
    billing_publications AS published JOIN billing_statements AS publisher USING (statement_id)
    CROSS JOIN (VALUES ('before', interval '1 microsecond'), ('after', interval '0')) AS moment (aside, duration)"""
_CHARGES_AS_OF = f"""
    SELECT {_MOMENT}, {_CHARGE}
    FROM {_MOMENTS} CROSS JOIN LATERAL charges_as_of(published_at - duration) AS fact {_DIMENSIONS} {_SKU}"""
_DAILY_COSTS_AS_OF = f"""
    SELECT {_MOMENT}, charge_date, {_GROUP}, {_SUMS}
    FROM {_MOMENTS} CROSS JOIN LATERAL daily_cost_as_of(published_at - duration) AS fact {_DIMENSIONS}
    GROUP BY 1, 2, 3, 4, 5, 6, 7"""
_SPLIT = (
    "allocation, (charge_period_start AT TIME ZONE 'UTC')::date, account.account_id, parent_resource_id,"
    " billing_currency, has_parent, cost"
)
_SPLIT_ACCOUNT = "JOIN dim_account AS account ON account.account_key = fact.sub_account_key"
_SPLITS = f"SELECT {_SPLIT}, occurrence, added_by FROM billing_split_cost AS fact {_SPLIT_ACCOUNT}"
_WITHDRAWN_SPLITS = f"""
    SELECT {_SPLIT}, occurrence, added_by, removed_by FROM billing_split_cost_history AS fact {_SPLIT_ACCOUNT}
    WHERE allocation <> 'not allocated'"""
_SPLITS_AS_OF = f"""
    SELECT {_MOMENT}, {_SPLIT}
    FROM {_MOMENTS} CROSS JOIN LATERAL split_cost_as_of(published_at - duration) AS fact {_SPLIT_ACCOUNT}"""
