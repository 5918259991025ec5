"""Grafana's dashboards: every metric that they name is told by a server, and every query runs as the reader."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from psycopg.rows import dict_row

from billfold.clients.owners import set_owner
from billfold.reports.costs import sum_costs
from billfold.store.database import Database
from billfold.web.metrics import FAMILIES
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.processes.web_server import run_web_server
from tests.services import CopyDatabase

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (FOLDER / "dashboards").iterdir()}
KINDS = {"row", "stat", "timeseries", "table"}
# What Grafana puts in where these stand: the chosen time, and what is chosen above.
FROM = "2026-04-01T00:00:00Z"
TO = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
CHOSEN = {"client": "'acme','globex'", "month": "'2026-05'", "currency": "'USD'", "metric": "'billed'"}


def panels_of(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, those of folded rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def targets(kind: str) -> list[Any]:
    """Every query of a kind of source: dashboard, panel and target."""
    return [
        pytest.param(name, panel, target, id=f"{name}-{panel['title']}-{target['refId']}")
        for name, dashboard in DASHBOARDS.items()
        for panel in panels_of(dashboard)
        for target in panel.get("targets", ())
        if kind in target["datasource"]["type"]
    ]


def query_variables(kind: str) -> dict[str, str]:
    return {
        f"{name} {variable['name']}": variable["definition"]
        for name, dashboard in DASHBOARDS.items()
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query" and kind in variable["datasource"]["type"]
    }


def as_grafana_sends(query: str, **chosen: str) -> str:
    """The query with Grafana's macros and variables replaced, as its PostgreSQL source replaces them."""
    query = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN '{FROM}' AND '{TO}'", query)
    query = re.sub(r"\$__timeGroup\(([^,)]*), *'1d'\)", r"floor(extract(epoch from \1)/86400)*86400", query)
    query = re.sub(r"\$\{(\w+):sqlstring\}", lambda mark: (CHOSEN | chosen)[mark[1]], query)
    assert "$" not in query, "a macro or a variable that Grafana would leave as it is"
    return query


@pytest.fixture(scope="module")
def landed_once(shared_landing: Landing) -> Landing:
    """Two clients and two currencies, tags, an owner, a failed delivery and a held one."""
    usage = {"resource_tags": '{"user_team": "payments"}', "line_item_resource_id": "i-1"}
    write_bill(shared_landing.root, described("100", "20", "30", **usage))
    shared_landing.ingest()
    write_bill(shared_landing.root, described("1"), revision=2)
    shared_landing.ingest()
    broken = write_bill(shared_landing.root, described("2"), export_path="exports/broken")
    for data in broken.parents[2].glob("data/**/*.csv*"):
        data.write_text("not,a\nbill,at all\n")
    shared_landing.ingest(broken)
    other = Landing.make(
        shared_landing.database, shared_landing.settings, shared_landing.root.parent / "other", "globex"
    )
    write_bill(other.root, [*described("7", line_item_currency_code="EUR"), *described("0.5")])
    other.ingest()
    return shared_landing


@pytest.fixture
def landed(landed_once: Landing, copy_database: CopyDatabase) -> Landing:
    """What a test does to it is its own."""
    return replace(landed_once, database=copy_database(landed_once.database))


