"""Bills on which filters can go wrong, random filters, and how each door is asked with them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random

from billfold.period import BillingPeriod, parse_period
from billfold.selection import ChargeCategory, CostColumn, KeyColumn, MapColumn, Metric, Preset, Selection, format_pair
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, write_bill, write_object
from tests.bills.split_bills import CLUSTER, instance, pod, task

MONTHS = ("2026-06", "2026-07")
# One code has several names, one name several codes, and one name is the code of another service.
SERVICES = (
    ("AmazonEC2", 'Compute, "elastic" 100%'),
    ("AmazonEC2", "Amazon Elastic Compute Cloud"),
    ("AmazonEC2", ""),
    ("AmazonVPC", "Amazon Elastic Compute Cloud"),
    ("AmazonS3", "AmazonEC2"),
    ("AWS%_Config", "100%_done"),
    ("", "Zo\u00eb\u2019s \u670d\u52a1"),
    ("", ""),
    ("Padded", " padded "),
)
ACCOUNTS = ("", "444455556666", "777788889999", "123412341234")
OWNED = {"444455556666": "Team, \u00c4", "777788889999": 'say "x"', "111122223333": "payer's 100%"}
REGIONS = ("", "eu-west-1", "us-east-1", "a,b%")
VALUES = ("", "red", "a,b", 'say "x"', "50%", "Zo\u00eb", " red", "a=b", "(x)")
TAG, CATEGORY = "cost=center, \u00e9", "Unit"
CALLERS = ("", "arn:aws:iam::444455556666:user/al,ice", "arn:aws:sts::1:assumed-role/50%/\u00e9")
USERS = ("", "9067-4a1c", "9067,4a1c")
CLIENTS = ("acme", "globex")
_PAYER = "111122223333"

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question that every door understands."""

    group: CostColumn | KeyColumn
    metric: Metric
    client: str | None
    export: str | None
    since: BillingPeriod
    until: BillingPeriod
    selection: Selection
    is_split: bool


def land_filtered_bills(landing: Landing, *, seed: int, row_count: int = 200) -> list[Row]:
    """Land two clients' FOCUS bills of two months, and a third client's with split costs; the FOCUS rows.

    The clients are charged up to different days of July.
    """
    random = Random(seed)
    rows: list[Row] = []
    for client, last_day in zip(CLIENTS, (24, 11), strict=True):
        theirs = replace(landing, root=landing.root / client).with_client(client_id=client, prefix=f"{client}/")
        for month in MONTHS:
            found = [_make_row(random, month, number, last_day) for number in range(row_count)]
            headers = dict.fromkeys(name for row in found for name in row)
            name = f"{client}-focus.csv.gz"
            path = write_object(theirs.root / month, name, gzip.compress(as_csv(found, headers), mtime=0))
            [outcome] = theirs.ingest_all(path)
            assert outcome.exit_error is None, outcome.exit_error
            rows += [{**row, "client": client, "month": month} for row in found]
    split = replace(landing, root=landing.root / "split").with_client(client_id="initech", prefix="initech/")
    for month, share in zip(MONTHS, ("0.5", "0.75"), strict=True):
        outcome = split.ingest(write_bill(split.root, _list_split(month, share), period=month))
        assert outcome.exit_error is None, outcome.exit_error
    for client in CLIENTS:
        for account, owner in OWNED.items():
            landing.execute(
                "INSERT INTO billing_account_owners (client_id, account_id, owner) VALUES (%s, %s, %s)",
                *(client, account, owner),
            )
    return rows


