"""Costs with workloads in place of their parents: the same totals, by cluster, namespace, workload and pod."""

from __future__ import annotations

import csv
import html
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from billfold.cli import main
from billfold.documents import costs_document
from billfold.errors import UsageError
from billfold.period import parse_period
from billfold.reports.costs import sum_costs
from billfold.reports.spending import Question, list_charges, report_spending
from billfold.selection import NOT_ALLOCATED, SPLIT_COLUMNS, CostColumn, KeyColumn, MapColumn, Metric, Selection
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, line_item, write_bill
from tests.bills.split_bills import CLUSTER, INSTANCE, NAMESPACE, instance, job, pod, task
from tests.processes.web_server import WebServer, run_web_server

OTHER, ALONE = "i-0eeeeffff00001111", "i-0999988887777666"
APP = KeyColumn(column=MapColumn.TAG, key="app")
CATEGORY = KeyColumn(column=MapColumn.COST_CATEGORY, key="unit")
COLUMNS = [*(column for column in CostColumn if column is not CostColumn.INVOICE), APP, CATEGORY]
SHOP = Selection(clusters=[CLUSTER])
NOWHERE = {"line_item_usage_account_id": "777788889999"}


def list_items(month: str, share: str) -> list[dict[str, str]]:
    """Three instances: one of pods, one of a task and a job, one of nothing; and a disk."""
    items = [
        instance("1.0000000000000000007", product_region_code="us-east-1"),
        pod("web", share, "0.2"),
        pod("jobs", "0.25", "0.0000000000000000001"),
        instance(
            "2",
            "SavingsPlanCoveredUsage",
            OTHER,
            savings_plan_savings_plan_a_r_n=PLAN,
            savings_plan_savings_plan_effective_cost="1.5",
        ),
        line_item("SavingsPlanNegation", "-2", savings_plan_savings_plan_a_r_n=PLAN),
        task("api", "0.5", "0.25", parent=OTHER),
        job("report", "0.75", parent=OTHER),
        instance("4", resource_id=ALONE, **NOWHERE),
        pod("lost", "3", parent="i-0123"),
        instance("0.5", line_item_currency_code="EUR", resource_tags='{"user_app":"host"}'),
        pod("web", "0.75", line_item_currency_code="EUR"),
        line_item(cost="8", line_item_resource_id="vol-0123"),
    ]
    day = {name: f"{month}-{place}T00:00:00.000Z" for name, place in START_AND_END.items()}
    return [{**item, "bill_billing_period_start_date": f"{month}-01T00:00:00.000Z", **day} for item in items]


START_AND_END = {"line_item_usage_start_date": "03", "line_item_usage_end_date": "04"}


@pytest.fixture(scope="module")
def bills(shared_landing: Landing) -> Landing:
    """April and May; no test changes them. May was delivered twice, the second time with another share."""
    write_bill(shared_landing.root, list_items("2026-04", "0.5"), period="2026-04")
    write_bill(shared_landing.root, list_items("2026-05", "0.25"))
    shared_landing.ingest_all()
    write_bill(shared_landing.root, list_items("2026-05", "0.5"), revision=2)
    shared_landing.ingest_all()
    return shared_landing


@pytest.fixture(scope="module")
def server(bills: Landing) -> Iterator[WebServer]:
    with run_web_server(bills.settings, bills.database) as server:
        yield server


def costs(landing: Landing, *columns: CostColumn | KeyColumn, **wanted: Any) -> dict[str, str]:
    """What May costs in dollars, by group."""
    report = sum_costs(landing.database, columns=columns, month=parse_period("2026-05"), **wanted)
    return {" ".join(row.group): format(row.amount.normalize(), "f") for row in report.rows if row.currency == "USD"}


def test_containers_stand_in_for_their_instances(bills: Landing) -> None:
    pods = costs(bills, CostColumn.POD)

    assert pods == {
        "": "12",
        "web": "0.7",
        "jobs": "0.2500000000000000001",
        "api": "0.75",
        "report": "0.75",
        NOT_ALLOCATED: "0.0500000000000000006",
    }
    assert costs(bills, CostColumn.PARENT) == {"": "12", INSTANCE: "1.0000000000000000007", OTHER: "1.5"}


def test_ecs_and_batch_stand_under_the_names_of_eks(bills: Landing) -> None:
    found = costs(bills, CostColumn.CLUSTER, CostColumn.NAMESPACE, CostColumn.WORKLOAD, CostColumn.POD)

    assert found == {
        "   ": "12",
        f"{CLUSTER} {NAMESPACE} web web": "0.7",
        f"{CLUSTER} {NAMESPACE} jobs jobs": "0.2500000000000000001",
        f"{CLUSTER}  api-service api": "0.75",
        "spot night report:3 report": "0.75",
        " ".join([NOT_ALLOCATED] * 4): "0.0500000000000000006",
    }


