"""The options of `billfold costs`: what it groups by, sums and filters."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from billfold.cli.options import read_moment, read_month
from billfold.period import BillingPeriod
from billfold.selection import MAX_LIMIT, ChargeCategory, Metric

By = Annotated[
    list[str],
    typer.Option(
        "--by",
        metavar="COLUMN,…",
        help=(
            "Group by these, together or one by one: service, service-category, account, owner, region, category"
            " (of the charge), pricing, commitment, invoice, iam-principal, user-identifier, day, month, tag:KEY,"
            " cost-category:KEY; and, which implies --split: cluster, namespace, workload, pod, parent."
        ),
    ),
]
Split = Annotated[
    bool,
    typer.Option(
        "--split",
        help=(
            "Show containers in place of the instances that they run on, as AWS's split cost allocation divides the"
            " effective cost. The total stays the same."
        ),
    ),
]
OneMetric = Annotated[
    Metric | None,
    typer.Option("--metric", help="Which of FOCUS's costs: billed, or with --split effective.", show_default=False),
]
Month = Annotated[
    BillingPeriod | None,
    typer.Option("--month", "--period", parser=read_month, metavar="YYYY-MM", help="Only this billing period."),
]
Until = Annotated[
    BillingPeriod | None,
    typer.Option("--until", parser=read_month, metavar="YYYY-MM", help="Up to and including this billing period."),
]
Services = Annotated[
    list[str], typer.Option("--service", metavar="NAME", help="Only this service, by name or code. Repeatable.")
]
Accounts = Annotated[list[str], typer.Option("--account", metavar="ID", help="Only this usage account. Repeatable.")]
Regions = Annotated[
    list[str], typer.Option("--region", metavar="ID", help="Only this region, such as eu-west-1. Repeatable.")
]
Categories = Annotated[
    list[ChargeCategory],
    typer.Option("--category", metavar="NAME", case_sensitive=False, help="Only charges of this category. Repeatable."),
]
OwnerNames = Annotated[
    list[str],
    typer.Option("--owner", metavar="NAME", help="Only accounts of this owner (`billfold owner`). Repeatable."),
]
Tags = Annotated[
    list[str],
    typer.Option("--tag", metavar="KEY=VALUE", help="Only charges with this tag; `KEY=`: without it. Repeatable."),
]
CostCategories = Annotated[
    list[str],
    typer.Option(
        "--cost-category",
        metavar="KEY=VALUE",
        help="Only charges of this cost category; `KEY=`: without it. Repeatable.",
    ),
]
IamPrincipals = Annotated[
    list[str], typer.Option("--iam-principal", metavar="ARN", help="Only calls of this IAM principal. Repeatable.")
]
UserIdentifiers = Annotated[
    list[str],
    typer.Option("--user-identifier", metavar="ID", help="Only costs of this user of IAM Identity Center. Repeatable."),
]
Clusters = Annotated[
    list[str],
    typer.Option(
        "--cluster", metavar="NAME", help="Only this EKS or ECS cluster or Batch compute environment. Repeatable."
    ),
]
Namespaces = Annotated[
    list[str],
    typer.Option("--namespace", metavar="NAME", help="Only this namespace of EKS or job queue of Batch. Repeatable."),
]
Workloads = Annotated[
    list[str],
    typer.Option(
        "--workload",
        metavar="NAME",
        help="Only this workload of EKS, service of ECS or job definition of Batch. Repeatable.",
    ),
]
Pods = Annotated[
    list[str], typer.Option("--pod", metavar="NAME", help="Only this pod of EKS or task of ECS. Repeatable.")
]
Parents = Annotated[
    list[str], typer.Option("--parent", metavar="ID", help="Only containers on this instance. Repeatable.")
]
Without = Annotated[
    list[str],
    typer.Option(
        "--without",
        metavar="PRESET,…",
        help="Leave out tax, credit, refund: together or one by one. Refunds of taxes are both.",
    ),
]
AsOf = Annotated[
    datetime | None,
    typer.Option(
        "--as-of",
        parser=read_moment,
        metavar="MOMENT",
        help="Costs as they were then: a date (its beginning, UTC) or an instant such as 2026-05-03T10:00Z.",
    ),
]
CostLimit = Annotated[
    int, typer.Option("--limit", min=1, max=MAX_LIMIT, help="At most this many rows, the largest first.")
]
EPILOG = (
    "Examples:\n\n"
    "- `billfold costs` (services by month)\n\n"
    "- `billfold costs --by account,day --month 2026-05`\n\n"
    "- `billfold costs --by owner,month --since 2026-01 --metric effective --without tax,credit,refund --csv`\n\n"
    "- `billfold costs --by tag:team,category --tag env=prod --tag env= --json` (production and untagged)\n\n"
    "- `billfold costs --by invoice --service AmazonEC2 --month 2026-05`\n\n"
    "- `billfold costs --by iam-principal --service AmazonBedrock --month 2026-05` (who called)\n\n"
    "- `billfold costs --by tag:accountTag/department --tag iamPrincipal/team=ml` (AWS's other tags)\n\n"
    "- `billfold costs --split --by cluster,namespace,month` (containers in place of instances)\n\n"
    "- `billfold costs --month 2026-05 --as-of 2026-06-10` (the bill of May as it was on 10 June, 00:00 UTC)\n\n"
    "Values of one filter are alternatives, several filters must all hold, and an empty value means none:"
    " `--owner ''` shows accounts without an owner. In a key, write `\\,` for a comma in `--by` and `\\=` for an"
    " equals sign in `--tag` and `--cost-category`."
)