def random_question(random: Random, exports: Sequence[str]) -> Asked:
    """A question with each filter now and then, and each grouping of the page."""
    is_split = random.random() < 0.2
    since, until = sorted(random.choices(MONTHS, k=2))
    groups = [
        *(CostColumn.SERVICE,) * 4,
        *(CostColumn.ACCOUNT, CostColumn.OWNER, CostColumn.REGION, CostColumn.CATEGORY),
        *(CostColumn.IAM_PRINCIPAL, CostColumn.USER_IDENTIFIER),
        KeyColumn(column=MapColumn.TAG, key=TAG),
        KeyColumn(column=MapColumn.COST_CATEGORY, key=CATEGORY),
        *((CostColumn.CLUSTER, CostColumn.WORKLOAD, CostColumn.POD, CostColumn.PARENT) * 2 if is_split else ()),
    ]
    names = sorted({name for pair in SERVICES for name in pair if name} | {"Other", "nothing", ""})

    def some(values: Sequence[str], chance: float = 0.25) -> list[str]:
        return random.sample(list(values), k=random.randint(1, 2)) if random.random() < chance else []

    selection = Selection(
        services=some(names, 0.6),
        accounts=some((*ACCOUNTS, _PAYER)),
        owners=some((*OWNED.values(), "")),
        regions=some(REGIONS),
        categories=[ChargeCategory(name) for name in some(list(ChargeCategory))],
        tags={TAG: values} if (values := some(VALUES)) else {},
        cost_categories={CATEGORY: values} if (values := some(VALUES)) else {},
        iam_principals=some(CALLERS, 0.15),
        user_identifiers=some(USERS, 0.15),
        clusters=some((CLUSTER, "not allocated", ""), 0.5) if is_split else (),
        without=[Preset(name) for name in some(list(Preset))],
    )
    return Asked(
        group=random.choice(groups),
        metric=Metric.EFFECTIVE if is_split else random.choice(list(Metric)),
        client=random.choice((None, None, *CLIENTS, "initech")),
        export=random.choice(exports) if random.random() < 0.15 else None,
        since=_period(since),
        until=_period(until),
        selection=selection,
        is_split=is_split,
    )


def list_api_fields(asked: Asked) -> list[tuple[str, str]]:
    """The question as the API takes it; '' stands for none."""
    chosen = asked.selection
    texts = {
        "service": chosen.services,
        "account": chosen.accounts,
        "owner": chosen.owners,
        "region": chosen.regions,
        "category": chosen.categories,
        "iam_principal": chosen.iam_principals,
        "user_identifier": chosen.user_identifiers,
        "cluster": chosen.clusters,
        "without": chosen.without,
        "tag": _spell_pairs(chosen.tags),
        "cost_category": _spell_pairs(chosen.cost_categories),
        "client": [asked.client] if asked.client else [],
        "export": [asked.export] if asked.export else [],
        "since": [str(asked.since)],
        "until": [str(asked.until)],
        "metric": [asked.metric],
        "split": ["true"] if asked.is_split else [],
    }
    return [(name, str(value)) for name, values in texts.items() for value in values]


def list_page_fields(asked: Asked) -> list[tuple[str, str]]:
    """The question as an address of a page has it; `(none)` stands for none, and the group has its own fields."""
    fields = [(name, value or "(none)") for name, value in list_api_fields(asked)]
    if isinstance(asked.group, KeyColumn):
        return [*fields, ("group", asked.group.column), ("tag_key", asked.group.key)]
    return [*fields, ("group", asked.group)]


def list_options(asked: Asked) -> list[str]:
    """The question as the command line takes it."""
    options = []
    for name, value in list_api_fields(asked):
        option = f"--{name.replace('_', '-')}"
        options += [option] if name == "split" else [option, value]
    return ["--by", spell_group(asked.group), *options]


def spell_group(group: CostColumn | KeyColumn) -> str:
    return str(group).replace(",", "\\,")


def expect_costs(rows: Sequence[Row], asked: Asked) -> dict[tuple[str, str], Decimal]:
    """What the FOCUS rows cost, by group and currency, read row by row: no split costs, and no export alone."""
    assert not asked.is_split
    sums: dict[tuple[str, str], Decimal] = {}
    for row in rows:
        if not passes(row, asked):
            continue
        values, group = _read_row(row), asked.group
        name = (
            values[f"{group.column}:{group.key}"] if isinstance(group, KeyColumn) else values[group.replace("-", "_")]
        )
        place = (name, row["BillingCurrency"])
        sums[place] = sums.get(place, Decimal(0)) + Decimal(row[f"{asked.metric.capitalize()}Cost"])
    return {place: amount for place, amount in sums.items() if amount}


def _read_row(row: Row) -> dict[str, str]:
    account = row["SubAccountId"] or _PAYER
    return {
        "service": row["ServiceName"] or row["x_ServiceCode"] or "Other",
        "account": account,
        "owner": OWNED.get(account, ""),
        "region": row["RegionId"],
        "category": row["ChargeCategory"],
        "iam_principal": row["x_IamPrincipal"],
        "user_identifier": row["x_UserIdentifier"],
        f"{MapColumn.TAG}:{TAG}": json.loads(row["Tags"]).get(TAG, ""),
        f"{MapColumn.COST_CATEGORY}:{CATEGORY}": json.loads(row["x_CostCategories"]).get(CATEGORY, ""),
    }


