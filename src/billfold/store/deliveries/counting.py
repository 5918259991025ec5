"""Which statements are counted, and which others hold the same bill."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

from billfold.model import ExportFormat, Relation
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import BulkConnection
from billfold.store.deliveries.partitions import partitions
from billfold.store.deliveries.parts import Common, Evidence

# With at least this many charges, equal sums by day prove that two statements hold the same bill.
MANY_CHARGES = 10_000
# Sums of a large month by hundreds of thousands of keys stay in memory, for the rest of the transaction.
_SUMMING = "SET LOCAL work_mem = '64MB'"
# A share is kept with this many decimals, rounded down: less than 100 % is never shown as 100 %.
_SHARE_DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Another statement of the same client and month that must not be counted beside this one."""

    statement_id: int
    export_name: str
    is_counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Another statement of the client and month that holds an account of the same payer.

    `relation` is the result of the last comparison of their content, `choice` an operator's decision; None if there
    was none.
    """

    statement_id: int
    export_name: str
    is_counted: bool
    relation: Relation | None
    choice: Relation | None

    @property
    def decided(self) -> Relation:
        """The operator's choice, else what the content says; statements not yet compared are treated as overlapping."""
        return self.choice or self.relation or Relation.OVERLAP


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a statement was delivered and hashed: line items of the same form and hash can be compared."""

    export_format: str
    hash_version: int
    columns: frozenset[str]

    @property
    def is_cur(self) -> bool:
        return self.export_format != ExportFormat.FOCUS


def list_overlaps(
    bulk: BulkConnection, statement_id: int, *, delivery_id: UUID | None = None, export_format: str | None = None
) -> list[Overlap]:
    """The statements that hold the same bill, the one published first leading.

    `delivery_id` and `export_format` are those of the delivery that is being published, which the statement does not
    name yet. Parts of one bill do not overlap.
    """
    rows = bulk.query(_query("list_overlaps"), statement_id, str(delivery_id) if delivery_id else None, export_format)
    return [Overlap(statement_id=row[0], export_name=row[1], is_counted=row[2]) for row in rows]


def list_candidates(
    bulk: BulkConnection, statement_id: int, *, delivery_id: UUID | None = None, export_format: str | None = None
) -> list[Candidate]:
    """The statements that may hold the same bill, the one published first leading.

    Single files of one folder and format are left out: they are parts of one bill unless an operator decided
    otherwise.
    """
    rows = bulk.query(_query("list_candidates"), statement_id, str(delivery_id) if delivery_id else None, export_format)
    return [
        Candidate(
            statement_id=row[0],
            export_name=row[1],
            is_counted=row[2],
            relation=Relation(row[3]) if row[3] else None,
            choice=Relation(row[4]) if row[4] else None,
        )
        for row in rows
    ]


def read(bulk: BulkConnection, statement_id: int) -> tuple[bool, bool]:
    """Whether the statement is counted, and whether it is not because a statement of the same bill is."""
    [(is_counted, is_duplicate)] = bulk.query(_query("read_counted"), statement_id)
    return is_counted, is_duplicate


def keep(bulk: BulkConnection, statement_id: int, *, is_counted: bool, is_duplicate: bool) -> None:
    """Count the statement from its next publication on, or do not, as a duplicate or by an operator's decision."""
    bulk.execute(_query("keep_counted"), statement_id, int(is_counted), int(is_duplicate))


def is_empty(bulk: BulkConnection, statement_id: int) -> bool:
    """Whether the statement holds no charge."""
    [(is_empty,)] = bulk.query(_query("is_empty"), statement_id)
    return bool(is_empty)


def read_period(bulk: BulkConnection, statement_id: int) -> BillingPeriod:
    """The statement's billing period."""
    [(period,)] = bulk.query(_query("read_period"), statement_id)
    return BillingPeriod(date.fromisoformat(period))


def read_form(bulk: BulkConnection, statement_id: int, *, delivery_id: UUID | None = None) -> Form | None:
    """The form of the delivery, else of the statement's current one; None if the statement has none."""
    rows = bulk.query(_query("read_form"), statement_id, str(delivery_id) if delivery_id else None)
    if not rows or rows[0][0] is None:
        return None
    [(export_format, hash_version, columns)] = rows
    return Form(export_format=export_format, hash_version=hash_version, columns=frozenset(json.loads(columns)))


def compare_line_items(bulk: BulkConnection, period: BillingPeriod, here: int, there: int) -> list[Common]:
    """The equal line items of two statements; only statements of one form have any."""
    bulk.execute(_SUMMING)
    query = _query("compare_line_items").format(**partitions(period))
    return [_common(row) for row in bulk.query(query, here, there)]


