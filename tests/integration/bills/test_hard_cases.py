"""The hard cases of the money path: each defect once, as the delivery that showed it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from billfold.aws import locate, resolve
from billfold.bills.ingest import ingest
from billfold.dimensions import DIMENSIONS
from billfold.errors import InvalidValueError, RunConflictError
from billfold.model import Delivery, DeliveryState, RunStatus, TriggerSource
from billfold.store.database import BulkConnection, Database, connect, connect_bulk
from billfold.store.deliveries import attempts, claims, members, registration
from tests.bills.landing import Landing
from tests.bills.line_items import PERIOD, PLAN, as_csv, described, line_item, write_bill, write_delivery

USD = "USD"
NET = "line_item_net_unblended_cost"
JUNE = {
    "bill_billing_period_start_date": "2026-06-01T00:00:00.000Z",
    "line_item_usage_start_date": "2026-06-03T04:00:00.000Z",
    "line_item_usage_end_date": "2026-06-03T05:00:00.000Z",
}


def with_net(costs: list[str], nets: list[str]) -> list[dict[str, str]]:
    return [{**item, NET: net} for item, net in zip(described(*costs), nets, strict=True)]


def without_currency(*costs: str) -> list[dict[str, str]]:
    return [{n: v for n, v in item.items() if n != "line_item_currency_code"} for item in described(*costs)]


def delivery_of(landing: Landing) -> Delivery:
    bucket, key = locate(str(landing.root), landing.client, landing.settings)
    [delivery] = resolve(bucket, key)
    return delivery


def test_a_row_of_another_month_is_refused_though_another_file_has_other_columns(landing: Landing) -> None:
    june = write_bill(landing.root, described("7", **JUNE), period="2026-06")
    landing.ingest(june)
    may = write_delivery(
        landing.root,
        as_csv([*described("1"), *described("2", **JUNE)]),
        as_csv(described("3", line_item_resource_id="i-1")),
        revision=2,
        ending="csv",
    )

    outcome = landing.ingest(may)

    assert isinstance(outcome.exit_error, InvalidValueError)
    assert "acme-00001.csv, line 3, column bill_billing_period_start_date" in str(outcome.exit_error)
    assert f"another billing period than {PERIOD}" in str(outcome.exit_error)
    assert landing.billed() == {USD: Decimal(7)}
    assert landing.query("SELECT DISTINCT billing_period::text FROM billing_usage_fact") == [("2026-06-01",)]
    assert landing.count("billing_publications") == 1
    assert landing.broken_rules() == []


def test_net_costs_that_cancel_out_are_restated(landing: Landing) -> None:
    landing = landing.with_settings(hold_below_percent=0)
    write_bill(landing.root, with_net(["10", "20"], ["5", "-4"]))
    landing.ingest()
    write_bill(landing.root, with_net(["10", "20"], ["5", "-5"]), revision=2)
    to_zero = landing.ingest()
    write_bill(landing.root, with_net(["10", "20"], ["6", "-6"]), revision=3)

    still_zero = landing.ingest()

    assert (to_zero.exit_error, still_zero.exit_error) == (None, None)
    assert to_zero.findings == ("the net costs in USD add up to 0, the gross costs to 30: the net costs were billed",)
    assert landing.query("SELECT cost_basis, net_cost_after FROM billing_publications ORDER BY number") == [
        ("net", {USD: "1"}),
        ("net", {USD: "0"}),
        ("net", {USD: "0"}),
    ]
    assert landing.query("SELECT billed_cost FROM billing_usage_fact ORDER BY 1") == [(Decimal(-6),), (Decimal(6),)]
    assert landing.broken_rules() == []


def test_a_statement_without_currency_column_keeps_that_of_the_client_at_first(landing: Landing) -> None:
    write_bill(landing.root, without_currency("1", "2"))
    first = landing.with_client(currency="EUR").ingest()
    write_bill(landing.root, without_currency("1", "3"), revision=2)

    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert first.billed_cost == {"EUR": Decimal(3)}
    assert landing.billed() == outcome.billed_cost == {"EUR": Decimal(4)}
    assert first.findings == outcome.findings == ("the export has no currency column: EUR is assumed",)
    assert landing.broken_rules() == []


def test_a_delivery_that_a_dead_worker_left_running_has_failed_once_the_next_is_ingested(landing: Landing) -> None:
    write_bill(landing.root, described("1"))
    delivery = delivery_of(landing)
    with connect(landing.database.conninfo) as worker:
        registration.ensure_client(worker, landing.client)
        registered = registration.register_delivery(worker, landing.client, delivery, TriggerSource.CLI)
        claims.claim(worker, landing.client, delivery, wait_seconds=1)
        attempts.start(worker, registered, TriggerSource.CLI)
    write_bill(landing.root, described("1", "2"), revision=2)

    outcome = landing.ingest()

    assert outcome.state is DeliveryState.PUBLISHED
    for table, state in (("billing_deliveries", "state"), ("billing_ingestion_runs", "status")):
        ended = landing.query(f"SELECT {state}, error_code, finished_at IS NOT NULL FROM {table} ORDER BY created_at")
        assert ended[0] == ("failed", "interrupted", True)
        assert ended[1][1:] == (None, True)


def test_a_conflict_leaves_the_runs_to_the_worker_that_has_them(landing: Landing) -> None:
    write_bill(landing.root, described("1"))
    delivery = delivery_of(landing)
    impatient = landing.with_settings(claim_wait_seconds=0, retry_max_attempts=1)

    with connect(landing.database.conninfo) as worker:
        registration.ensure_client(worker, landing.client)
        registered = registration.register_delivery(worker, landing.client, delivery, TriggerSource.CLI)
        claims.claim(worker, landing.client, delivery, wait_seconds=1)
        attempts.start(worker, registered, TriggerSource.CLI)
        outcome = impatient.ingest()

    assert isinstance(outcome.exit_error, RunConflictError)
    assert landing.query("SELECT state, attempts, error_code FROM billing_deliveries") == [("running", 1, None)]
    assert landing.query("SELECT status, attempts, error_code FROM billing_ingestion_runs") == [("running", 1, None)]


class CutConnection:
    """Ends every session of the database once, while the first file is read."""

    def __init__(self, landing: Landing) -> None:
        self.landing = landing
        self.cuts = 0

    def started(self, total_bytes: int) -> None:
        return

    def advanced(self, size_bytes: int) -> None:
        if not self.cuts:
            [(self.cuts,)] = self.landing.query(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def test_a_lost_connection_is_another_attempt(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2"))
    progress = CutConnection(landing)

    [outcome] = ingest(
        str(landing.root),
        client=landing.client,
        settings=landing.settings,
        database=landing.database,
        progress=progress,
    )

    assert progress.cuts == 1
    assert outcome.state is DeliveryState.PUBLISHED
    assert [run.status for run in outcome.runs] == [RunStatus.SUCCESS]
    assert landing.query("SELECT state, attempts, error_code FROM billing_deliveries") == [("published", 2, None)]
    assert landing.billed() == {USD: Decimal(3)}
    assert landing.broken_rules() == []


def test_an_attempt_that_lost_its_claim_leaves_the_delivery_to_who_has_it_since(landing: Landing) -> None:
    landing.ingest(write_bill(landing.root, described("1", "2", "3", "4")))
    smaller = write_bill(landing.root, described("1"), revision=2)

    class HeldMeanwhile(CutConnection):
        def advanced(self, size_bytes: int) -> None:
            if not self.cuts:
                super().advanced(size_bytes)
                landing.ingest(smaller)

    hasty = landing.with_settings(retry_max_attempts=1)
    [outcome] = ingest(
        str(smaller),
        client=hasty.client,
        settings=hasty.settings,
        database=hasty.database,
        progress=HeldMeanwhile(landing),
    )

    assert outcome.exit_error
    assert outcome.exit_error.error_code == "store_unavailable"
    assert landing.query("SELECT state, attempts, error_code FROM billing_deliveries ORDER BY delivered_at") == [
        ("published", 1, None),
        ("held", 2, None),
    ]


# What a map's column says, and what is kept of it.
TAGS: dict[str, Any] = {
    '{"user_a":"b\\u0000c"}': {"a": "bc"},
    '{"user_a":"C:\\\\u0000"}': {"a": "C:\\u0000"},
    'no\\u0000 "json"': 'no\\u0000 "json"',
}
DISCOUNTS: dict[str, Any] = {
    '{"Finance":1.5,"info":"nan"}': {"Finance": 1.5, "info": "nan"},
    '{"edp":NaN}': '{"edp":NaN}',
    '{"edp":-Infinity}': '{"edp":-Infinity}',
    "no json": "no json",
}


@pytest.fixture(scope="module")
def odd_bill(shared_landing: Landing) -> Landing:
    """One bill with a line item, described by its map, of each of these and of a cost category, and a fee."""
    items = [
        *(line_item(resource_tags=tags, line_item_line_item_description=tags) for tags in TAGS),
        *(line_item(discount=discount, line_item_line_item_description=discount) for discount in DISCOUNTS),
        line_item(
            cost_category='{"user_x":"y"}', resource_tags='{"user_x":"y"}', line_item_line_item_description="category"
        ),
        line_item(
            "SavingsPlanRecurringFee",
            "0",
            savings_plan_savings_plan_a_r_n=PLAN,
            savings_plan_total_commitment_to_date="1",
            savings_plan_used_commitment="2",
        ),
    ]
    write_bill(shared_landing.root, items)
    assert shared_landing.ingest().exit_error is None
    return shared_landing


@pytest.mark.parametrize("tags", TAGS)
def test_tags_that_jsonb_cannot_hold_land_without_what_it_cannot(odd_bill: Landing, tags: str) -> None:
    [(kept,)] = odd_bill.query('SELECT "Tags" FROM focus_cost_and_usage WHERE "ChargeDescription" = %s', tags)

    assert kept == TAGS[tags]
    assert (tags,) in odd_bill.query("SELECT row_data ->> 'resource_tags' FROM raw_aws_billing_rows")


@pytest.mark.parametrize("discount", DISCOUNTS)
def test_discounts_stay_objects_unless_they_are_no_json(odd_bill: Landing, discount: str) -> None:
    kept = odd_bill.value(
        "SELECT discounts FROM billing_usage_fact JOIN dim_sku USING (sku_key) WHERE charge_description = %s", discount
    )

    assert kept == DISCOUNTS[discount]


def test_a_cost_category_keeps_a_name_that_looks_like_a_tags(odd_bill: Landing) -> None:
    assert odd_bill.query("SELECT tags, cost_categories FROM dim_tag_set WHERE cost_categories IS NOT NULL") == [
        ({"x": "y"}, {"user_x": "y"})
    ]


def test_a_fee_of_which_more_was_used_than_committed_is_a_finding(odd_bill: Landing) -> None:
    finding = "1 commitment fees say that more was used than committed: nothing counts as unused"
    assert finding in odd_bill.value("SELECT findings FROM billing_deliveries")
    [left_out] = odd_bill.value("SELECT left_out FROM billing_publications")
    assert (left_out["rows"], left_out["cost"]) == (1, "0")
    assert "used in full" in left_out["reason"]


class ExplainingConnection(BulkConnection):
    """Keeps the plan of every INSERT just before it runs."""

    def __init__(self, connection: Any, conninfo: str) -> None:
        super().__init__(connection, conninfo)
        self.plans: list[str] = []

    def execute(self, sql: str, *parameters: Any) -> None:
        if sql.startswith("INSERT"):
            self.plans.append("\n".join(row[0] for row in self.query("SELECT line FROM plan_of($1) AS line", sql)))
        super().execute(sql, *parameters)


@pytest.fixture
def explaining(database: Database) -> Iterator[ExplainingConnection]:
    with connect(database.conninfo) as connection:
        connection.execute(
            "CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS"
            " 'BEGIN RETURN QUERY EXECUTE ''EXPLAIN '' || query; END'"
        )
    with connect_bulk(database.conninfo) as bulk:
        yield ExplainingConnection(bulk._connection, database.conninfo)


def test_new_members_are_found_without_asking_the_whole_dimension_for_each(
    landing: Landing, explaining: ExplainingConnection
) -> None:
    [dimension] = [dimension for dimension in DIMENSIONS if dimension.name == "resource"]
    landing.execute(
        "INSERT INTO dim_resource (member_hash, client_id) SELECT md5(n::text)::uuid, 'acme'"
        " FROM generate_series(1, 200000) AS n"
    )
    landing.execute("ANALYZE dim_resource")
    found = pa.table(
        {
            "member_hash": [hashlib.md5(b"1").digest(), bytes(16)],
            "client_id": ["acme", "acme"],
            **{name: pa.array([None, "new"], pa.string()) for name in dimension.attributes},
        }
    )

    keys = members.ensure_members(explaining, dimension, found.to_reader()).read_all()

    [plan] = explaining.plans
    assert "Anti Join" in plan
    assert "SubPlan" not in plan
    assert keys.num_rows == 2
    assert landing.count("dim_resource") == 200_001