def passes(row: Row, asked: Asked) -> bool:
    """Whether a FOCUS row passes the client, the months and the filters of the question."""
    values, chosen = _read_row(row), asked.selection
    is_refund = row["ChargeClass"] == "Correction" and row["ChargeCategory"] != "Credit"
    left_out = {Preset.TAX: values["category"] == "Tax", Preset.CREDIT: values["category"] == "Credit"}
    wanted = {
        "account": chosen.accounts,
        "owner": chosen.owners,
        "region": chosen.regions,
        "category": chosen.categories,
        "iam_principal": chosen.iam_principals,
        "user_identifier": chosen.user_identifiers,
        f"{MapColumn.TAG}:{TAG}": chosen.tags.get(TAG, ()),
        f"{MapColumn.COST_CATEGORY}:{CATEGORY}": chosen.cost_categories.get(CATEGORY, ()),
    }
    return (
        asked.client in (None, row["client"])
        and str(asked.since) <= row["month"] <= str(asked.until)
        and (not chosen.services or bool({values["service"], row["x_ServiceCode"] or None} & {*chosen.services}))
        and all(values[name] in accepted for name, accepted in wanted.items() if accepted)
        and not any({**left_out, Preset.REFUND: is_refund}[preset] for preset in chosen.without)
    )


def _make_row(random: Random, month: str, number: int, last_day: int) -> dict[str, str]:
    code, name = random.choice(SERVICES)
    category = random.choices([*ChargeCategory], weights=[6, 2, 1, 1, 1])[0]
    amounts = [
        f"{random.choice(('', '', '', '-'))}{random.randint(0, 900)}.{random.randint(0, 10**12)}" for _ in range(4)
    ]
    day = random.randint(1, last_day if month == MONTHS[-1] else 28)
    following = MONTHS[MONTHS.index(month) + 1] if month != MONTHS[-1] else "2026-08"
    return {
        **dict(zip(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), amounts, strict=True)),
        "BillingCurrency": random.choices(("USD", "EUR", "JPY"), weights=[8, 2, 1])[0],
        "BillingAccountId": _PAYER,
        "SubAccountId": (account := random.choice(ACCOUNTS)),
        "SubAccountName": "named" if account or number % 3 else "",
        "BillingPeriodStart": f"{month}-01T00:00:00Z",
        "BillingPeriodEnd": f"{following}-01T00:00:00Z",
        "ChargePeriodStart": f"{month}-{day:02d}T00:00:00Z",
        "ChargePeriodEnd": f"{month}-{day:02d}T01:00:00Z",
        "ChargeCategory": category,
        "ChargeClass": random.choice(("", "", "Correction")),
        "ChargeFrequency": random.choice(("Usage-Based", "Recurring", "One-Time")),
        "ChargeDescription": f"row {number}",
        "ProviderName": "AWS",
        "ServiceName": name,
        "x_ServiceCode": code,
        "RegionId": random.choice(REGIONS),
        "Tags": _spell_map(TAG, random.choice(VALUES)),
        "x_CostCategories": _spell_map(CATEGORY, random.choice(VALUES)),
        "x_IamPrincipal": random.choice(CALLERS),
        "x_UserIdentifier": random.choice(USERS),
    }


def _list_split(month: str, share: str) -> list[dict[str, str]]:
    of_month = {
        "bill_billing_period_start_date": f"{month}-01T00:00:00.000Z",
        "line_item_usage_start_date": f"{month}-03T04:00:00.000Z",
        "line_item_usage_end_date": f"{month}-03T05:00:00.000Z",
    }
    return [
        {**item, **of_month}
        for item in (
            instance("1.0000000000000000007"),
            pod("web", share, "0.2"),
            pod("jobs", "0.25"),
            instance("2", resource_id="i-0eeeeffff00001111", product_product_name="Compute, too"),
            task("api", "0.5", "0.25", parent="i-0eeeeffff00001111"),
            instance("4", resource_id="i-0999988887777666", line_item_currency_code="EUR"),
        )
    ]


def _spell_map(key: str, value: str) -> str:
    return json.dumps({key: value, "other": "x"} if value else {"other": "x"})


def _spell_pairs(pairs: Mapping[str, Sequence[str]]) -> list[str]:
    return [format_pair(key, value) for key, values in pairs.items() for value in values]


def _period(month: str) -> BillingPeriod:
    period = parse_period(month)
    assert period
    return period