def read(database: Database, query: str) -> list[dict[str, Any]]:
    """The rows as the reader gets them."""
    assert database.reader_conninfo
    with (
        psycopg.connect(database.reader_conninfo, autocommit=True, row_factory=dict_row) as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION READ ONLY")
        return connection.execute(query.encode()).fetchall()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_one_that_grafana_takes(name: str) -> None:
    dashboard = DASHBOARDS[name]
    panels = list(panels_of(dashboard))
    sources = provisioned_sources()

    assert dashboard["uid"] == f"billfold-{name}"
    assert dashboard["schemaVersion"] >= 39
    assert "id" not in dashboard, "an id of another Grafana would overwrite what has it here"
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert {panel["type"] for panel in panels} <= KINDS
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert sources[target["datasource"]["uid"]] == target["datasource"]["type"]
    for variable in dashboard["templating"]["list"]:
        assert variable["type"] == "custom" or sources[variable["datasource"]["uid"]] == variable["datasource"]["type"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_no_panel_lies_on_another(name: str) -> None:
    for panels in (DASHBOARDS[name]["panels"], *(panel.get("panels", []) for panel in DASHBOARDS[name]["panels"])):
        taken: dict[tuple[int, int], str] = {}
        for panel in panels:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken.keys(), panel["title"]
            taken |= dict.fromkeys(cells, panel["title"])


def test_the_links_lead_to_the_other_dashboard() -> None:
    for dashboard in DASHBOARDS.values():
        for link in dashboard["links"]:
            assert link["url"].removeprefix("/d/") in {each["uid"] for each in DASHBOARDS.values()}


def test_every_variable_of_the_provisioning_is_documented() -> None:
    used = {
        name
        for path in (FOLDER / "provisioning").rglob("*.yaml")
        for name in re.findall(r"\$(\w+)", path.read_text(encoding="utf-8"))
    }

    document = (FOLDER.parents[1] / "docs" / "grafana.md").read_text(encoding="utf-8")

    assert used == set(re.findall(r"^\| `(GRAFANA_\w+)`", document, re.MULTILINE))


def provisioned_sources() -> dict[str, str]:
    """The type of each source by its uid."""
    text = (FOLDER / "provisioning" / "datasources" / "billfold.yaml").read_text(encoding="utf-8")
    return {source["uid"]: source["type"] for source in yaml.safe_load(text)["datasources"]}


def test_every_metric_that_is_asked_for_is_told_by_a_server(landed: Landing) -> None:
    landed.execute("UPDATE billing_clients SET bucket = 'b'")
    with run_web_server(landed.settings, landed.database) as server:
        body = server.send("GET", "/metrics").body.decode()
    told = {family.name: family for family in text_string_to_metric_families(body)}
    labels = {
        family.full_name + ending: {*family.labels, "instance"} | ({"le"} if ending == "_bucket" else set())
        for family in FAMILIES
        for ending in {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.kind, ("",))
    }
    expressions = [parameters.values[2]["expr"] for parameters in targets("prometheus")]
    expressions += query_variables("prometheus").values()

    assert len(expressions) > 20
    for expression in expressions:
        metrics = re.findall(r"billfold_\w+", expression)
        assert metrics
        for metric in metrics:
            assert metric in labels, metric
            assert re.sub(r"_(total|bucket|sum|count)$", "", metric) in told, metric
        known = set().union(*(labels[metric] for metric in metrics))
        asked = {
            *re.findall(r"(\w+)(?:=~|!=|=)\"", expression),
            *re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|on) \(([^)]*)\)", expression))),
        }
        assert asked <= known, expression
        assert expression.count("(") == expression.count(")")


def test_every_label_that_a_panel_names_is_one_of_its_series() -> None:
    for parameters in targets("prometheus"):
        _, _, target = parameters.values
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", target["expr"]))))
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert named <= (kept or {"client"}), target["expr"]


@pytest.mark.parametrize("metric", ["billed", "effective", "list", "contracted"])
def test_every_query_runs_as_the_reader_and_finds_something(landed: Landing, metric: str) -> None:
    set_owner(landed.database, landed.settings, "acme", "444455556666", owner="payments", account_name=None)
    for parameters in targets("postgres"):
        name, panel, target = parameters.values
        rows = read(landed.database, as_grafana_sends(target["rawSql"], metric=f"'{metric}'"))
        assert rows, f"{name}: {panel['title']}"
        if target["format"] == "time_series":
            assert set(rows[0]) == {"time", "metric", "value"}
            assert all(row["time"] is not None and isinstance(row["metric"], str) for row in rows)
        if panel["type"] == "stat":
            assert len(rows) == 1


def test_every_choice_is_found(landed: Landing) -> None:
    found = {
        name: [value for row in read(landed.database, query) for value in row.values()]
        for name, query in query_variables("postgres").items()
    }

    assert found == {
        "costs client": ["acme", "globex"],
        "costs month": ["2026-05"],
        "costs currency": ["EUR", "USD"],
    }


def test_no_query_adds_currencies_and_the_sums_are_those_of_the_reports(landed: Landing) -> None:
    expected = {total.currency: total.amount for total in sum_costs(landed.database).totals}
    by_title = {parameters.values[1]["title"]: parameters.values[2]["rawSql"] for parameters in targets("postgres")}
    of_costs = [parameters.values for parameters in targets("postgres") if parameters.values[0] == "costs"]

    for currency, cost in expected.items():
        assert read(landed.database, as_grafana_sends(by_title["The month"], currency=f"'{currency}'")) == [
            {"cost": cost}
        ]
    every = read(landed.database, as_grafana_sends(by_title["All currencies"]))
    assert {(row["client"], row["currency"]): row["billed"] for row in every} == {
        ("acme", "USD"): Decimal(150),
        ("globex", "EUR"): Decimal(7),
        ("globex", "USD"): Decimal("0.5"),
    }
    for _, panel, target in of_costs:
        chosen = re.search(r"(?:billing_currency|\"BillingCurrency\") = \$\{currency:sqlstring\}", target["rawSql"])
        assert chosen or panel["title"] == "All currencies"
