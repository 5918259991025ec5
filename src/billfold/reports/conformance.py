"""Conformance: whether the view focus_cost_and_usage follows FOCUS 1.2, by its columns and each statement's charges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from billfold.errors import ReconciliationError, UsageError
from billfold.period import BillingPeriod
from billfold.selection import Filter
from billfold.store.database import Database
from billfold.store.reports import reading
from billfold.store.reports.conformance import BrokenRule, Judgement, judge_charges, judge_columns


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedStatement:
    """A statement, counted or not, and how its current charges follow the rules."""

    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    counted: bool
    judgement: Judgement

    @property
    def is_conformant(self) -> bool:
        """Whether no must-rule is broken."""
        return not self.judgement.broken_musts


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformanceReport:
    """The rules for types that the view breaks, its columns that are not FOCUS's, and each statement."""

    broken_columns: tuple[BrokenRule, ...]
    foreign_columns: tuple[str, ...]
    statements: tuple[JudgedStatement, ...]

    def list_failures(self) -> list[ReconciliationError]:
        """One error for the view and one for each statement that breaks a must-rule."""
        failures = []
        if self.broken_columns or self.foreign_columns:
            named = [*(broken.rule.rule for broken in self.broken_columns), *self.foreign_columns]
            failures.append(
                ReconciliationError(f"the columns of focus_cost_and_usage are not FOCUS's: {', '.join(named)}")
            )
        for statement in self.statements:
            if not statement.is_conformant:
                failures.append(
                    ReconciliationError(
                        f"statement {statement.statement_id}: {statement.client_id} {statement.export_name}"
                        f" {statement.billing_period}: {statement.judgement.failing_count} of"
                        f" {statement.judgement.charge_count} charges break"
                        f" {len(statement.judgement.broken_musts)} must-rules of FOCUS"
                    )
                )
        return failures


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    statement_id: int
    client_id: str
    export_name: str
    billing_period: date
    counted: bool
    row_count: int


def judge_conformance(database: Database, wanted: Filter) -> ConformanceReport:
    """Judge the charges of the statements that match `wanted`, the newest month first, as of one moment.

    Raises UsageError if there is no statement of the requested id.
    """
    with reading.read(database) as connection:
        found = reading.fetch(connection, "list_judged", _Judged, wanted.parameters())
        if wanted.statement is not None and not found:
            raise UsageError(
                f"there is no such statement {wanted.statement}, or it never held a bill",
                advice="`billfold statements` lists them",
            )
        broken_columns, foreign_columns = judge_columns(connection)
        return ConformanceReport(
            broken_columns=broken_columns,
            foreign_columns=foreign_columns,
            statements=tuple(
                JudgedStatement(
                    statement_id=statement.statement_id,
                    client_id=statement.client_id,
                    export_name=statement.export_name,
                    billing_period=str(BillingPeriod(statement.billing_period)),
                    counted=statement.counted,
                    judgement=judge_charges(
                        connection,
                        BillingPeriod(statement.billing_period),
                        statement_id=statement.statement_id,
                        row_count=statement.row_count,
                    ),
                )
                for statement in found
            ),
        )
