"""Only CR and LF end a line: other characters that Python takes for the end of one stay in headers and values."""

from __future__ import annotations

import csv
import gzip
import io
from decimal import Decimal

import pytest

from billfold.aws.file_header import read_headers
from billfold.errors import InvalidValueError
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, write_delivery
from tests.bills.parsed import Parse
from tests.unit.cli.test_columns import LEGACY

# What str.splitlines splits at, beside CR and LF.
CHARACTERS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]
ROW = {
    "bill/PayerAccountId": "111122223333",
    "bill/BillingPeriodStartDate": "2026-05-01T00:00:00Z",
    "lineItem/UsageAccountId": "444455556666",
    "lineItem/LineItemType": "Usage",
    "lineItem/UsageStartDate": "2026-05-03T04:00:00Z",
    "lineItem/CurrencyCode": "USD",
    "lineItem/UnblendedCost": "10",
    "lineItem/LineItemDescription": "one",
}


def with_tags(*keys: str, value: str) -> dict[str, str]:
    """The row with a column of each tag as the first, the last and one in between."""
    entries = list(ROW.items())
    for position, name in ((len(entries), "last"), (4, "middle"), (0, "first")):
        entries[position:position] = [(f"resourceTags/user:{name}{key}", value) for key in keys]
    return dict(entries)


def quoted(content: bytes, line_end: str) -> bytes:
    """The same rows with every cell in quotes."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=line_end)
    writer.writerows(csv.reader(io.StringIO(content.decode(), newline="")))
    return text.getvalue().encode()


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_header_keeps_the_characters_wherever_they_are(parse: Parse, line_end: str) -> None:
    keys = [key for c in CHARACTERS for key in (f"cost{c}center", f"{c}a", f"a{c}")]
    row = with_tags(*keys, value="".join(CHARACTERS))
    rows = [row, *({**row, "lineItem/LineItemDescription": character} for character in CHARACTERS)]
    content = as_csv(rows, line_end=line_end)

    for variant in (content, quoted(content, line_end), b"\xef\xbb\xbf" + content):
        bill = parse(variant)
        assert list(bill.describe_columns()) == list(row)
        bill.identify()
        assert bill.compare(None).rows_added == len(rows)
        assert read_headers(variant, len(variant), lambda _: b"") == tuple(row)


def test_a_tag_lands_with_the_characters_in_key_and_value(landing: Landing) -> None:
    row = with_tags(*(f"cost{character}center" for character in CHARACTERS), value="4".join(CHARACTERS))
    write_delivery(landing.root, gzip.compress(as_csv([row]), mtime=0))

    outcome = landing.ingest()

    [charge] = landing.charges()
    tags = {name.removeprefix("resourceTags/user:"): value for name, value in row.items() if "Tags/" in name}
    assert (outcome.exit_error, outcome.billed_cost) == (None, {"USD": Decimal(10)})
    assert charge["Tags"] == tags
    assert landing.value("SELECT row_data FROM raw_aws_billing_rows") == row
    assert landing.broken_rules() == []


def test_a_bad_value_is_found_on_its_physical_line_in_one_line(parse: Parse) -> None:
    row = with_tags("".join(CHARACTERS), value="two".join(CHARACTERS))
    bad = {**row, "lineItem/UnblendedCost": "x".join(CHARACTERS)}

    with pytest.raises(InvalidValueError) as refused:
        parse(as_csv([row, bad]))

    assert "file-0, line 3, column lineItem/UnblendedCost" in str(refused.value)
    assert str(refused.value).splitlines() == [str(refused.value)]


def test_an_error_about_a_header_with_such_a_character_is_one_line(parse: Parse) -> None:
    header = ",".join([*LEGACY, "resourceTags/user:a\u2028b", "resourceTags/user:a\u2028b"])

    with pytest.raises(Exception, match="line 1, column") as refused:
        parse(f"{header}\n".encode())

    assert str(refused.value).splitlines() == [str(refused.value)]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_quoted_line_breaks_in_a_header_are_part_of_it(line_end: str) -> None:
    content = f'"two\nlines",b{line_end}1,2{line_end}'.encode()

    assert read_headers(content, len(content), lambda _: b"") == ("two\nlines", "b")
    assert read_headers(content[:14], len(content), lambda _: b"") == ("two\nlines", "b")
    assert read_headers(content[:8], len(content), lambda _: b"") is None
