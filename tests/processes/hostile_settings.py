"""Settings of PostgreSQL that would change what is read or written, and everything that must be the same under them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pyarrow.parquet as parquet
from psycopg.conninfo import conninfo_to_dict

from billfold.bills.remap import RemapState, remap
from billfold.bills.rollback import roll_back
from billfold.documents import changes_document, costs_document, dump
from billfold.model import DeliveryState
from billfold.period import BillingPeriod
from billfold.reports.changes import list_changes
from billfold.reports.costs import sum_costs
from billfold.reports.export import export_charges
from billfold.selection import ChangeColumn, CostColumn, FileFormat, Filter
from billfold.store.bulk_driver import forget_types
from billfold.store.database import Database
from billfold.store.query import run_query
from billfold.transform.sample_bill import SampleBill, SampleFormat, write_sample_bill
from billfold.verification import verify
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, write_object
from tests.processes.web_server import run_web_server

# Each can be set for a database or a role. What another value would do to us, or to the text that we read.
HOSTILE: Mapping[str, tuple[str, ...]] = {
    "DateStyle": ("German", "SQL, DMY", "Postgres, MDY"),
    "IntervalStyle": ("sql_standard", "iso_8601", "postgres_verbose"),
    "TimeZone": ("Asia/Kolkata", "America/St_Johns", "Pacific/Apia"),
    "timezone_abbreviations": ("Australia", "India"),
    "bytea_output": ("escape",),
    "extra_float_digits": ("-15", "-5", "3"),
    "standard_conforming_strings": ("off",),
    "backslash_quote": ("off", "on"),
    "escape_string_warning": ("off",),
    "array_nulls": ("off",),
    "transform_null_equals": ("on",),
    "quote_all_identifiers": ("on",),
    "client_encoding": ("LATIN1", "SQL_ASCII"),
    "default_transaction_isolation": ("serializable", "repeatable read"),
    "default_transaction_deferrable": ("on",),
    "gin_fuzzy_search_limit": ("1",),
    "exit_on_error": ("on",),
    "client_min_messages": ("debug5", "error"),
    "lock_timeout": ("1ms",),
    "idle_in_transaction_session_timeout": ("300ms",),
    "idle_session_timeout": ("300ms",),
    "session_replication_role": ("replica",),
    "check_function_bodies": ("off",),
    "work_mem": ("64kB",),
    "max_parallel_workers_per_gather": ("0", "4"),
    "plan_cache_mode": ("force_generic_plan", "force_custom_plan"),
    "row_security": ("off",),
    "synchronous_commit": ("off",),
}
# Only PostgreSQL 17 and later know it.
HOSTILE_SINCE_17: Mapping[str, tuple[str, ...]] = {"transaction_timeout": ("1s",)}

PAYER = "111122223333"
MARCH, MAY, JUNE = (BillingPeriod(date(2026, month, 1)) for month in (3, 5, 6))
_LEGACY = {
    "bill/PayerAccountId": PAYER,
    "bill/BillingPeriodStartDate": "2026-03-01T00:00:00Z",
    "lineItem/LineItemType": "Usage",
    "lineItem/UnblendedCost": "0.1000000000000000000007",
    "lineItem/UsageStartDate": "2026-03-02T04:00:00Z",
    "lineItem/UsageEndDate": "2026-03-02T05:00:00Z",
    "lineItem/UsageAccountId": "444455556666",
    "lineItem/CurrencyCode": "USD",
    "lineItem/ProductCode": "AmazonS3",
    "lineItem/LineItemDescription": "it's a \\ back\\slash and a dæmon €",
    "resourceTags/user:team": "",
}


def set_for_database(database: Database, settings: Iterable[tuple[str, str]]) -> None:
    """Set these for every session of the database that begins from now on."""
    name = conninfo_to_dict(database.conninfo)["dbname"]
    with psycopg.connect(database.conninfo, autocommit=True) as connection:
        for setting, value in settings:
            connection.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'".encode())
    # The types are to be read under these settings too.
    forget_types()


def work_through(
    landing: Landing, folder: Path, *, is_doubtful: bool, item_count: int = 100, seed: int = 1
) -> dict[str, Any]:
    """Bills of every format come in and are restated; everything that is then shown of them.

    Where that is doubtful, they are rolled back and forth, remapped, exported, taken in again and verified as well.
    """
    may = SampleBill(payer_account_id=PAYER, period=MAY, line_item_count=item_count, seed=seed)
    june = replace(
        may, period=JUNE, sample_format=SampleFormat.PARQUET, seed=seed + 1, export_name="columns", file_count=2
    )
    _put(may, landing.root)
    _put(june, landing.root)
    legacy = [dict(_LEGACY), {**_LEGACY, "resourceTags/user:team": 'a"b\\c'}]
    write_object(landing.root, "cur/legacy/20260301-20260401/legacy-1.csv", as_csv(legacy))
    ended = [outcome.state for outcome in landing.ingest_all()]
    restated = landing.ingest(_put(replace(may, revision=1, changed_percent=20), landing.root))
    assert restated.delivery_id is not None
    seen: dict[str, Any] = {"states": ended, "restated": (restated.rows_added, restated.rows_removed)}
    seen["changes"] = _cut(dump(changes_document(list_changes(landing.database, Filter(), columns=list(ChangeColumn)))))
    with run_web_server(landing.settings, landing.database) as server:
        for path in ("/v1/costs?by=service,day", "/v1/costs?by=tag:user_team,month", "/v1/changes?by=service"):
            status, document = server.ask("GET", path)
            seen[path] = (status, _cut(dump(document)))
    # None of this changes anything in the end.
    if is_doubtful:
        roll_back(restated.delivery_id, settings=landing.settings, database=landing.database)
        roll_back(restated.delivery_id, settings=landing.settings, database=landing.database, undo=True)
        for period in (MARCH, MAY):
            [remapped] = remap(settings=landing.settings, database=landing.database, period=period, force=True)
            assert remapped.state is RemapState.REMAPPED
    seen |= _look_at(landing, folder)
    if is_doubtful:
        # The export is FOCUS: it comes in as the bill of another client.
        other = replace(landing, root=folder / "focus").with_client(client_id="globex", prefix="globex/")
        other.root.mkdir()
        (folder / "may.csv").rename(other.root / "may.csv")
        focus = other.ingest()
        assert (focus.state, focus.billed_cost) == (DeliveryState.PUBLISHED, restated.billed_cost)
        verdicts = verify(settings=landing.settings, database=landing.database, client="acme", period=MAY)
        seen["differences"] = [str(verdict) for verdict in verdicts if not verdict.is_true]
        seen["broken"] = landing.broken_rules()
    return seen


def _put(bill: SampleBill, root: Path) -> Path:
    """Write the bill below the root of a bucket, and return its manifest's path."""
    for name, content in _write(bill).items():
        write_object(root, name, content, revision=1 + bill.revision)
    return bill.manifest_path(root)