def compare_daily_costs(
    bulk: BulkConnection, period: BillingPeriod, here: int, there: int, *, is_detailed: bool, is_alike: bool
) -> list[Common]:
    """The costs that two statements have in common on each day, by account and category.

    `is_alike`: they have the same columns; `is_detailed`: these, or both are CUR, so that more columns name a charge.
    """
    bulk.execute(_SUMMING)
    query = _query("compare_daily_costs").format(**partitions(period))
    return [_common(row) for row in bulk.query(query, here, there, int(is_detailed), int(is_alike))]


def compare_rollups(bulk: BulkConnection, here: int, there: int, *, is_detailed: bool) -> list[Common] | None:
    """The costs of two statements that are equal by day, account and category; None if one of them has few charges.

    Sums of many charges are not equal by chance. `is_detailed` as in `compare_daily_costs`.
    """
    for statement_id in (here, there):
        [(charge_count,)] = bulk.query(_query("count_charges"), statement_id)
        if charge_count < MANY_CHARGES:
            return None
    return [_common(row) for row in bulk.query(_query("compare_rollups"), here, there, int(is_detailed))]


def keep_evidence(bulk: BulkConnection, here: int, there: int, evidence: Evidence) -> None:
    """Keep the result of a comparison of two statements, in place of the one before."""
    only_here, only_there = evidence.cost_only_here, evidence.cost_only_there
    if here > there:
        here, there, only_here, only_there = there, here, only_there, only_here
    bulk.execute(
        _query("keep_evidence"),
        here,
        there,
        str(evidence.relation),
        str(evidence.measure),
        _share(evidence.share.of_smaller),
        _share(evidence.share.of_larger),
        str(evidence.line_items_in_both) if evidence.line_items_in_both is not None else None,
        _money(evidence.cost_in_both),
        _money(only_here),
        _money(only_there),
    )


def forget_evidence(bulk: BulkConnection, statement_id: int, *, but: Collection[int]) -> None:
    """Forget the comparisons of the statement with all others `but` these."""
    bulk.execute(_query("forget_evidence"), statement_id, ",".join(map(str, but)))


def keep_choice(bulk: BulkConnection, one: int, other: int, choice: Relation | None) -> None:
    """Keep an operator's decision about two statements; None lets their content decide again."""
    pair = (min(one, other), max(one, other))
    if choice is None:
        bulk.execute(_query("forget_choice"), *pair)
    else:
        bulk.execute(_query("keep_choice"), *pair, str(choice))


def order(bulk: BulkConnection, statement_ids: Collection[int]) -> list[int]:
    """The statements in the order of their first publication, without those never published."""
    rows = bulk.query(_query("order_statements"), ",".join(map(str, statement_ids)))
    return [statement_id for (statement_id,) in rows]


def try_lock(bulk: BulkConnection, statement_id: int, *, is_claimed: bool = False) -> bool:
    """Keep others from working on the statement until the transaction ends; False if a worker does already.

    Never waits, so that two publications cannot wait for each other. `is_claimed`: the caller has claimed it on another
    connection.
    """
    if not is_claimed:
        [(is_claimed,)] = bulk.query(_query("try_claim"), statement_id)
    return is_claimed and bool(bulk.query(_query("lock_other"), statement_id))


def record_switch(bulk: BulkConnection, statement_id: int, *, moment: str) -> None:
    """Write a publication that changes whether the statement is counted, and no row; the transaction stays open."""
    bulk.execute(_query("insert_switch"), statement_id, moment)


def _common(row: Sequence[object]) -> Common:
    currency, *texts = map(str, row)
    numbers = [Decimal(text) for text in texts]
    return Common(
        currency=currency,
        amount_here=numbers[0],
        amount_there=numbers[1],
        amount_in_both=numbers[2],
        rows_here=int(numbers[3]),
        rows_there=int(numbers[4]),
        rows_in_both=int(numbers[5]),
        all_here=int(numbers[6]),
        all_there=int(numbers[7]),
        all_in_both=int(numbers[8]),
        billed_here=numbers[9],
        billed_there=numbers[10],
        billed_in_both=numbers[11],
    )


def _share(share: Fraction) -> str:
    return format(Decimal(share.numerator * 10**_SHARE_DECIMALS // share.denominator).scaleb(-_SHARE_DECIMALS), "f")


def _money(amounts: Mapping[str, Decimal]) -> str:
    return json.dumps({currency: format(amount, "f") for currency, amount in sorted(amounts.items())})


def _query(name: str) -> str:
    return read_queries("billfold.store.deliveries", "counting")[name]
