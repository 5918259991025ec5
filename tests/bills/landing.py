"""A database into which a test lands bills, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from psycopg.rows import dict_row

from billfold.bills.ingest import ingest
from billfold.model import Client, DeliveryOutcome
from billfold.settings import Settings
from billfold.store.database import Connection, Database
from tests.connections import ask

# The tables of daily costs, and what each tells sets of tags apart by.
_DAILY_TABLES = {"billing_daily_cost": "NULL::integer", "billing_daily_tag_cost": "tag_set_key"}


def _list_wrong_days(table: str) -> str:
    """The daily costs of this table that are not their charges' sums, and the sums that are no daily cost."""
    cell = (
        "statement_id, billing_period, {day}, billing_account_key, sub_account_key, service_key, region_key,"
        f" charge_key, {_DAILY_TABLES[table]}, billing_currency"
    )
    held = f"""
        SELECT {cell.format(day="charge_date")}, trim_scale(billed_cost), trim_scale(effective_cost),
            trim_scale(list_cost), trim_scale(contracted_cost), charge_count
        FROM {table}"""
    charged = f"""
        SELECT {cell.format(day="(charge_period_start AT TIME ZONE 'UTC')::date")}, trim_scale(sum(billed_cost)),
            trim_scale(sum(effective_cost)), trim_scale(sum(list_cost)), trim_scale(sum(contracted_cost)), count(*)
        FROM billing_usage_fact GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"""
    return f"({held} EXCEPT ALL {charged}) UNION ALL ({charged} EXCEPT ALL {held})"


