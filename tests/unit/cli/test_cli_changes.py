"""What an operator reads and writes of changes: points in time, signs, the lines on the screen."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import typer
from rich.console import Console

from billfold.app.wanted import as_change_columns
from billfold.cli.options import read_moment, read_point
from billfold.cli.output.changes_table import show_changes, show_difference
from billfold.cli.output.grid import show_moment
from billfold.documents import changes_document
from billfold.errors import UsageError
from billfold.reports.changes import ChangeReport, ChangeRow, ComparedPublication, StatementChange
from billfold.selection import ChangeColumn, Metric

FIRST, SECOND = (
    ComparedPublication(
        publication_id=10 + number,
        number=number,
        kind="delivery",
        published_at=datetime(2026, 6, number, 10, tzinfo=UTC),
        delivery_id=None,
    )
    for number in (1, 2)
)


def row(old: str, new: str, *group: str, currency: str = "USD") -> ChangeRow:
    before, after = Decimal(old), Decimal(new)
    return ChangeRow(group=group, currency=currency, old=before, new=after, difference=after - before)


def change(**fields: Any) -> StatementChange:
    groups = fields.get("groups", (row("1", "2.5", "AmazonEC2"),))
    known: dict[str, Any] = {
        "statement_id": 3,
        "client_id": "acme",
        "export_name": "acme-cur2",
        "billing_period": "2026-05",
        "counted": True,
        "earlier": FIRST,
        "later": SECOND,
        "rows_added": 2,
        "rows_removed": 1,
        "has_moved": bool(groups),
        "closed_month_moved": False,
        "totals": (row("100", "101.5"),),
        "groups": groups,
    }
    return StatementChange(**{**known, **fields})


def report(*changes: StatementChange, group_count: int | None = None) -> ChangeReport:
    count = sum(len(one.groups) for one in changes) if group_count is None else group_count
    return ChangeReport(
        metric=Metric.BILLED,
        columns=(ChangeColumn.SERVICE,),
        changes=changes,
        totals=(row("200", "201.5"),),
        group_count=count,
    )


def shown(wanted: ChangeReport) -> list[str]:
    """The lines that a pipe gets."""
    screen = io.StringIO()
    show_changes(Console(file=screen, width=200), wanted)
    return screen.getvalue().splitlines()


def shown_at(wanted: ChangeReport, width: int) -> list[str]:
    """The lines on a terminal of this width."""
    screen = io.StringIO()
    show_changes(Console(file=screen, width=width, force_terminal=True, color_system=None), wanted)
    return screen.getvalue().splitlines()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-05-03", datetime(2026, 5, 3, tzinfo=UTC)),
        ("2026-05-03T10:00", datetime(2026, 5, 3, 10, tzinfo=UTC)),
        ("2026-05-03 10:00:01", datetime(2026, 5, 3, 10, 0, 1, tzinfo=UTC)),
        ("2026-05-03t10:00z", datetime(2026, 5, 3, 10, tzinfo=UTC)),
        ("2026-05-03T10:00:00.25+02:00", datetime(2026, 5, 3, 8, 0, 0, 250000, tzinfo=UTC)),
        ("2026-05-03T10:00:00.123456-0530", datetime(2026, 5, 3, 15, 30, 0, 123456, tzinfo=UTC)),
    ],
)
def test_a_moment_is_utc_unless_it_names_an_offset(text: str, moment: datetime) -> None:
    assert read_moment(text) == read_point(text) == moment


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), (" 12 ", 12), ("2026", 2026)])
def test_digits_are_a_publications_number(text: str, number: int) -> None:
    assert read_point(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "-1", "1.5", "1" * 30, "٣", "2026-05", "2026-02-30", "2026-05-03T", "2026-05-03T25:00"),
        *("2026-05-03x10:00", "0001-01-01T00:00+14:00"),
    ],
)
def test_what_is_neither_a_number_nor_a_moment_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a moment such as 2026-05-03"):
        read_point(text)


def test_columns_may_come_together_or_one_by_one() -> None:
    assert as_change_columns(["day, account", "day"]) == [ChangeColumn.DAY, ChangeColumn.ACCOUNT]
    with pytest.raises(
        UsageError, match="changes cannot be grouped by colour: use account, service, region, day, category"
    ):
        as_change_columns(["colour"])
    with pytest.raises(UsageError, match="changes cannot be grouped by nothing"):
        as_change_columns([","])


@pytest.mark.parametrize(
    ("difference", "text"),
    [("1234.5", "+1,234.50"), ("-0.01", "-0.01"), ("0", "0.00"), ("0.0004", "+<0.01"), ("-0.0049", "-<0.01")],
)
def test_a_difference_has_its_sign_and_is_never_rounded_to_none(difference: str, text: str) -> None:
    assert show_difference(Decimal(difference)) == text


def test_movers_of_all_statements_stand_in_one_order() -> None:
    may = change(groups=(row("5", "1", "AmazonS3"), row("0", "1", "AmazonEC2")))
    june = change(statement_id=4, billing_period="2026-06", groups=(row("0", "-9", "AWSLambda"),))

    lines = shown(report(may, june))

    services = [
        next(word for word in line.split() if word in ("AmazonS3", "AmazonEC2", "AWSLambda")) for line in lines[1:4]
    ]
    assert services == ["AWSLambda", "AmazonS3", "AmazonEC2"]


def test_a_closed_month_that_moved_has_a_line_of_its_own() -> None:
    lines = shown(report(change(closed_month_moved=True)))

    assert lines[-1] == "past month changed: acme-cur2 2026-05: +1.50 USD (was 100.00)"


def test_a_closed_month_that_came_from_nothing_claims_no_amount() -> None:
    lines = shown(report(change(closed_month_moved=True, earlier=None)))

    assert lines[-1] == "past month changed: acme-cur2 2026-05: after its first publication"


def test_a_closed_month_whose_total_stayed_says_so() -> None:
    totals = (row("7", "7"), row("5", "5", currency="EUR"))

    assert shown(report(change(closed_month_moved=True, totals=totals)))[-1].endswith(": nothing in total")


def test_a_rollback_is_told_from_a_delivery() -> None:
    lines = shown(report(change(later=replace(SECOND, kind="rollback"))))

    assert any("1 to 2 rollback" in line for line in lines)


def test_a_narrow_terminal_keeps_what_cannot_be_looked_up_elsewhere() -> None:
    both = report(change(), change(statement_id=4, billing_period="2026-06"))

    wide, narrow = shown_at(both, 200), shown_at(both, 60)

    assert wide[2].startswith(" 3  acme-cur2 2026-05 ")
    assert narrow[2].split() == ["3", "AmazonEC2", "USD", "1.00", "2.50", "+1.50"]
    assert "column left out: Statement; widen the window or use --json" in narrow
    assert any("2026-06-02 10:00:00" in line for line in wide)
    assert not any("10:00" in line for line in narrow)


def test_what_does_not_count_is_marked_and_told_to_be_in_no_total() -> None:
    lines = shown(report(change(), change(statement_id=4, counted=False)))

    assert any("acme-cur2 2026-05 (not counted)" in line for line in lines)
    assert lines[-1] == "statements that are not counted are in no total"


def test_rows_that_came_and_went_are_told_as_rewritten() -> None:
    moved = report(change(rows_added=5, rows_removed=5))

    wide, narrow = shown_at(moved, 200), shown_at(moved, 80)

    assert any("Rows rewritten" in line for line in wide)
    assert any("+5 -5" in line for line in wide)
    assert not any("+5" in line for line in narrow)
    assert any(line.startswith("columns left out: ") and "Rows rewritten" in line for line in narrow)


def test_a_publications_time_shows_its_bill_when_it_is_asked_for() -> None:
    published_at = datetime(2026, 6, 2, 10, 0, 0, 1, tzinfo=UTC)

    text = show_moment(published_at)

    assert text == "2026-06-02 10:00:01"
    assert read_moment(text) >= published_at
    assert show_moment(datetime(2026, 6, 2, 10, tzinfo=UTC)) == "2026-06-02 10:00:00"


def test_an_open_month_that_moved_has_none() -> None:
    assert not any("closed" in line for line in shown(report(change())))


def test_what_the_limit_leaves_out_is_counted() -> None:
    assert any(
        line.startswith("1,233 smaller changes are left out") for line in shown(report(change(), group_count=1234))
    )


def test_statements_that_did_not_move_are_only_counted() -> None:
    lines = shown(report(change(), change(statement_id=4, billing_period="2026-04", groups=())))

    assert not any("2026-04" in line for line in lines)
    assert any(line.split()[:4] == ["Total", "with", "1", "unmoved"] for line in lines)


def test_where_nothing_moved_every_statement_is_shown() -> None:
    lines = shown(report(change(groups=(), totals=(row("7", "7"),))))

    assert lines[0] == "nothing changed"
    assert any("2026-05" in line and line.endswith("0.00") for line in lines)


def test_without_publications_there_is_one_line() -> None:
    assert shown(replace(report(), totals=())) == ["no publications"]


def test_clients_are_named_where_there_are_several() -> None:
    alone = shown(report(change()))
    both = shown(report(change(), change(client_id="other", statement_id=9)))

    assert not any("acme acme-cur2" in line for line in alone)
    assert any("acme acme-cur2" in line for line in both)
    assert any("other acme-cur2" in line for line in both)


def test_hostile_names_do_not_steer_the_terminal() -> None:
    lines = shown(report(change(export_name="a\x1b[2J", closed_month_moved=True)))

    assert not any("\x1b" in line for line in lines)


def test_the_document_counts_closed_months_and_names_its_columns() -> None:
    document = changes_document(report(change(closed_month_moved=True), change(earlier=None)))

    assert (document["closed_months_moved"], document["by"], document["metric"]) == (1, ["service"], "billed")
    assert document["changes"][0]["groups"] == [
        {"service": "AmazonEC2", "currency": "USD", "old": "1", "new": "2.5", "difference": "1.5"}
    ]
    assert document["changes"][0]["from"]["number"] == 1
    assert document["changes"][1]["from"] is None
