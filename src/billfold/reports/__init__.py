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
from billfold.reports.costs import DEFAULT_COST_LIMIT, CostColumn, CostReport, CostRow, Metric, sum_costs
from billfold.reports.lists import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    DeliveryRow,
    Filter,
    PublicationRow,
    RunRow,
    StatementRow,
    list_clients,
    list_deliveries,
    list_publications,
    list_runs,
    list_statements,
)

__all__ = [
    "DEFAULT_COST_LIMIT",
    "DEFAULT_LIMIT",
    "MAX_LIMIT",
    "ChangeColumn",
    "ChangeReport",
    "ChangeRow",
    "CheckReport",
    "CheckRow",
    "ConformanceReport",
    "CostColumn",
    "CostReport",
    "CostRow",
    "DeliveryRow",
    "Filter",
    "JudgedStatement",
    "Metric",
    "Point",
    "PublicationRow",
    "RunRow",
    "StandingPublication",
    "StatementChange",
    "StatementRow",
    "judge_conformance",
    "list_changes",
    "list_checks",
    "list_clients",
    "list_deliveries",
    "list_publications",
    "list_runs",
    "list_statements",
    "sum_costs",
]