# What must hold after every publication, whatever it was; each query lists what breaks the rule.
_INVARIANTS = {
    "a statement's row count is its raw rows'": """
        SELECT statement_id FROM billing_statements LEFT JOIN (
            SELECT statement_id, count(*) AS held FROM raw_aws_billing_rows GROUP BY 1) AS raw USING (statement_id)
        WHERE row_count <> coalesce(held, 0)""",
    "a raw row is unique in its statement": """
        SELECT statement_id, row_hash, occurrence FROM raw_aws_billing_rows GROUP BY 1, 2, 3 HAVING count(*) > 1""",
    "a charge is unique in its statement": """
        SELECT statement_id, row_hash, occurrence, part FROM billing_usage_fact GROUP BY 1, 2, 3, 4
        HAVING count(*) > 1""",
    "every charge has its line item, or is what Savings Plans leave over": """
        SELECT row_hash, occurrence FROM billing_usage_fact AS fact WHERE occurrence > 0 AND NOT EXISTS (
            SELECT FROM raw_aws_billing_rows AS raw WHERE (raw.statement_id, raw.row_hash, raw.occurrence)
                = (fact.statement_id, fact.row_hash, fact.occurrence))""",
    "a statement's charges are what its publication says": """
        SELECT statement_id, billed, billed_cost_after FROM billing_statements
        JOIN billing_publications USING (statement_id)
        LEFT JOIN (SELECT statement_id, jsonb_object_agg(billing_currency, cost::text) AS billed FROM (
            SELECT statement_id, billing_currency, sum(billed_cost) AS cost FROM billing_usage_fact GROUP BY 1, 2
            ) AS summed GROUP BY 1) AS held USING (statement_id)
        WHERE publication_id = current_publication_id AND EXISTS (
            SELECT FROM jsonb_each_text(billed_cost_after) AS said (currency, cost)
            WHERE cost::numeric <> coalesce((billed ->> said.currency)::numeric, 0))""",
    "a row of split costs is unique in its statement": """
        SELECT statement_id, row_hash, occurrence, part, allocation FROM billing_split_cost GROUP BY 1, 2, 3, 4, 5
        HAVING count(*) > 1""",
    "split costs add up to zero for each parent, account, charge period and currency": """
        SELECT statement_id FROM billing_split_cost LEFT JOIN dim_account ON account_key = sub_account_key
        GROUP BY statement_id, account_id, parent_resource_id, charge_period_start, charge_period_end, billing_currency
        HAVING sum(cost) <> 0""",
    "a workload has its line item, and what it costs": """
        SELECT row_hash, occurrence FROM billing_split_cost AS split WHERE allocation = 'workload' AND (
            cost <> CASE WHEN has_parent THEN coalesce(split_cost, 0) + coalesce(unused_cost, 0) ELSE 0 END
            OR NOT EXISTS (
                SELECT FROM raw_aws_billing_rows AS raw WHERE (raw.statement_id, raw.row_hash, raw.occurrence)
                    = (split.statement_id, split.row_hash, split.occurrence)))""",
    "a parent is its charge with the opposite sign": """
        SELECT row_hash, occurrence FROM billing_split_cost AS split WHERE allocation = 'parent' AND NOT EXISTS (
            SELECT FROM billing_usage_fact AS fact
            WHERE (fact.statement_id, fact.row_hash, fact.occurrence, fact.part, -fact.effective_cost, fact.charge_key)
                = (split.statement_id, split.row_hash, split.occurrence, split.part, split.cost, split.charge_key))""",
    **{f"{table} holds the charges' sums": _list_wrong_days(table) for table in _DAILY_TABLES},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """One client's view of a database; `root` is the folder that stands for the client's bucket."""

    database: Database
    settings: Settings
    client: Client
    root: Path

    @classmethod
    def make(cls, database: Database, settings: Settings, root: Path, client_id: str = "acme") -> Self:
        root.mkdir(parents=True, exist_ok=True)
        # Retries are told by their number: nobody waits for them.
        settings = settings.model_copy(update={"retry_base_delay_ms": 0, "threads": 2})
        return cls(database=database, settings=settings, client=Client(client_id=client_id), root=root)

    def with_settings(self, **changes: Any) -> Self:
        return replace(self, settings=self.settings.model_copy(update=changes))

    def with_client(self, **changes: Any) -> Self:
        return replace(self, client=replace(self.client, **changes))

    def ingest_all(self, source: Path | str | None = None, *, force: bool = False) -> list[DeliveryOutcome]:
        return ingest(
            str(source or self.root), client=self.client, settings=self.settings, database=self.database, force=force
        )

    def ingest(self, source: Path | str | None = None, *, force: bool = False) -> DeliveryOutcome:
        """Ingest a source that holds one delivery."""
        [outcome] = self.ingest_all(source, force=force)
        return outcome

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return ask(
            self.database.conninfo,
            lambda connection: connection.execute(sql.encode(), parameters or None).fetchall(),
        )

    def records(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        def read(connection: Connection) -> list[dict[str, Any]]:
            with connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(sql.encode(), parameters or None).fetchall()

        return ask(self.database.conninfo, read)

    def execute(self, sql: str, *parameters: Any) -> None:
        ask(self.database.conninfo, lambda connection: connection.execute(sql.encode(), parameters or None))

    def value(self, sql: str, *parameters: Any) -> Any:
        """The only value of the only row."""
        [[value]] = self.query(sql, *parameters)
        return value

    def count(self, table: str) -> int:
        return int(self.value(f"SELECT count(*) FROM {table}"))

    def billed(self) -> Mapping[str, Decimal]:
        """What all charges add up to, by currency."""
        return dict(self.query("SELECT billing_currency, sum(billed_cost) FROM billing_usage_fact GROUP BY 1"))

    def charges(self) -> list[dict[str, Any]]:
        """All charges in FOCUS columns, in the order of their description."""
        return self.records(
            'SELECT * FROM focus_cost_and_usage ORDER BY "ChargeDescription", "ChargeCategory", "BilledCost"'
        )

    def snapshot(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that stands, but for who wrote it: two equal snapshots are the same bill."""
        written = ("added_by", "ingested_at")
        found = {}
        for table in ("raw_aws_billing_rows", "billing_usage_fact", "billing_split_cost", *_DAILY_TABLES):
            columns = self.query(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position",
                table,
            )
            names = ", ".join(f"{name}::text" for (name,) in columns if name not in written)
            found[table] = self.query(f"SELECT {names} FROM {table} ORDER BY {names}")
        return found

    def as_of(self, moment: datetime) -> dict[str, tuple[int, Decimal]]:
        """What charges_as_of gives for a moment: count and billed cost by currency; the daily costs must agree."""
        charges = self.query(
            "SELECT billing_currency, count(*), sum(billed_cost) FROM charges_as_of(%s) GROUP BY 1 ORDER BY 1", moment
        )
        daily = self.query(
            "SELECT billing_currency, sum(charge_count)::bigint, sum(billed_cost) FROM daily_cost_as_of(%s) GROUP BY 1"
            " ORDER BY 1",
            moment,
        )
        assert charges == daily
        assert not self.query(
            "SELECT FROM split_cost_as_of(%s) LEFT JOIN dim_account ON account_key = sub_account_key"
            " GROUP BY statement_id, account_id, parent_resource_id, charge_period_start, billing_currency"
            " HAVING sum(cost) <> 0",
            moment,
        )
        return {currency: (count, cost) for currency, count, cost in charges}

    def published_at(self) -> list[datetime]:
        """When each publication was made, in their order."""
        return [at for (at,) in self.query("SELECT published_at FROM billing_publications ORDER BY publication_id")]

    def broken_rules(self) -> list[str]:
        """Which of the rules that hold after every publication do not."""
        return [rule for rule, violations in _INVARIANTS.items() if self.query(violations)]
