"""`billfold costs`: what was spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from billfold.cli.application import app, start
from billfold.cli.commands import cost_options as options
from billfold.cli.exits import ExitCode
from billfold.cli.options import Csv, Json, OneClient, OneExport, Since
from billfold.cli.output.costs_table import show_costs, show_truncation
from billfold.cli.output.csv_output import refuse_both, write_csv
from billfold.cli.output.screen import Screen
from billfold.cli.output.streams import write_document
from billfold.documents import costs_document, dump, shortest
from billfold.selection import DEFAULT_COST_LIMIT, check_texts, parse_cost_columns, parse_pairs, parse_presets
from billfold.spreadsheet import Cell

if TYPE_CHECKING:
    from billfold.app.wanted import CostFilters
    from billfold.reports.costs import CostReport

_TEXT_FILTERS = (
    "service", "account", "region", "owner", "iam_principal", "user_identifier", "cluster", "namespace", "workload",
    "pod", "parent",
)  # fmt: skip


@app.command(epilog=options.EPILOG)
def costs(
    by: options.By = ["service,month"],  # noqa: B006
    split: options.Split = False,
    metric: options.OneMetric = None,
    client: OneClient = None,
    export: OneExport = None,
    month: options.Month = None,
    since: Since = None,
    until: options.Until = None,
    service: options.Services = [],  # noqa: B006
    account: options.Accounts = [],  # noqa: B006
    region: options.Regions = [],  # noqa: B006
    category: options.Categories = [],  # noqa: B006
    owner: options.OwnerNames = [],  # noqa: B006
    tag: options.Tags = [],  # noqa: B006
    cost_category: options.CostCategories = [],  # noqa: B006
    iam_principal: options.IamPrincipals = [],  # noqa: B006
    user_identifier: options.UserIdentifiers = [],  # noqa: B006
    cluster: options.Clusters = [],  # noqa: B006
    namespace: options.Namespaces = [],  # noqa: B006
    workload: options.Workloads = [],  # noqa: B006
    pod: options.Pods = [],  # noqa: B006
    parent: options.Parents = [],  # noqa: B006
    without: options.Without = [],  # noqa: B006
    as_of: options.AsOf = None,
    limit: options.CostLimit = DEFAULT_COST_LIMIT,
    as_json: Json = False,
    as_csv: Csv = False,
) -> int:
    """Show costs: by service and month, or as you group them.

    They are of the counted statements of all clients. Each currency has its own rows and totals. The table rounds to
    the decimals of the currency; `--json` and `--csv` have every decimal. With `--as-of` they are exactly those of an
    earlier moment, however often the bills were restated since; owners are today's.
    """
    filters = _read_filters(locals())
    refuse_both(as_json, as_csv)
    columns = parse_cost_columns(by)
    report = start().costs(
        columns,
        metric=metric,
        client=client,
        export=export,
        month=month,
        since=since,
        until=until,
        as_of=as_of,
        split=split,
        limit=limit,
        **filters,
    )
    _show(report, as_json=as_json, as_csv=as_csv)
    return ExitCode.SUCCESS


def _read_filters(arguments: Mapping[str, Any]) -> CostFilters:
    """Of the command's arguments, its `locals()`, the filters; raises UsageError for what cannot be one."""
    texts = {name: check_texts(f"--{name.replace('_', '-')}", arguments[name]) for name in _TEXT_FILTERS}
    filters: CostFilters = {
        **texts,  # type: ignore[typeddict-item]
        "category": arguments["category"],
        "tag": parse_pairs("--tag", arguments["tag"]),
        "cost_category": parse_pairs("--cost-category", arguments["cost_category"]),
        "without": parse_presets(arguments["without"]),
    }
    return filters


def _show(report: CostReport, *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        write_document(dump(costs_document(report)))
    elif as_csv:
        rows: Iterator[Sequence[Cell]] = ((*row.group, row.currency, shortest(row.amount)) for row in report.rows)
        write_csv([*map(str, report.columns), "currency", "cost"], rows)
        show_truncation(Screen(stderr=True), report)
    else:
        show_costs(Screen(), report)
