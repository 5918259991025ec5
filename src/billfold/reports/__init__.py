"""Reports: the lists, costs and changes that every caller shows, each as of a single moment.

`lists` and `identifiers` name deliveries, runs, statements and publications; `costs`, `spending` and `pace` sum
spending; `changes` and `moves` compare publications; `checks`, `bill_quality` and `conformance` judge bills;
`deliveries`, `freshness` and `instruments` watch arrivals; `owners` lists owners, `export` writes files.
"""

from __future__ import annotations

from billfold.reports.changes import ChangeReport, ChangeRow, ComparedPublication, StatementChange, list_changes
from billfold.reports.checks import CheckReport, CheckRow, list_checks
from billfold.reports.conformance import ConformanceReport, JudgedStatement, judge_conformance
from billfold.reports.costs import CostReport, CostRow, sum_costs
from billfold.reports.deliveries import Calendar, CalendarDay, list_calendar
from billfold.reports.export import ExportReport, export_charges
from billfold.reports.freshness import (
    ClientFreshness,
    StatementFreshness,
    list_client_freshness,
    list_statement_freshness,
)
from billfold.reports.identifiers import Named, find_delivery_id, find_named, shorten_delivery_ids
from billfold.reports.lists import (
    Choices,
    DeliveryRow,
    PublicationRow,
    RunRow,
    StatementRow,
    list_choices,
    list_deliveries,
    list_publications,
    list_runs,
    list_statements,
)
from billfold.reports.moves import ComparedRange, Move, MoveReport, list_moves, report_moves
from billfold.reports.owners import OwnerRow, UnownedRow, list_accounts_without_owner, list_owners
from billfold.selection import (
    DEFAULT_CHANGE_COLUMNS,
    DEFAULT_COST_LIMIT,
    DEFAULT_LIMIT,
    MAX_LIMIT,
    NOT_ALLOCATED,
    SPLIT_COLUMNS,
    ChangeColumn,
    ChargeCategory,
    CostColumn,
    FileFormat,
    Filter,
    KeyColumn,
    MapColumn,
    Metric,
    Point,
    Preset,
    Selection,
)

__all__ = [
    "DEFAULT_CHANGE_COLUMNS",
    "DEFAULT_COST_LIMIT",
    "DEFAULT_LIMIT",
    "MAX_LIMIT",
    "NOT_ALLOCATED",
    "SPLIT_COLUMNS",
    "Calendar",
    "CalendarDay",
    "ChangeColumn",
    "ChangeReport",
    "ChangeRow",
    "ChargeCategory",
    "CheckReport",
    "CheckRow",
    "Choices",
    "ClientFreshness",
    "ComparedPublication",
    "ComparedRange",
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
    "MapColumn",
    "Metric",
    "Move",
    "MoveReport",
    "Named",
    "OwnerRow",
    "Point",
    "Preset",
    "PublicationRow",
    "RunRow",
    "Selection",
    "StatementChange",
    "StatementFreshness",
    "StatementRow",
    "UnownedRow",
    "export_charges",
    "find_delivery_id",
    "find_named",
    "judge_conformance",
    "list_accounts_without_owner",
    "list_calendar",
    "list_changes",
    "list_checks",
    "list_choices",
    "list_client_freshness",
    "list_deliveries",
    "list_moves",
    "list_owners",
    "list_publications",
    "list_runs",
    "list_statement_freshness",
    "list_statements",
    "report_moves",
    "shorten_delivery_ids",
    "sum_costs",
]