@pytest.mark.parametrize(
    ("selection", "cost"),
    [
        (SHOP, "1.7000000000000000001"),
        (Selection(clusters=[CLUSTER, "spot"]), "2.4500000000000000001"),
        (Selection(clusters=[NOT_ALLOCATED]), "0.0500000000000000006"),
        (Selection(clusters=[""]), "12"),
        (Selection(namespaces=[NAMESPACE]), "0.9500000000000000001"),
        (Selection(workloads=["api-service", "report:3"]), "1.5"),
        (Selection(pods=["web"]), "0.7"),
        (Selection(parents=[OTHER]), "1.5"),
        (Selection(parents=[OTHER], clusters=["spot"]), "0.75"),
        (Selection(services=["AmazonEKS"], tags={"app": ["web"]}), "0.7"),
        (Selection(clusters=["elsewhere"]), None),
    ],
    ids=str,
)
def test_a_filter_lets_through_what_it_names(bills: Landing, selection: Selection, cost: str | None) -> None:
    found = costs(bills, CostColumn.MONTH, selection=selection, split=True)

    assert found.get("2026-05") == cost


def test_labels_of_pods_and_services_have_their_costs(bills: Landing) -> None:
    assert costs(bills, APP, split=True, selection=SHOP) == {
        "web": "0.7",
        "jobs": "0.2500000000000000001",
        "": "0.75",
    }
    assert costs(bills, CostColumn.SERVICE, split=True)["AmazonEKS"] == "0.9500000000000000001"