@cache
def _write(bill: SampleBill) -> Mapping[str, bytes]:
    """The files of the bill, written once for all databases that it comes into."""
    with TemporaryDirectory() as folder:
        write_sample_bill(bill, Path(folder))
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _look_at(landing: Landing, folder: Path) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for by in ("day", "service", "account", "region", "invoice"):
        report = sum_costs(landing.database, columns=[CostColumn(by)])
        seen[f"costs by {by}"] = _cut(dump(costs_document(report)))
    for file_format in FileFormat:
        target = folder / f"may.{file_format}"
        export_charges(landing.database, target, file_format=file_format, first=MAY, last=MAY)
    with (folder / "may.csv").open(newline="", encoding="utf-8") as stream:
        seen["csv"] = sorted(map(str, csv.reader(stream)))
    seen["parquet"] = sorted(map(str, parquet.read_table(folder / "may.parquet").to_pylist()))
    query = """
        SELECT charge_description, charge_period_start, billed_cost, effective_cost::float8,
            charge_period_end - charge_period_start, ARRAY[NULL, 'x\\y'], row_hash::text
        FROM billing_usage_fact JOIN dim_sku USING (sku_key) ORDER BY row_hash, occurrence, part"""
    with run_query(landing.database, query, timeout_seconds=60, max_rows=100_000) as result:
        seen["sql"] = [tuple(map(str, row)) for row in result.rows]
    seen["raw"] = landing.query("SELECT row_hash::text, row_data::text FROM raw_aws_billing_rows ORDER BY 1, 2")
    return seen


def _cut(document: str) -> str:
    """A document without the lines that hold a time or an id, which are of this run alone."""
    own = ('_at"', '_id"', '"as_of"')
    return "\n".join(line for line in document.splitlines() if not any(name in line for name in own))
