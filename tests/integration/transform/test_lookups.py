"""The mapping's own tables in DuckDB, found as the mapping finds them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib import resources

import duckdb
import pytest

from billfold.transform.lookups import create_lookups


@pytest.fixture(scope="module")
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"preserve_insertion_order": "false", "threads": "2"}) as connection:
        create_lookups(connection)
        yield connection


def ask(session: duckdb.DuckDBPyConnection, query: str, *values: str | None) -> object:
    found = session.execute(query, values).fetchone()
    return found if found is None or len(found) > 1 else found[0]


def categorise(
    session: duckdb.DuckDBPyConnection, code: str, usage: str | None, family: str | None = None, name: str | None = None
) -> object:
    """The category and subcategory of a row: those of the rule that holds, else those of its service code."""
    return ask(
        session,
        "SELECT coalesce(service_rule.service_category, service_lookup.service_category),"
        " coalesce(service_rule.service_subcategory, service_lookup.service_subcategory)"
        " FROM (SELECT $1 AS code, $2 AS usage_type, $3 AS product_family, $4 AS product_name) AS item"
        " LEFT JOIN service_rule ON service_rule.rule_number"
        " = service_rule_number(item.code, usage_type, product_family, product_name)"
        " LEFT JOIN service_lookup ON service_lookup.code = lower(item.code)",
        code,
        usage,
        family,
        name,
    )


@pytest.mark.parametrize(
    ("table", "file"),
    [
        ("service_lookup", "services"),
        ("service_rule", "service_rules"),
        ("region_lookup", "regions"),
        ("unit_lookup", "units"),
    ],
)
def test_a_table_holds_every_row_of_its_file(session: duckdb.DuckDBPyConnection, table: str, file: str) -> None:
    text = (resources.files("billfold.transform") / "lookups" / f"{file}.csv").read_text(encoding="utf-8")

    assert ask(session, f"SELECT count(*) FROM {table}") == len(list(csv.reader(text.splitlines()))) - 1


def test_rules_are_numbered_as_they_stand_in_the_file(session: duckdb.DuckDBPyConnection) -> None:
    text = (resources.files("billfold.transform") / "lookups" / "service_rules.csv").read_text(encoding="utf-8")
    expected = [
        (number, row["usage_type_like"] or None, row["product_family_like"] or None, row["product_name_like"] or None)
        for number, row in enumerate(csv.DictReader(text.splitlines()), start=1)
    ]

    found = session.execute(
        "SELECT rule_number, usage_type_like, product_family_like, product_name_like FROM service_rule ORDER BY 1"
    ).fetchall()

    assert found == expected


def test_every_column_but_the_number_of_a_rule_is_text(session: duckdb.DuckDBPyConnection) -> None:
    found = session.execute(
        "SELECT DISTINCT data_type FROM duckdb_columns() WHERE table_name IN"
        " ('service_lookup', 'service_rule', 'region_lookup', 'unit_lookup') AND column_name <> 'rule_number'"
    ).fetchall()

    assert found == [("VARCHAR",)]


def test_tables_may_be_made_anew_in_the_same_session(session: duckdb.DuckDBPyConnection) -> None:
    create_lookups(session)

    assert ask(session, "SELECT count(*) FROM service_lookup WHERE code = 'awskms'") == 1
    assert ask(session, "SELECT region_name FROM region_lookup WHERE region_id = 'global'") == "Global"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ("EBS:VolumeUsage.gp3", ("Storage", "Block Storage")),
        ("USE2-EBS:VolumeUsage", ("Storage", "Block Storage")),
        ("EUC1-EBS:VolumeIOUsage", ("Storage", "Block Storage")),
        ("USW2-EBS:VolumeP-IOPS.piops", ("Storage", "Block Storage")),
        ("USW2-EBS:VolumeP-Throughput.gp3", ("Storage", "Block Storage")),
        ("EBS:SomethingNew", ("Storage", "Block Storage")),
        ("EUC1-EBS:SnapshotUsage", ("Storage", "Backup Storage")),
        ("EBS:SnapshotArchiveStorage", ("Storage", "Backup Storage")),
        ("EBS:FastSnapshotRestore", ("Storage", "Backup Storage")),
        ("EBS:directAPI.snapshot.Get", ("Storage", "Backup Storage")),
        ("USE1-EBSOptimized:m1.large", ("Compute", "Virtual Machines")),
        ("USE1-BoxUsage:m5.large", ("Compute", "Virtual Machines")),
        ("EUC1-NatGateway-Hours", ("Compute", "Other (Compute)")),
        ("EUC1-NatGateway-Bytes", ("Compute", "Other (Compute)")),
        ("USW2-DataTransfer-Out-Bytes", ("Compute", "Other (Compute)")),
        ("APE1-USE1-AWS-In-Bytes", ("Compute", "Other (Compute)")),
        (None, ("Compute", "Virtual Machines")),
    ],
)
def test_usage_of_ec2_is_storage_only_where_it_is_ebs(
    session: duckdb.DuckDBPyConnection, usage: str | None, expected: tuple[str, str]
) -> None:
    assert categorise(session, "AmazonEC2", usage) == expected


def test_a_rule_of_one_service_leaves_the_others_alone(session: duckdb.DuckDBPyConnection) -> None:
    assert categorise(session, "AmazonRDS", "EUC1-EBS:VolumeUsage.gp3") == ("Databases", "Relational Databases")


def test_a_product_family_decides_where_the_usage_type_says_nothing(session: duckdb.DuckDBPyConnection) -> None:
    assert categorise(session, "AmazonEC2", "odd", "Storage Snapshot") == ("Storage", "Backup Storage")
    assert categorise(session, "AmazonEC2", "odd", "Storage") == ("Storage", "Block Storage")
    assert categorise(session, "AmazonEC2", "odd", "Compute Instance") == ("Compute", "Virtual Machines")


def test_a_model_sold_through_bedrock_is_generative_ai_under_any_code(session: duckdb.DuckDBPyConnection) -> None:
    code = "6q7ryjzkqovgcr3aev0jlz6iz"

    assert categorise(session, code, "odd", None, "Some Model v2 (Amazon Bedrock Edition)") == (
        "AI and Machine Learning",
        "Generative AI",
    )
    assert categorise(session, code, "USE1-MP:USE1_InputTokenCount-Units") == (
        "AI and Machine Learning",
        "Generative AI",
    )
    assert categorise(session, code, "USE1-MP:SoftwareUsage", None, "Red Hat Enterprise Linux") == (None, None)


@pytest.mark.parametrize("code", ["AmazonS3", "amazons3", "AMAZONS3"])
def test_a_service_is_found_in_any_case(session: duckdb.DuckDBPyConnection, code: str) -> None:
    assert categorise(session, code, None) == ("Storage", "Object Storage")


def test_an_unknown_service_is_not_found(session: duckdb.DuckDBPyConnection) -> None:
    assert categorise(session, "AmazonNoSuchThing", "USE1-Requests") == (None, None)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("hrs", "Hours"),
        ("hours", "Hours"),
        ("gb-mo", "GB-Months"),
        ("gibps-mo", "GiB/Second-Months"),
        ("lambda-gb-second", "Lambda-GB-Seconds"),
        ("obj-month", "Object-Months"),
        ("1k tokens", "1000 Tokens"),
        ("quokka-fortnights", None),
    ],
)
def test_a_known_unit_is_named_as_focus_names_it(
    session: duckdb.DuckDBPyConnection, unit: str, expected: str | None
) -> None:
    assert ask(session, "SELECT focus_unit FROM unit_lookup WHERE unit = $1", unit) == expected
