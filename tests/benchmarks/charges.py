"""Many charges made by PostgreSQL itself, and rolled up by the query that publications use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import psycopg

from billfold.period import BillingPeriod
from billfold.store.database import connect_bulk
from billfold.store.deliveries.landing import roll_up
from billfold.store.deliveries.partitions import partitions

ACCOUNTS, SERVICES, REGIONS, KINDS, TAG_SETS = 40, 20, 6, 6, 500


def list_months(first_year: int, count: int) -> list[BillingPeriod]:
    """Months from January on."""
    return [BillingPeriod(date(first_year + number // 12, number % 12 + 1, 1)) for number in range(count)]


def fill_months(conninfo: str, months: Sequence[BillingPeriod], charge_count: int) -> int:
    """These months of one client: charges by the hour, published once, and the rollup of them. Returns its rows."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("INSERT INTO billing_clients (client_id) VALUES ('acme')")
        for table, count, columns, values in (
            ("account", ACCOUNTS, "client_id, account_id", "'acme', lpad(n::text, 12, '0')"),
            (
                "service",
                SERVICES,
                "service_code, service_name, service_category",
                "'s' || n, 'Service ' || n, 'Compute'",
            ),
            ("region", REGIONS, "region_id", "'region-' || n"),
            (
                "charge",
                KINDS,
                "charge_category, pricing_category, commitment_discount_status",
                "'Usage', CASE WHEN n % 2 = 0 THEN 'Committed' ELSE 'Standard' END,"
                " CASE WHEN n % 2 = 0 THEN 'Used' END",
            ),
            ("tag_set", TAG_SETS, "client_id, tags", "'acme', jsonb_build_object('team', 'team ' || n % 25, 'n', n)"),
        ):
            connection.execute(
                f"INSERT INTO dim_{table} (member_hash, {columns})"
                f" SELECT gen_random_uuid(), {values} FROM generate_series(1, {count}) AS n".encode()
            )
        for number, period in enumerate(months, start=1):
            _fill_month(connection, period, number, charge_count // len(months))
            with connect_bulk(conninfo) as bulk:
                roll_up(bulk, period, statement_id=number, publication_id=1, is_first=True)
                bulk.commit()
            _publish_month(connection, number)
        connection.execute("VACUUM ANALYZE")
        row = connection.execute("SELECT count(*) FROM billing_daily_cost").fetchone()
        assert row is not None
        return int(row[0])


def _fill_month(connection: psycopg.Connection, period: BillingPeriod, number: int, charge_count: int) -> None:
    """Charges of one statement, by the hour as AWS bills usage: each hour one of every series, a resource's usage."""
    series_count = max(1, charge_count // (24 * (period.ends_on - period.starts_on).days))
    connection.execute("SELECT billfold_create_partitions(%s)", [period.starts_on])
    connection.execute(
        "INSERT INTO billing_statements (client_id, bucket, export_path, export_name, billing_period, hash_version,"
        " currency) VALUES ('acme', 'b', 'e', 'e', %s, 1, 'USD')",
        [period.starts_on],
    )
    connection.execute(
        f"""
        INSERT INTO {partitions(period)["fact"]} (statement_id, billing_period, row_hash, occurrence, part, added_by,
            charge_period_start, charge_period_end, billing_account_key, sub_account_key, service_key, region_key,
            resource_key, sku_key, charge_key, tag_set_key, billing_currency, billed_cost, effective_cost, list_cost,
            contracted_cost, pricing_quantity, consumed_quantity)
        SELECT {number}, '{period.starts_on}', lpad(to_hex(n), 32, '0')::uuid, 1, 0, 1, hour, hour + interval '1 hour',
            1, 1 + series % {ACCOUNTS}, 1 + series / {ACCOUNTS} % {SERVICES}, 1 + series % {REGIONS}, 1 + series % 5000,
            1 + series / {ACCOUNTS} % {SERVICES}, 1 + series / 7 % {KINDS}, 1 + series % {TAG_SETS}, 'USD', cost, cost,
            cost, cost, 1, 1
        FROM (
            SELECT n, n % {series_count} AS series, (random() * 10)::numeric(16, 10) AS cost,
                '{period.starts_on}'::timestamptz + n / {series_count} * interval '1 hour' AS hour
            FROM generate_series(0, {charge_count} - 1) AS n
        ) AS hourly
        """.encode()
    )


def _publish_month(connection: psycopg.Connection, statement_id: int) -> None:
    """The delivery and the publication that the charges of this statement would have come with."""
    connection.execute(
        """
        WITH statement AS (
            SELECT * FROM billing_statements WHERE statement_id = %s
        ), summed AS (
            SELECT count(*) AS charges, jsonb_build_object('USD', sum(billed_cost)::text) AS billed
            FROM billing_usage_fact WHERE statement_id = %s
        ), delivery AS (
            INSERT INTO billing_deliveries (client_id, statement_id, bucket, export_path, export_name, billing_period,
                content_digest, delivered_at, state, trigger_source, started_at, finished_at, source_cost, billed_cost)
            SELECT client_id, statement_id, bucket, export_path, export_name, billing_period, statement_id::text,
                billing_period, 'published', 'schedule', now(), now(), billed, billed
            FROM statement, summed RETURNING delivery_id
        ), publication AS (
            INSERT INTO billing_publications (statement_id, number, kind, delivery_id, hash_version, mapping_version,
                cost_basis, rows_before, rows_added, rows_removed, rows_after, charges_before, charges_after,
                billed_cost_before, billed_cost_after, gross_cost_after, net_cost_after)
            SELECT statement_id, 1, 'delivery', delivery_id, 1, 1, 'gross', 0, charges, 0, charges, 0, charges, '{}',
                billed, billed, billed
            FROM statement, delivery, summed RETURNING publication_id, delivery_id, rows_after
        )
        UPDATE billing_statements
        SET current_publication_id = publication_id, current_delivery_id = delivery_id, row_count = rows_after
        FROM publication WHERE statement_id = %s
        """,
        [statement_id] * 3,
    )


def restate_months(conninfo: str, publication_count: int) -> None:
    """Have all months look as if that many publications had made their daily costs, each having moved two days.

    After each month come the days in which AWS restates it: the last publications moved a closed month.
    """
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO billing_publications (statement_id, number, kind, delivery_id, published_at, hash_version,
                mapping_version, cost_basis, rows_before, rows_added, rows_removed, rows_after, charges_before,
                charges_after, billed_cost_before, billed_cost_after, gross_cost_after, net_cost_after)
            SELECT statement_id, n, kind, delivery_id, billing_period + n * interval '15 hours', hash_version,
                mapping_version, cost_basis, rows_after, 0, 0, rows_after, charges_after, charges_after,
                billed_cost_after, billed_cost_after, gross_cost_after, net_cost_after
            FROM (
                SELECT publication.*, billing_period FROM billing_publications AS publication
                JOIN billing_statements USING (statement_id)
            ) AS first, generate_series(2, %s) AS n
            """,
            [publication_count],
        )
        connection.execute(
            """
            INSERT INTO billing_restatement
            SELECT statement_id, publication_id, daily.billing_period, charge_date, billing_account_key,
                sub_account_key, service_key, region_key, charge_key, billing_currency,
                billed_cost * (service_key %% 7 - 3) / 100, effective_cost * (service_key %% 5 - 2) / 100,
                list_cost / 100, contracted_cost / 100, 0
            FROM billing_publications AS publication JOIN billing_daily_cost AS daily USING (statement_id)
            WHERE number > 1 AND charge_date - daily.billing_period IN (number %% 28, number %% 28 + 1)
            """,
            [],
        )
        connection.execute(
            "UPDATE billing_publications AS first SET published_at = billing_period"
            " FROM billing_statements AS statement"
            " WHERE statement.statement_id = first.statement_id AND first.number = 1"
        )
        connection.execute(
            "UPDATE billing_statements AS statement SET current_publication_id = last.publication_id"
            " FROM billing_publications AS last"
            " WHERE last.statement_id = statement.statement_id AND last.number = %s",
            [publication_count],
        )
        connection.execute("VACUUM ANALYZE")
