"""What command line and dashboard show: lists, costs and what moved, each report as of a single moment."""

from __future__ import annotations

from billfold.reports.changes import (
    ChangeColumn,
    ChangeReport,
    ChangeRow,
    Point,
    StandingPublication,
    StatementChange,
    list_changes,
)
from billfold.reports.checks import CheckReport, CheckRow, list_checks
from billfold.reports.conformance import ConformanceReport, JudgedStatement, judge_conformance
from billfold.reports.costs import (
    DEFAULT_COST_LIMIT,
    ChargeCategory,
    CostColumn,
    CostReport,
    CostRow,
    KeyColumn,
    MapColumn,
    Metric,
    Preset,
    Selection,
    sum_costs,
)
from billfold.reports.deliveries import Calendar, CalendarDay, ListChoices, list_calendar, list_choices
from billfold.reports.export import ExportReport, FileFormat, export_charges
from billfold.reports.freshness import (
    ClientFreshness,
    StatementFreshness,
    list_client_freshness,
    list_statement_freshness,
)
from billfold.reports.lists import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    DeliveryRow,
    Filter,
    PublicationRow,
    RunRow,
    StatementRow,
    list_deliveries,
    list_publications,
    list_runs,
    list_statements,
)
from billfold.reports.owners import OwnerRow, UnownedRow, list_accounts_without_owner, list_owners

__all__ = [
    "DEFAULT_COST_LIMIT",
    "DEFAULT_LIMIT",
    "MAX_LIMIT",
    "Calendar",
    "CalendarDay",
    "ChangeColumn",
    "ChangeReport",
    "ChangeRow",
    "ChargeCategory",
    "CheckReport",
    "CheckRow",
    "ClientFreshness",
    "ConformanceReport",
    "CostColumn",
    "CostReport",
    "CostRow",
    "DeliveryRow",
    "ExportReport",
    "FileFormat",
    "Filter",
    "JudgedStatement",
    "KeyColumn",
    "ListChoices",
    "MapColumn",
    "Metric",
    "OwnerRow",
    "Point",
    "Preset",
    "PublicationRow",
    "RunRow",
    "Selection",
    "StandingPublication",
    "StatementChange",
    "StatementFreshness",
    "StatementRow",
    "UnownedRow",
    "export_charges",
    "judge_conformance",
    "list_accounts_without_owner",
    "list_calendar",
    "list_changes",
    "list_checks",
    "list_choices",
    "list_client_freshness",
    "list_deliveries",
    "list_owners",
    "list_publications",
    "list_runs",
    "list_statement_freshness",
    "list_statements",
    "sum_costs",
]
