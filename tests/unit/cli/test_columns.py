"""What headers mean: one vocabulary for all exports."""

from __future__ import annotations

import pytest

from billfold.errors import MalformedFileError, MissingColumnError, UnknownFormatError
from billfold.model import ExportFormat
from billfold.transform.columns import describe_columns, detect_format, needed_columns, snake_case

LEGACY = "lineItem/LineItemType lineItem/UnblendedCost lineItem/UsageStartDate lineItem/UsageAccountId".split()
CUR2 = list(needed_columns(ExportFormat.CUR2))
FOCUS = list(needed_columns(ExportFormat.FOCUS))


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("UnblendedCost", "unblended_cost"),
        ("ReservationARN", "reservation_a_r_n"),
        ("lineItem", "line_item"),
        ("instanceType", "instance_type"),
        ("SavingsPlanARN", "savings_plan_a_r_n"),
        ("user:Cost Center", "user_cost_center"),
    ],
)
def test_names_become_those_that_athena_has(name: str, snake: str) -> None:
    assert snake_case(name) == snake


@pytest.mark.parametrize(
    ("headers", "export_format"),
    [(LEGACY, ExportFormat.LEGACY_CUR), (CUR2, ExportFormat.CUR2), (FOCUS, ExportFormat.FOCUS)],
)
def test_headers_tell_the_format(headers: list[str], export_format: ExportFormat) -> None:
    assert detect_format(headers, file="a.csv") is export_format


def test_other_files_are_told_by_their_columns() -> None:
    with pytest.raises(UnknownFormatError, match=r"a\.csv: .*date, place, c, d, …"):
        detect_format("date place c d e".split(), file="a.csv")


def test_legacy_and_cur_2_headers_mean_the_same() -> None:
    legacy = describe_columns(LEGACY, ExportFormat.LEGACY_CUR, file="a.csv")
    cur2 = describe_columns(CUR2, ExportFormat.CUR2, file="a.csv")

    assert {column.canonical for column in legacy} == {column.canonical for column in cur2}


def test_tags_keep_their_case() -> None:
    headers = [*LEGACY, "resourceTags/user:Env", "resourceTags/user:env", "costCategory/Team"]

    columns = describe_columns(headers, ExportFormat.LEGACY_CUR, file="a.csv")[4:]

    assert [(column.canonical, column.tag_key, column.cost_category) for column in columns] == [
        ("resource_tags/user:Env", "user:Env", None),
        ("resource_tags/user:env", "user:env", None),
        ("cost_category/Team", None, "Team"),
    ]


def test_two_headers_of_one_meaning_are_both_kept() -> None:
    headers = [*LEGACY, "savingsPlan/SavingsPlanARN", "savingsPlan/SavingsPlanArn"]

    columns = describe_columns(headers, ExportFormat.LEGACY_CUR, file="a.csv")[4:]

    assert len({column.canonical for column in columns}) == 2
    assert columns[0].canonical == "savings_plan_savings_plan_a_r_n"


@pytest.mark.parametrize("missing", CUR2)
def test_a_missing_needed_column_is_named(missing: str) -> None:
    with pytest.raises(MissingColumnError, match=missing):
        describe_columns([name for name in CUR2 if name != missing], ExportFormat.CUR2, file="a.csv")


@pytest.mark.parametrize("headers", [[*CUR2, ""], [*CUR2, "  "], [*CUR2, CUR2[0]]])
def test_a_damaged_header_is_refused(headers: list[str]) -> None:
    with pytest.raises(MalformedFileError, match="line 1"):
        describe_columns(headers, ExportFormat.CUR2, file="a.csv")
