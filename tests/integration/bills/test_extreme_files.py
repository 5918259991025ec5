"""Files of extreme shapes: read right or refused in one line, in bounded memory and time."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil
import pyarrow as pa
import pytest

from billfold.errors import BillfoldError, InputError
from billfold.settings import Settings
from tests.bills.line_items import as_csv, described, line_item
from tests.bills.parsed import as_parquet, parsed

GOOD = as_csv(described("1.25", "2.5", "3"))
HEADER, _, ROWS = GOOD.partition(b"\n")
LAST = as_csv(described("7")).partition(b"\n")[2]
BAD = as_csv([{**described("x")[0]}]).partition(b"\n")[2]
MAX_SECONDS = 120
MAX_GROWTH_BYTES = 1 << 30


def widened(count: int) -> bytes:
    """So many empty columns more."""
    names = b"".join(b",extra_%d" % number for number in range(count))
    return HEADER + names + b"\n" + b"".join(row + b"," * count + b"\n" for row in ROWS.splitlines())


# What each is made of, and how its refusal reads; made when it is needed, for some are large.
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "20,000 columns": (lambda: widened(20_000), "file-0, line 1: has 20010 columns (at most 5000)"),
    "a header of 5 MB": (
        lambda: b"x" * (5 << 20) + b"\n" + GOOD,
        "file-0, line 1: the header does not end within 1048576 bytes",
    ),
    "a quoted header of 5 MB": (
        lambda: b'"' + b"x" * (5 << 20) + b'",' + GOOD,
        "file-0, line 1: the header does not end within 1048576 bytes",
    ),
    "a header of 500,000 columns": (
        lambda: HEADER + b"," + b",".join(b"c%d" % number for number in range(500_000)) + b"\n" + ROWS,
        "file-0, line 1: the header does not end within 1048576 bytes",
    ),
    "a last line of 100 MB": (lambda: GOOD + b"a" * (100 << 20), "a line is longer than"),
    "a line of 5 MB": (lambda: GOOD + b"a" * (5 << 20) + b"\n" + LAST, "file-0, line 5: the line is longer than 2 MB"),
    "a field of 3 MB": (
        lambda: GOOD + as_csv([line_item(line_item_line_item_description="y" * 3_000_000)]).partition(b"\n")[2],
        "file-0, line 5: the line is longer than 2 MB",
    ),
    "only newlines": (lambda: b"\n" * 1_000_000, "file-0, line 1: the header has 0 columns"),
    "only commas": (lambda: b",\n" * 100_000, "is not an AWS billing export"),
    "empty lines before the header": (lambda: b"\n" * 1_000_000 + GOOD, "file-0, line 1: the header has 0 columns"),
    "a bad cost after 200,000 empty lines": (
        lambda: GOOD + b"\n" * 200_000 + BAD,
        "file-0, line 200005, column line_item_unblended_cost, value 'x'",
    ),
    "a quote that never closes": (
        lambda: GOOD + b'"' + ROWS * 20_000,
        "file-0, line 5: a quoted value does not end where it should",
    ),
    "another encoding, late": (lambda: GOOD + ROWS * 1_000 + b"\xe9" + LAST, "is not UTF-8 text"),
    "UTF-16 after UTF-8": (lambda: GOOD + ROWS * 1_000 + LAST.decode().encode("utf-16-le"), "holds the character NUL"),
    "NUL, late": (lambda: GOOD + ROWS * 1_000 + b"\0" + LAST, "file-0, line 3005: holds the character NUL"),
}
READ: dict[str, tuple[Callable[[], bytes], int]] = {
    "a million empty lines": (lambda: GOOD + b"\n" * 1_000_000 + LAST, 4),
    "300 empty columns": (lambda: widened(300), 3),
    "a header field of 200 KB": (
        lambda: as_csv([{**each, "resource_tags_user_" + "x" * 200_000: "1"} for each in described("1", "2")]),
        2,
    ),
    "a field of 1.9 MB": (lambda: as_csv(described("1", line_item_resource_id="y" * 1_900_000)), 1),
    "other lines in quotes": (lambda: as_csv(described("1", "2", line_item_resource_id='a\n"b"\r\n,')), 2),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_extreme_file_is_refused_in_one_line_within_bounds(settings: Settings, name: str) -> None:
    make, reason = REFUSED[name]
    content, started, process = make(), time.monotonic(), psutil.Process()
    before = process.memory_info().rss

    with pytest.raises(InputError) as refusal, parsed(settings, content):
        pass

    text = str(refusal.value)
    assert reason in text
    assert text.isprintable()
    assert len(text) < 500
    assert time.monotonic() - started < MAX_SECONDS
    assert process.memory_info().rss - before < MAX_GROWTH_BYTES


@pytest.mark.parametrize("name", READ)
def test_an_extreme_file_that_is_a_bill_is_read_whole(settings: Settings, name: str) -> None:
    make, row_count = READ[name]

    with parsed(settings, make()) as bill:
        bill.identify()

        assert bill.read_pairs().read_all().num_rows == row_count


def test_columns_that_the_memory_does_not_suffice_for_are_a_limit(settings: Settings) -> None:
    with pytest.raises(BillfoldError) as refusal, parsed(settings, widened(4_900)) as bill:
        bill.identify()

    assert refusal.value.error_code == "source_limit"
    assert "raise it, or choose fewer columns for the export" in str(refusal.value)


def test_nul_in_parquet_is_refused_with_its_row_and_column(settings: Settings) -> None:
    content = as_parquet(line_item(), rows=2, line_item_resource_id=pa.array(["a", "a\0b"]))

    with pytest.raises(InputError, match="row 2: holds the character NUL") as refusal, parsed(settings, content):
        pass

    assert "column line_item_resource_id" in str(refusal.value)
    assert str(refusal.value).isprintable()
