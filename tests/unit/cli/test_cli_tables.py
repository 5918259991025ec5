"""Tables of the command line: columns that go first, blocks, ids and amounts."""

from __future__ import annotations

import io
from uuid import UUID

import pytest
from rich.console import Console

from billfold.cli.output.columns import id_column, name_column, number_column, text_column
from billfold.cli.output.grid import add_row, make_table, print_table, show_amounts
from tests.processes.terminal import WIDTHS, console_of, list_broken, list_left_out
from tests.unit.cli.cli_tables_helpers import IDS


@pytest.mark.parametrize("width", WIDTHS)
def test_an_ordinary_number_is_never_folded(width: int) -> None:
    console, output = console_of(width)
    table = make_table(*(number_column(f"Column {number}") for number in range(9)))
    add_row(table, *[50_000] * 9)

    print_table(console, table)

    assert output.getvalue().count("50,000") == 9
    assert list_broken(output.getvalue(), width, []) == []


def test_columns_that_matter_least_go_first_and_are_named() -> None:
    console, output = console_of(30)
    columns = (
        name_column("Name"),
        name_column("First", spare=2),
        name_column("Last", spare=3),
        name_column("Next", spare=1),
    )
    table = make_table(*columns)
    add_row(table, "n" * 10, "f" * 10, "l" * 5, "x" * 12)

    print_table(console, table)

    # What is left out first may still fit where a wider one does not.
    assert list_left_out(output.getvalue()) == ["First", "Last"]
    assert "n" * 10 + "  " + "x" * 12 in output.getvalue()


def test_a_row_that_does_not_fit_becomes_a_block_of_all_its_columns() -> None:
    console, output = console_of(30)
    table = make_table(name_column("Name"), name_column("Spare", spare=1), text_column("Reason"))
    for letter in "ab":
        add_row(table, letter * 20, "s" * 5, f"because the file {letter} is empty")

    print_table(console, table)

    assert output.getvalue().splitlines() == [
        "Name    " + "a" * 20,
        "Spare   sssss",
        "Reason",
        "  because the file a is empty",
        "",
        "Name    " + "b" * 20,
        "Spare   sssss",
        "Reason",
        "  because the file b is empty",
    ]


def test_ids_are_prefixes_of_eight_characters_or_as_many_as_it_takes() -> None:
    console, output = console_of(80)
    table = make_table(id_column("Delivery"), id_column("Other", short={str(IDS[0]): "3f2b1c9e-8"}))
    add_row(table, str(UUID(int=2**127)), str(IDS[0]))

    print_table(console, table)

    assert output.getvalue().splitlines()[-1].split() == ["80000000", "3f2b1c9e-8"]


def test_a_pipe_gets_whole_ids_and_every_column() -> None:
    output = io.StringIO()
    table = make_table(id_column("Delivery"), name_column("Spare", spare=1))
    add_row(table, str(IDS[0]), "s" * 300)

    print_table(Console(file=output, width=100_000), table)

    assert output.getvalue().splitlines()[1].split() == [str(IDS[0]), "s" * 300]


def test_a_table_without_rows_says_so() -> None:
    console, output = console_of(40)

    print_table(console, make_table(name_column("Name")), nothing="no names")

    assert output.getvalue() == "no names\n"


def test_columns_without_values_go_before_rows_become_blocks() -> None:
    console, output = console_of(30)
    table = make_table(name_column("Export"), number_column("Rows", spare=1), text_column("Error or reason"))
    add_row(table, "cost-and-usage", 50_000, None)

    print_table(console, table)

    header, _, row, *notes = output.getvalue().splitlines()
    assert (header.split(), row.split()) == (["Export", "Rows"], ["cost-and-usage", "50,000"])
    assert [note.rstrip() for note in notes] == ["column without values: Error or reason"]


def test_an_error_of_one_row_keeps_its_column() -> None:
    console, output = console_of(30)
    table = make_table(name_column("Export"), number_column("Rows", spare=1), text_column("Error or reason"))
    add_row(table, "cost-and-usage", 50_000, None)
    add_row(table, "cost-and-usage", 50_000, "malformed_file")

    print_table(console, table)

    assert "malformed_file" in output.getvalue()
    assert "without values" not in output.getvalue()


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("48587.1482469451", "48587.1482469451 USD"),
        ("1E-25", "~0 USD"),
        ("-0.00000000016", "~-0.0000000002 USD"),
        ("2.000000000000000001", "~2 USD"),
        ("1E+26", "100000000000000000000000000 USD"),
    ],
)
def test_an_amount_has_ten_decimals_at_most(amount: str, shown: str) -> None:
    assert show_amounts({"USD": amount}) == shown
