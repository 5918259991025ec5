"""What an operator writes and reads of costs: columns with keys, filters, presets, the table and the CSV."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from rich.console import Console

from billfold.cli.output.costs_table import show_costs
from billfold.cli.output.csv_output import refuse_both, write_csv
from billfold.documents import costs_document
from billfold.errors import UsageError
from billfold.reports.costs import CostReport, CostRow
from billfold.selection import (
    CostColumn,
    KeyColumn,
    MapColumn,
    Metric,
    Preset,
    check_texts,
    parse_cost_columns,
    parse_pairs,
    parse_presets,
)

TEAM = KeyColumn(column=MapColumn.TAG, key="Team")


def report(
    *rows: tuple[tuple[str, ...], str], columns: tuple[CostColumn | KeyColumn, ...], is_truncated: bool = False
) -> CostReport:
    return CostReport(
        metric=Metric.BILLED,
        as_of=None,
        columns=columns,
        rows=tuple(CostRow(group=group, currency="USD", amount=Decimal(amount)) for group, amount in rows),
        totals=(CostRow(group=("2026-05",), currency="USD", amount=Decimal(3)),),
        is_truncated=is_truncated,
    )


def shown(wanted: CostReport) -> list[list[str]]:
    screen = io.StringIO()
    show_costs(Console(file=screen, width=200), wanted)
    return [line.split() for line in screen.getvalue().splitlines()]


def test_a_key_goes_from_the_first_colon_to_the_comma() -> None:
    columns = parse_cost_columns(["tag:Team, month", "cost-category:Unit:Sub Unit,month", "service-category"])

    assert columns == [
        TEAM,
        CostColumn.MONTH,
        KeyColumn(column=MapColumn.COST_CATEGORY, key="Unit:Sub Unit"),
        CostColumn.SERVICE_CATEGORY,
    ]
    assert [str(column) for column in columns[:3]] == ["tag:Team", "month", "cost-category:Unit:Sub Unit"]


@pytest.mark.parametrize(
    ("by", "complaint"),
    [
        ([""], "no columns to group costs by"),
        (["wallet"], "grouped by wallet"),
        (["Month"], "grouped by Month"),
        (["service:x"], "grouped by service:x"),
        (["tag"], "tag needs a key: such as tag:team"),
        (["tag:"], "tag needs a key"),
        (["tags:a"], "grouped by tags:a"),
        (["tag:\udcff"], "not UTF-8"),
    ],
)
def test_what_costs_cannot_be_grouped_by_is_refused(by: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_cost_columns(by)


def test_pairs_are_parted_at_the_first_equals_sign() -> None:
    words = ["env=prod", "env=", "Env=a=b", "aws:createdBy=x"]

    assert parse_pairs("--tag", words) == {"env": ["prod", ""], "Env": ["a=b"], "aws:createdBy": ["x"]}
    assert parse_pairs("--tag", []) == {}


@pytest.mark.parametrize("word", ["env", "=prod", ""])
def test_what_is_no_pair_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="is not KEY=VALUE"):
        parse_pairs("--tag", [word])


def test_presets_come_together_or_one_by_one() -> None:
    assert parse_presets([]) == []
    assert parse_presets(["tax,Credit", "refund", "tax"]) == [Preset.TAX, Preset.CREDIT, Preset.REFUND]
    for words in (["wine"], [","]):
        with pytest.raises(UsageError, match="cannot be left out"):
            parse_presets(words)


def test_bytes_that_are_no_text_are_refused() -> None:
    assert check_texts("--owner", ["", "Zoë"]) == ["", "Zoë"]
    with pytest.raises(UsageError, match="--owner is not UTF-8 text"):
        check_texts("--owner", ["\udcff"])


def test_what_has_no_value_is_told_in_the_table_and_empty_in_the_document() -> None:
    untagged = report((("", "Compute"), "2"), (("red", ""), "1"), columns=(TEAM, CostColumn.SERVICE_CATEGORY))

    assert shown(untagged) == [
        ["tag:Team", "Service", "category", "Currency", "Billed"],
        ["(none)", "Compute", "USD", "2.00"],
        ["red", "(none)", "USD", "1.00"],
        ["Total", "USD", "3.00"],
    ]
    assert costs_document(untagged)["costs"] == [
        {"tag:Team": "", "service-category": "Compute", "currency": "USD", "cost": "2"},
        {"tag:Team": "red", "service-category": "", "currency": "USD", "cost": "1"},
    ]


def test_months_of_untagged_costs_stand_side_by_side() -> None:
    by_month = report((("", "2026-05"), "3"), columns=(TEAM, CostColumn.MONTH))

    assert shown(by_month)[1] == ["(none)", "USD", "3.00"]


def test_missing_rows_are_told() -> None:
    lines = shown(report((("x",), "3"), columns=(CostColumn.SERVICE,), is_truncated=True))

    assert " ".join(lines[-1]) == "only the 1 largest rows are shown: raise --limit; totals include everything"


def test_csv_gives_every_value_back(capsys: pytest.CaptureFixture[str]) -> None:
    values = ["", "a,b", 'say "x"', "two\nlines", "lone\rreturn", "1=1", "Zoë"]

    write_csv(["a", "b"], [(value, "1") for value in values])

    written = capsys.readouterr().out
    assert list(csv.reader(io.StringIO(written, newline=""), strict=True)) == [
        ["a", "b"],
        *([value, "1"] for value in values),
    ]
    assert written.startswith("a,b\n,1\n")
    assert "\r\n" not in written


def test_standard_output_holds_one_document() -> None:
    refuse_both(as_json=True, as_csv=False)
    with pytest.raises(UsageError, match="exclude each other"):
        refuse_both(as_json=True, as_csv=True)
