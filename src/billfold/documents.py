"""The JSON documents of `--json` and of the API. Scripts rely on their field names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from billfold.errors import BillfoldError
    from billfold.model import Client, DeliveryOutcome
    from billfold.reports.changes import ChangeReport, ChangeRow, ComparedPublication, StatementChange
    from billfold.reports.checks import CheckRow
    from billfold.reports.costs import CostReport, CostRow
    from billfold.reports.freshness import ClientFreshness, StatementFreshness
    from billfold.reports.lists import DeliveryRow, PublicationRow, RunRow, StatementRow
    from billfold.reports.owners import OwnerRow, UnownedRow
    from billfold.store.jobs.jobs import JobRow
    from billfold.store.jobs.requests import RequestedDelivery

# Fields with amounts by currency.
_MONEY = ("source_cost", "billed_cost", "billed_cost_before", "billed_cost_after", "cost")


class JsonText(str):
    """A json or jsonb value as PostgreSQL writes it: parsing would round its numbers."""

    __slots__ = ()


def format_money(amount: Decimal | str) -> str:
    """An exact amount in plain notation, without trailing zeros: 1E+2 is 100, -0.00 is 0."""
    text = format(Decimal(amount), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def shortest(amount: Decimal | str) -> Decimal:
    """The same amount without trailing zeros, as a figure of a CSV."""
    return Decimal(format_money(amount))


def ingest_document(outcomes: Sequence[DeliveryOutcome]) -> dict[str, Any]:
    """How each delivery ended."""
    return {"deliveries": [_outcome(outcome) for outcome in outcomes]}


def failure_document(list_name: str | None, error_code: str, message: str) -> dict[str, Any]:
    """The document of a command that failed as a whole: its list is present and empty."""
    return {**({list_name: []} if list_name else {}), "error": {"code": error_code, "message": message}}


def report_document(
    list_name: str,
    rows: Sequence[
        RunRow
        | DeliveryRow
        | StatementRow
        | PublicationRow
        | CheckRow
        | ClientFreshness
        | StatementFreshness
        | RequestedDelivery
        | JobRow
        | OwnerRow
        | UnownedRow
    ],
) -> dict[str, Any]:
    """A list of rows, each field under its own name; `client` and `export` as in the document of `ingest`."""
    names = {"client_id": "client", "export_name": "export"}
    return {
        list_name: [
            {names.get(name, name): _spell_field(name, value) for name, value in asdict(row).items()} for row in rows
        ]
    }


def costs_document(report: CostReport) -> dict[str, Any]:
    """Costs by the requested columns, and the totals by month and currency."""

    def describe(row: CostRow, columns: Iterable[str]) -> dict[str, str]:
        group = dict(zip(columns, row.group, strict=True))
        return {**group, "currency": row.currency, "cost": format_money(row.amount)}

    return {
        "metric": report.metric,
        "split": report.is_split,
        "as_of": report.as_of,
        "costs": [describe(row, map(str, report.columns)) for row in report.rows],
        "totals": [describe(total, ["month"]) for total in report.totals],
        "is_truncated": report.is_truncated,
    }


def changes_document(report: ChangeReport) -> dict[str, Any]:
    """What changed: each statement with its ends, totals and the groups that differ, then the totals of all."""
    return {
        "metric": report.metric,
        "by": list(report.columns),
        "changes": [_change(report, change) for change in report.changes],
        "totals": [_change_row(total) for total in report.totals],
        "closed_months_moved": report.closed_months_moved,
    }


def describe_client(client: Client) -> dict[str, Any]:
    """The public fields of a client: its external id is a secret between it and us."""
    return {
        "client": client.client_id,
        "registered": client.is_registered,
        "enabled": client.enabled,
        "bucket": client.bucket,
        "prefix": client.prefix,
        "region": client.region,
        "account_id": client.account_id,
        "role_arn": client.role_arn,
        "has_external_id": client.external_id is not None,
        "source_identity": client.source_identity,
        "kms_key_arn": client.kms_key_arn,
        "currency": client.currency,
        "max_deliveries": client.max_deliveries,
        "max_file_bytes": client.max_file_bytes,
        "refresh_hours": client.refresh_hours,
    }


def client_document(client: Client, fresh: ClientFreshness | None) -> dict[str, Any]:
    """The same, with the last delivery, the last listing, whether it is expected, and since when it is late."""
    return {
        **describe_client(client),
        "last_delivered_at": fresh.last_delivered_at if fresh else None,
        "backfilled_at": fresh.backfilled_at if fresh else None,
        "is_expected": fresh.is_expected if fresh else None,
        "late_since": fresh.late_since if fresh else None,
    }


def dump(document: Mapping[str, Any]) -> str:
    """The document as text; instants are ISO 8601, ids are text."""
    return json.dumps(document, indent=2, ensure_ascii=False, default=_encode_value) + "\n"


def dump_row(columns: Sequence[str], row: Sequence[Any]) -> str:
    """One row of the operator's query as an object; JSON values of PostgreSQL are unchanged."""
    fields = (
        f"{json.dumps(name, ensure_ascii=False)}: {_dump_value(value)}"
        for name, value in zip(columns, row, strict=True)
    )
    return "{" + ", ".join(fields) + "}"


