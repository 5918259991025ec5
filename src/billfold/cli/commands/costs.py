"""The command that shows what was spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated

import typer

from billfold import reports
from billfold.cli.application import app, open_store, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Csv, Json, OneClient, OneExport, parse_moment, parse_month
from billfold.cli.output.costs_table import show_costs, tell_truncation
from billfold.cli.output.csv_output import refuse_both, write_csv
from billfold.cli.output.screen import Screen, write_document
from billfold.documents import costs_document, dump, shortest
from billfold.period import BillingPeriod
from billfold.selection import (
    ChargeCategory,
    Metric,
    Selection,
    parse_cost_columns,
    parse_pairs,
    parse_presets,
    parse_texts,
)
from billfold.spreadsheet import Cell


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold costs` (services by month)\n\n"
        "- `billfold costs --by account,day --month 2026-05`\n\n"
        "- `billfold costs --by owner,month --since 2026-01 --metric effective --without tax,credit,refund --csv`\n\n"
        "- `billfold costs --by tag:team,category --tag env=prod --tag env= --json` (production and untagged)\n\n"
        "- `billfold costs --by invoice --service AmazonEC2 --month 2026-05`\n\n"
        "- `billfold costs --by iam-principal --service AmazonBedrock --month 2026-05` (who called)\n\n"
        "- `billfold costs --by tag:accountTag/department --tag iamPrincipal/team=ml` (AWS's other tags)\n\n"
        "- `billfold costs --split --by cluster,namespace,month` (containers in place of instances)\n\n"
        "- `billfold costs --month 2026-05 --as-of 2026-06-10` (what the bill of May was on 10 June, 00:00 UTC)\n\n"
        "Values of one filter are alternatives, several filters must hold together, and an empty value stands for none:"
        " `--owner ''` shows accounts without an owner. In a key, write `\\,` for a comma in `--by` and `\\=` for an"
        " equals sign in `--tag` and `--cost-category`."
    )
)
def costs(
    by: Annotated[
        list[str],
        typer.Option(
            "--by",
            metavar="COLUMN,…",
            help=(
                "Group by these, together or one by one: service, service-category, account, owner, region, category"
                " (of the charge), pricing, commitment, invoice, iam-principal, user-identifier, day, month, tag:KEY,"
                " cost-category:KEY; and with --split, which they imply: cluster, namespace, workload, pod, parent."
            ),
        ),
    ] = ["service,month"],  # noqa: B006
    split: Annotated[
        bool,
        typer.Option(
            "--split",
            help=(
                "Show containers in place of the instances that they run on, as AWS's split cost allocation divides"
                " the effective cost. The total stays the same."
            ),
        ),
    ] = False,
    metric: Annotated[
        Metric | None,
        typer.Option("--metric", help="Which of FOCUS's costs: billed, or with --split effective.", show_default=False),
    ] = None,
    client: OneClient = None,
    export: OneExport = None,
    month: Annotated[
        BillingPeriod | None,
        typer.Option("--month", "--period", parser=parse_month, metavar="YYYY-MM", help="Only this billing period."),
    ] = None,
    since: Annotated[
        BillingPeriod | None,
        typer.Option("--since", parser=parse_month, metavar="YYYY-MM", help="From this billing period on."),
    ] = None,
    until: Annotated[
        BillingPeriod | None,
        typer.Option("--until", parser=parse_month, metavar="YYYY-MM", help="Up to this billing period, with it."),
    ] = None,
    service: Annotated[
        list[str], typer.Option("--service", metavar="NAME", help="Only this service, by name or code. Repeatable.")
    ] = [],  # noqa: B006
    account: Annotated[
        list[str], typer.Option("--account", metavar="ID", help="Only this usage account. Repeatable.")
    ] = [],  # noqa: B006
    region: Annotated[
        list[str], typer.Option("--region", metavar="ID", help="Only this region, such as eu-west-1. Repeatable.")
    ] = [],  # noqa: B006
    category: Annotated[
        list[ChargeCategory],
        typer.Option(
            "--category",
            metavar="NAME",
            case_sensitive=False,
            help="Only charges of this category. Repeatable.",
        ),
    ] = [],  # noqa: B006
    owner: Annotated[
        list[str],
        typer.Option("--owner", metavar="NAME", help="Only accounts of this owner (`billfold owner`). Repeatable."),
    ] = [],  # noqa: B006
    tag: Annotated[
        list[str],
        typer.Option("--tag", metavar="KEY=VALUE", help="Only charges with this tag; `KEY=`: without it. Repeatable."),
    ] = [],  # noqa: B006
    cost_category: Annotated[
        list[str],
        typer.Option(
            "--cost-category",
            metavar="KEY=VALUE",
            help="Only charges of this cost category; `KEY=`: without it. Repeatable.",
        ),
    ] = [],  # noqa: B006
    iam_principal: Annotated[
        list[str],
        typer.Option("--iam-principal", metavar="ARN", help="Only calls of this IAM principal. Repeatable."),
    ] = [],  # noqa: B006
    user_identifier: Annotated[
        list[str],
        typer.Option(
            "--user-identifier", metavar="ID", help="Only costs of this user of IAM Identity Center. Repeatable."
        ),
    ] = [],  # noqa: B006
    cluster: Annotated[
        list[str],
        typer.Option(
            "--cluster", metavar="NAME", help="Only this EKS or ECS cluster or Batch compute environment. Repeatable."
        ),
    ] = [],  # noqa: B006
    namespace: Annotated[
        list[str],
        typer.Option(
            "--namespace", metavar="NAME", help="Only this namespace of EKS or job queue of Batch. Repeatable."
        ),
    ] = [],  # noqa: B006
    workload: Annotated[
        list[str],
        typer.Option(
            "--workload",
            metavar="NAME",
            help="Only this workload of EKS, service of ECS or job definition of Batch. Repeatable.",
        ),
    ] = [],  # noqa: B006
    pod: Annotated[
        list[str], typer.Option("--pod", metavar="NAME", help="Only this pod of EKS or task of ECS. Repeatable.")
    ] = [],  # noqa: B006
    parent: Annotated[
        list[str], typer.Option("--parent", metavar="ID", help="Only what runs on this instance. Repeatable.")
    ] = [],  # noqa: B006
    without: Annotated[
        list[str],
        typer.Option(
            "--without",
            metavar="PRESET,…",
            help="Leave out tax, credit, refund: together or one by one. Refunds of taxes are both.",
        ),
    ] = [],  # noqa: B006
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            parser=parse_moment,
            metavar="MOMENT",
            help="What this report said then: a date (its beginning, UTC) or an instant such as 2026-05-03T10:00Z.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=reports.MAX_LIMIT, help="At most this many rows, the dearest first.")
    ] = reports.DEFAULT_COST_LIMIT,
    as_json: Json = False,
    as_csv: Csv = False,
) -> int:
    """Show what was spent: by service and month, or as you group it.

    Costs come from the counted statements of all clients. Each currency has its own rows and totals. The table
    rounds to the decimals of the currency; `--json` and `--csv` give every decimal. With `--as-of` they are those of an
    earlier moment, to the last decimal, however often the bills were restated since; owners are today's.
    """
    refuse_both(as_json, as_csv)
    columns = parse_cost_columns(by)
    selection = Selection(
        services=parse_texts("--service", service),
        accounts=parse_texts("--account", account),
        regions=parse_texts("--region", region),
        categories=category,
        owners=parse_texts("--owner", owner),
        tags=parse_pairs("--tag", tag),
        cost_categories=parse_pairs("--cost-category", cost_category),
        iam_principals=parse_texts("--iam-principal", iam_principal),
        user_identifiers=parse_texts("--user-identifier", user_identifier),
        parents=parse_texts("--parent", parent),
        clusters=parse_texts("--cluster", cluster),
        namespaces=parse_texts("--namespace", namespace),
        workloads=parse_texts("--workload", workload),
        pods=parse_texts("--pod", pod),
        without=parse_presets(without),
    )
    report = reports.sum_costs(
        open_store(start()),
        columns=columns,
        metric=metric,
        client=client,
        export=export,
        month=month,
        since=since,
        until=until,
        selection=selection,
        as_of=as_of,
        split=split,
        limit=limit,
    )
    if as_json:
        write_document(dump(costs_document(report)))
    elif as_csv:
        rows: Iterator[Sequence[Cell]] = ((*row.group, row.currency, shortest(row.amount)) for row in report.rows)
        write_csv([*map(str, columns), "currency", "cost"], rows)
        tell_truncation(Screen(stderr=True), report)
    else:
        show_costs(Screen(), report)
    return ExitCode.SUCCESS
