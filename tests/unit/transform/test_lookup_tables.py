"""The mapping's own tables as files: what an analyst who edits them must keep."""

from __future__ import annotations

import csv
import re
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

ALLOWED = {
    "AI and Machine Learning": "AI Platforms|Bots|Generative AI|Machine Learning|Natural Language Processing",
    "Analytics": "Analytics Platforms|Business Intelligence|Data Processing|Search|Streaming Analytics",
    "Business Applications": "Productivity and Collaboration",
    "Compute": "Containers|End User Computing|Quantum Compute|Serverless Compute|Virtual Machines",
    "Databases": "Caching|Data Warehouses|Ledger Databases|NoSQL Databases|Relational Databases|Time Series Databases",
    "Developer Tools": "Developer Platforms|Continuous Integration and Deployment|Development Environments"
    "|Source Code Management|Quality Assurance",
    "Identity": "Identity and Access Management",
    "Integration": "API Management|Messaging|Workflow Orchestration",
    "Internet of Things": "IoT Analytics|IoT Platforms",
    "Management and Governance": "Architecture|Compliance|Cost Management|Data Governance|Disaster Recovery"
    "|Endpoint Management|Observability|Support",
    "Media": "Content Creation|Gaming|Media Streaming|Mixed Reality",
    "Migration": "Data Migration|Resource Migration",
    "Mobile": "",
    "Multicloud": "Multicloud Integration",
    "Networking": "Application Networking|Content Delivery|Network Connectivity|Network Infrastructure"
    "|Network Routing|Network Security",
    "Security": "Secret Management|Security Posture Management|Threat Detection and Response",
    "Storage": "Backup Storage|Block Storage|File Storage|Object Storage|Storage Platforms",
    "Web": "Application Platforms",
    "Other": "",
}
PAIRS = {
    (category, subcategory)
    for category, known in ALLOWED.items()
    for subcategory in (*filter(None, known.split("|")), f"Other ({category})")
}

# What AWS's own FOCUS rows say of a service.
OBSERVED_SERVICES = {
    "Compute": "AmazonEC2 AWSLambda AmazonStates",
    "Storage": "AmazonS3 AmazonEFS",
    "Networking": "AmazonVPC AWSELB AmazonCloudFront AmazonRoute53 AmazonApiGateway",
    "Databases": "AmazonRDS AmazonDynamoDB",
    "Integration": "AWSQueueService AmazonSNS",
    "Identity": "awskms",
    "Security": "awswaf AWSSecurityHub",
    "Management and Governance": "AmazonCloudWatch AWSCloudTrail AWSSystemsManager",
    "Other": "AmazonECS AmazonEKS AmazonECR",
}

# The units of AWS's own FOCUS rows, under the spellings that CUR has for them.
OBSERVED_UNITS = {
    "Hrs": "Hours",
    "GB-Mo": "GB-Months",
    "GB-Month": "GB-Months",
    "GB": "GB",
    "IOPS-Mo": "IOPS-Months",
    "GiBps-mo": "GiB/Second-Months",
    "LCU-Hrs": "LCU-Hours",
    "vCPU-Hours": "vCPU-Hours",
    "ACU-Hr": "ACU-Hours",
    "WriteCapacityUnit-Hrs": "WriteCapacityUnit-Hours",
    "Lambda-GB-Second": "Lambda-GB-Seconds",
    "Requests": "Requests",
    "API Requests": "API Requests",
    "Events": "Events",
    "Metrics": "Metrics",
    "Alarms": "Alarms",
    "Keys": "Keys",
    "Queries": "Queries",
    "IOs": "IOs",
    "Seconds": "Seconds",
    "Months": "Months",
    "StateTransitions": "StateTransitions",
    "ReadRequestUnits": "ReadRequestUnits",
    "WriteRequestUnits": "WriteRequestUnits",
    "Security Checks": "Security Checks",
}

# FOCUS: `1000 Requests`, `Hours`, `GB-Hours`, `GiB/Second-Months`: the last word is a plural or a unit of data.
WORD = r"(?:vCPU|[A-Z][A-Za-z]*)"
UNIT = re.compile(rf"(?:[1-9][0-9]* )?{WORD}(?:[ /-]{WORD})*")
DATA_UNITS = frozenset("KB MB GB TB PB MiB GiB TiB USD".split())


def read_rows(name: str) -> list[dict[str, str]]:
    text = (resources.files("billfold.transform") / "lookups" / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), strict=True))