def _outcome(outcome: DeliveryOutcome) -> dict[str, Any]:
    return {
        "delivery_id": outcome.delivery_id,
        "client": outcome.client_id,
        "export": outcome.export_name,
        "billing_period": outcome.billing_period,
        "state": outcome.state,
        "reason": outcome.reason,
        "rows_read": outcome.rows_read,
        "rows_added": outcome.rows_added,
        "rows_removed": outcome.rows_removed,
        "rows_unchanged": outcome.rows_unchanged,
        "source_cost": _spell_amounts(outcome.source_cost),
        "billed_cost": _spell_amounts(outcome.billed_cost),
        "runs": [asdict(run) for run in outcome.runs],
        "findings": list(outcome.findings),
        "duration_seconds": round(outcome.duration_seconds, 3),
        **({"error": _error(outcome.exit_error)} if outcome.exit_error else {}),
    }


def _change(report: ChangeReport, change: StatementChange) -> dict[str, Any]:
    return {
        "statement_id": change.statement_id,
        "client": change.client_id,
        "export": change.export_name,
        "billing_period": change.billing_period,
        "counted": change.counted,
        "from": _standing(change.earlier),
        "to": _standing(change.later),
        "rows_added": change.rows_added,
        "rows_removed": change.rows_removed,
        "closed_month_moved": change.closed_month_moved,
        "totals": [_change_row(total) for total in change.totals],
        "groups": [{**dict(zip(report.columns, row.group, strict=True)), **_change_row(row)} for row in change.groups],
    }


def _standing(publication: ComparedPublication | None) -> dict[str, Any] | None:
    return asdict(publication) if publication else None


def _change_row(row: ChangeRow) -> dict[str, str]:
    return {
        "currency": row.currency,
        "old": format_money(row.old),
        "new": format_money(row.new),
        "difference": format_money(row.difference),
    }


def _error(error: BillfoldError) -> dict[str, str]:
    return {"code": error.error_code, "message": str(error)}


def _spell_field(name: str, value: Any) -> Any:
    if isinstance(value, Decimal):
        return format_money(value)
    if name in _MONEY:
        return _spell_amounts(value)
    return round(value, 3) if name == "duration_seconds" and value is not None else value


def _spell_amounts(amounts: Mapping[str, Decimal | str]) -> dict[str, str]:
    return {currency: format_money(amount) for currency, amount in sorted(amounts.items())}


def _encode_value(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    assert isinstance(value, UUID), f"{type(value).__name__} has no form in JSON"
    return str(value)


def _dump_value(value: Any) -> str:
    if isinstance(value, JsonText):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_dump_value, value)) + "]"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        # JSON has no such number.
        return json.dumps(str(value))
    return json.dumps(value, ensure_ascii=False, default=str)