@pytest.mark.at_length
@given(columns=st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=5, unique=True), is_past=st.booleans())
@hypothesis_settings(
    max_examples=rounds(15, in_soak=40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_grouping_has_the_totals_of_the_bill(
    bills: Landing, columns: Sequence[CostColumn | KeyColumn], is_past: bool
) -> None:
    moment = bills.published_at()[-2 if is_past else -1]

    plain = sum_costs(bills.database, metric=Metric.EFFECTIVE, as_of=moment)
    split = sum_costs(bills.database, columns=columns, split=True, as_of=moment)

    assert split.totals == plain.totals
    for currency in ("USD", "EUR"):
        assert sum(row.amount for row in split.rows if row.currency == currency) == sum(
            total.amount for total in plain.totals if total.currency == currency
        )


@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_the_past_of_a_split_is_what_the_report_said_then(bills: Landing, column: CostColumn | KeyColumn) -> None:
    now = sum_costs(bills.database, columns=[column, CostColumn.DAY], split=True)
    then = sum_costs(bills.database, columns=[column, CostColumn.DAY], split=True, as_of=bills.published_at()[-1])
    before = sum_costs(bills.database, columns=[CostColumn.POD, CostColumn.MONTH], as_of=bills.published_at()[-2])

    assert replace(then, as_of=None) == now
    assert {row.group: row.amount for row in before.rows}.get(("web", "2026-05")) == Decimal("0.45")


@pytest.mark.parametrize("metric", [metric for metric in Metric if metric is not Metric.EFFECTIVE])
@pytest.mark.parametrize(
    "wanted", [{"split": True}, {"columns": [CostColumn.POD]}, {"selection": SHOP}], ids=["split", "column", "filter"]
)
def test_only_effective_costs_are_split(bills: Landing, metric: Metric, wanted: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"no {metric} cost"):
        sum_costs(bills.database, metric=metric, **wanted)


def test_invoices_are_not_split(bills: Landing) -> None:
    with pytest.raises(UsageError, match="have no invoice"):
        sum_costs(bills.database, columns=[CostColumn.INVOICE], split=True)


@pytest.mark.parametrize("column", SPLIT_COLUMNS, ids=str)
def test_a_column_of_containers_implies_the_split(bills: Landing, column: CostColumn) -> None:
    report = sum_costs(bills.database, columns=[column])

    assert report == sum_costs(bills.database, columns=[column], split=True)
    assert (report.is_split, report.metric) == (True, Metric.EFFECTIVE)
    assert costs_document(report)["split"] is True


def test_the_command_shows_containers_at_eighty_columns(
    bills: Landing, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("DATABASE_URL", bills.database.conninfo)
    environment.setenv("COLUMNS", "80")
    capsys.readouterr()

    assert main(["costs", "--split", "--by", "cluster,workload,month"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines)) <= 80
    assert any(line.split()[:2] == [CLUSTER, "api-service"] for line in lines)
    assert any(line.split()[:4] == ["not", "allocated", "not", "allocated"] for line in lines)
    assert main(["costs", "--by", "pod", "--cluster", CLUSTER, "--month", "2026-05", "--csv"]) == 0
    assert ["jobs", "USD", "0.2500000000000000001"] in list(csv.reader(capsys.readouterr().out.splitlines()))
    assert main(["costs", "--split", "--metric", "billed"]) == 2
    assert "split costs have no billed cost" in capsys.readouterr().err


def test_the_api_answers_with_containers(server: WebServer) -> None:
    status, document = server.ask("GET", "/v1/costs?split=true&by=cluster&month=2026-05&cluster=spot")
    plain = server.ask("GET", "/v1/costs?by=month")[1]
    refused = server.ask("GET", "/v1/costs?by=pod&metric=list")

    assert (status, document["metric"], document["split"]) == (200, "effective", True)
    assert document["costs"] == [{"cluster": "spot", "currency": "USD", "cost": "0.75"}]
    assert (plain["metric"], plain["split"]) == ("billed", False)
    assert refused[0] == 400


def read(server: WebServer, *addresses: str) -> list[str]:
    """The pages as text, with addresses as a browser follows them."""
    answers = [server.send("GET", address) for address in addresses]
    assert {answer.status for answer in answers} == {200}
    return [html.unescape(answer.body.decode()) for answer in answers]


def test_the_page_offers_the_split_and_its_groups(server: WebServer) -> None:
    plain, split, pods = read(
        server, "/costs?since=2026-05&until=2026-05", "/costs?split=true", "/costs.csv?group=pod&since=2026-05"
    )

    assert "/costs?split=true&since=2026-05&until=2026-05" in plain
    assert "group=cluster" not in plain
    assert "Effective cost split by workload" in split
    assert "/costs?group=cluster&split=true" in split
    assert "/costs?metric=list" in split
    assert "web,USD,0.7," in pods


def test_a_click_goes_from_clusters_to_namespaces_workloads_and_pods(server: WebServer) -> None:
    clusters, namespaces, rest = read(
        server,
        "/costs?group=cluster",
        f"/costs?group=workload&cluster={CLUSTER}&namespace={NAMESPACE}",
        "/costs?group=cluster&since=2026-05&until=2026-05",
    )

    assert f"/costs?group=namespace&split=true&cluster={CLUSTER}" in clusters
    assert f"/costs?group=pod&split=true&cluster={CLUSTER}&namespace={NAMESPACE}&workload=web" in namespaces
    # What is not split is looked into by service.
    assert "/costs?split=true&since=2026-05&until=2026-05&cluster=(none)" in unquote(rest)
    assert "/costs?split=true&since=2026-05&until=2026-05&cluster=not+allocated" in rest


def test_the_charges_of_an_instance_lead_to_its_workloads(bills: Landing, server: WebServer) -> None:
    may = parse_period("2026-05")
    assert may
    charges = list_charges(bills.database, Question(), may).rows

    [page] = read(server, "/costs/charges?until=2026-05")

    assert {row.resource for row in charges if row.is_split} == {INSTANCE, OTHER}
    address = f"/costs?group=workload&split=true&since=2026-05&until=2026-05&parent={INSTANCE}"
    assert address in page
    assert f"parent={ALONE}" not in page
    [workloads] = read(server, address)
    assert "jobs" in workloads
    assert "api-service" not in workloads


@pytest.mark.parametrize("group", [*SPLIT_COLUMNS, CostColumn.SERVICE, APP], ids=str)
def test_the_sums_of_the_page_are_those_of_the_report(bills: Landing, group: CostColumn | KeyColumn) -> None:
    question = Question(group=group, metric=Metric.EFFECTIVE, is_split=True, until=parse_period("2026-05"))
    plain = Question(metric=Metric.EFFECTIVE, until=parse_period("2026-05"))

    spending = report_spending(bills.database, question).currencies
    unsplit = report_spending(bills.database, plain).currencies

    assert [each.total for each in spending] == [each.total for each in unsplit]
    assert [each.pace for each in spending] == [each.pace for each in unsplit]
    for each in spending:
        assert sum(sum(series.amounts) for series in each.series) == each.total.amount
        assert each.savings is None


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("/costs?split=yes", "split must be one of true, false"),
        ("/costs?group=pod&metric=list", "split costs have no list cost"),
        ("/costs/charges?until=2026-05&split=true", "charges cannot be split by workload"),
    ],
)
def test_an_address_that_asks_for_what_cannot_be_says_so(server: WebServer, address: str, complaint: str) -> None:
    answer = server.send("GET", address)

    assert answer.status == 400
    assert complaint in answer.body.decode()


def test_a_bill_without_containers_offers_no_split(landing: Landing) -> None:
    write_bill(landing.root, [instance("1")])
    landing.ingest()

    with run_web_server(landing.settings, landing.database) as server:
        [page] = read(server, "/costs")

    assert "Split by workload" not in page
    assert sum_costs(landing.database, split=True).rows[0].amount == 1
