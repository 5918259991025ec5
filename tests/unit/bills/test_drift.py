"""What is told of columns that came, went or changed their type, and what is not."""

from __future__ import annotations

import pytest

from billfold.bills.drift import find_drift


def test_equal_columns_have_no_drift() -> None:
    columns = {"lineItem/UnblendedCost": "number", "product": "map", "resourceTags/user:Env": "empty"}

    assert find_drift(columns, dict(reversed(columns.items()))) == ()


def test_each_kind_of_drift_is_one_line() -> None:
    before = {"kept": "text", "gone": "text", "rate": "number", "price": "double"}
    now = {"new": "map", "kept": "text", "rate": "text", "price": "varchar", "also new": "empty"}

    assert find_drift(before, now) == (
        "new columns: also new, new",
        "columns that are gone: gone",
        "columns of another type: price (double, now varchar), rate (number, now text)",
    )


def test_headers_are_told_apart_as_aws_wrote_them() -> None:
    before = {"resourceTags/user:Env": "text"}
    now = {"resourceTags/user:env": "text"}

    assert find_drift(before, now) == (
        "new columns: resourceTags/user:env",
        "columns that are gone: resourceTags/user:Env",
    )


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (10, "c00, c01, c02, c03, c04, c05, c06, c07, c08, c09"),
        (12, "c00, c01, c02, c03, c04, c05, c06, c07, c08, c09 and 2 more"),
    ],
)
def test_of_many_columns_ten_are_named(count: int, shown: str) -> None:
    before = {"kept": "text"}

    assert find_drift(before, before | {f"c{n:02d}": "text" for n in range(count)}) == (f"new columns: {shown}",)


@pytest.mark.parametrize(("before", "now"), [({}, {"a": "text"}), ({"a": "text"}, {}), ({}, {})])
def test_where_one_side_has_no_columns_nothing_is_told(before: dict[str, str], now: dict[str, str]) -> None:
    assert find_drift(before, now) == ()


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("number", "text"),
        ("time", "text"),
        ("map", "text"),
        ("number", "time"),
        ("double", "varchar"),
        ("varchar", "double"),
        ("double", "decimal(18,9)"),
        ("map(varchar, varchar)", "map(varchar, double)"),
        ("double", "text"),
        ("number", "timestamp"),
        ("number", "double | map(varchar, varchar)"),
        ("timestamp with time zone", "number"),
        ("map(varchar, varchar)[]", "map(varchar, varchar)"),
        ("number", "number | text"),
        ("double", "double | varchar"),
        ("bigint | number", "text"),
    ],
)
def test_another_type_is_told(before: str, now: str) -> None:
    assert find_drift({"a": before}, {"a": now}) == (f"columns of another type: a ({before}, now {now})",)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("empty", "number"),
        ("text", "empty"),
        ("empty", "map(varchar, varchar)"),
        ("text", "number"),
        ("text", "time"),
        ("text", "map"),
        ("varchar", "number"),
        ("text", "timestamp"),
        ("number", "double"),
        ("decimal(38,10)", "number"),
        ("number", "bigint"),
        ("integer", "number"),
        ("time", "timestamp"),
        ("timestamp with time zone", "time"),
        ("date", "time"),
        ("map(varchar, varchar)", "map"),
        ("map", "struct(a varchar)"),
        ("varchar", "text"),
        ("number", "varchar"),
        ("map", "varchar"),
        ("number", "double | varchar"),
        ("text", "boolean"),
        ("double | varchar", "double"),
        ("number | text", "text"),
        ("double | number", "double"),
    ],
)
def test_what_may_be_the_same_type_is_not_told(before: str, now: str) -> None:
    assert find_drift({"a": before}, {"a": now}) == ()