def repeated(values: list[str]) -> list[str]:
    return [value for value, count in Counter(value.casefold() for value in values).items() if count > 1]


@pytest.mark.parametrize("name", ["services", "service_rules", "regions", "units"])
def test_every_cell_is_trimmed_and_every_row_complete(name: str) -> None:
    rows = read_rows(name)

    assert rows
    assert all(isinstance(cell, str) and cell == cell.strip() for row in rows for cell in row.values())
    assert all(None not in row for row in rows)


@pytest.mark.parametrize("name", ["services", "service_rules"])
def test_a_category_is_one_of_focus_and_the_parent_of_its_subcategory(name: str) -> None:
    pairs = {(row["service_category"], row["service_subcategory"]) for row in read_rows(name)}

    assert pairs <= PAIRS


def test_the_allowed_categories_are_those_of_focus(shared_reference: Path) -> None:
    with (shared_reference / "focus_columns.csv").open(encoding="utf-8", newline="") as file:
        allowed = {row["column"]: row["allowed_values"].split("|") for row in csv.DictReader(file)}

    assert set(allowed["ServiceCategory"]) == set(ALLOWED)
    assert {tuple(pair.split(" > ")) for pair in allowed["ServiceSubcategory"]} == PAIRS


@pytest.mark.parametrize(
    ("name", "key"), [("services", "service_code"), ("regions", "region_id"), ("units", "unit"), ("regions", "prefix")]
)
def test_no_key_stands_twice_whatever_its_case(name: str, key: str) -> None:
    assert repeated([row[key] for row in read_rows(name) if row[key]]) == []


def test_the_table_of_services_is_long_and_names_each() -> None:
    rows = read_rows("services")

    assert len(rows) >= 250
    assert all(row["service_code"] and row["service_name"] for row in rows)


def test_a_service_seen_in_rows_of_aws_has_the_category_seen_there() -> None:
    expected = {code: category for category, codes in OBSERVED_SERVICES.items() for code in codes.split()}

    rows = read_rows("services")

    assert {row["service_code"]: row["service_category"] for row in rows if row["basis"] == "D"} == expected
    assert {row["basis"] for row in rows} == {"D", "I"}


def test_a_unit_seen_in_rows_of_aws_is_spelled_as_there() -> None:
    rows = read_rows("units")

    assert {row["unit"]: row["focus_unit"] for row in rows}.items() >= OBSERVED_UNITS.items()
    assert {row["focus_unit"] for row in rows if row["basis"] == "D"} == set(OBSERVED_UNITS.values())
    assert {row["basis"] for row in rows} == {"D", "I"}


def test_every_unit_is_written_as_focus_asks() -> None:
    units = {row["focus_unit"] for row in read_rows("units")}

    assert [unit for unit in units if not UNIT.fullmatch(unit)] == []
    last_words = {re.split("[ /-]", unit)[-1] for unit in units}
    assert [word for word in last_words if not word.endswith("s") and word not in DATA_UNITS] == []
    abbreviations = {"Hrs", "Hr", "Mo", "Mos", "Min", "Mins", "Sec", "Secs", "Obj"}
    assert [unit for unit in units if abbreviations.intersection(re.split("[ /-]", unit))] == []


def test_a_unit_of_focus_stays_itself_where_the_table_knows_it() -> None:
    rows = {row["unit"].casefold(): row["focus_unit"] for row in read_rows("units")}

    assert [unit for unit in rows.values() if rows.get(unit.casefold(), unit) != unit] == []


def test_every_region_has_a_name() -> None:
    rows = {row["region_id"]: row for row in read_rows("regions")}

    assert all(row["region_name"] for row in rows.values())
    assert rows["us-east-1"]["prefix"] == "USE1"
    assert rows["eu-central-1"] == {
        "region_id": "eu-central-1",
        "region_name": "Europe (Frankfurt)",
        "prefix": "EUC1",
    }
    assert {"global", "us-gov-west-1", "cn-north-1", "mx-central-1", "us-west-2-lax-1"} <= rows.keys()


def test_a_rule_has_a_condition_besides_the_service() -> None:
    conditions = ("usage_type_like", "product_family_like", "product_name_like")

    rows = read_rows("service_rules")

    assert all(any(row[condition] for condition in conditions) and row["note"] for row in rows)
    codes = {row["service_code"].casefold() for row in read_rows("services")}
    assert {row["service_code"].casefold() for row in rows if row["service_code"]} <= codes
