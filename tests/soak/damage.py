"""Damage to a data file, chosen by a seed: to its fields, rows, columns, bytes and packing."""

from __future__ import annotations

import csv
import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from random import Random

from tests.soak.bits import flip_bits
from tests.soak.damaged_parquet import damage_parquet
from tests.soak.odd_values import MOMENTS, NUMBERS, TEXTS
from tests.soak.valid_exports import ValidExport, as_csv, pack

Row = list[str]


def damage_data(random: Random, export: ValidExport) -> tuple[str, bytes]:
    """What was done, and the data file after it."""
    if export.is_parquet:
        return damage_parquet(random, export)
    headers, rows = list(export.headers), [list(row) for row in export.rows]
    name, content = random.choice((_damage_rows, _damage_rows, _damage_bytes))(random, export, headers, rows)
    if random.random() < 0.4:
        packed, content = _pack_badly(random, content)
        return f"{name}, {packed}", content
    return name, pack(content, export.packing) if random.random() < 0.8 else content


def _damage_rows(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> tuple[str, bytes]:
    how = random.choice(tuple(_OF_ROWS))
    _OF_ROWS[how](random, export, headers, rows)
    quoting = csv.QUOTE_ALL if random.random() < 0.2 else csv.QUOTE_MINIMAL
    return how, as_csv(headers, rows, quoting=quoting)


def _put_number(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    numeric = [n for n, name in enumerate(headers) if "ost" in name or "mount" in name]
    column = headers.index(export.cost) if random.random() < 0.6 else random.choice(numeric)
    for row in random.sample(rows, random.choice((1, 1, len(rows)))):
        row[column] = random.choice(NUMBERS)


def _put_moment(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    column = random.choice(
        [n for n, name in enumerate(headers) if "Date" in name or "date" in name or "Period" in name]
    )
    for row in random.sample(rows, random.choice((1, 1, len(rows)))):
        row[column] = random.choice(MOMENTS)


def _put_text(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    random.choice(rows)[random.randrange(len(headers))] = random.choice(TEXTS)


def _put_currency(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    column = next(n for n, name in enumerate(headers) if "urrency" in name)
    random.choice(rows)[column] = random.choice(("EUR", "usd", "", "XXXX", "¥", "JPY", " USD", "NULL", "\x00"))


def _put_type(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    column = next(n for n, name in enumerate(headers) if name.lower().endswith(("lineitemtype", "_type", "category")))
    random.choice(rows)[column] = random.choice(("", "Usage ", "usage", "Unknown", "Tax", "x" * 200_000, "NULL"))


def _shift_row(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    row, at = random.choice(rows), random.randrange(len(headers))
    row.insert(at, "")
    if random.random() < 0.5:
        row.pop()


def _cut_row(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    del random.choice(rows)[-random.choice((1, 5)) :]


def _repeat_row(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    rows.extend([random.choice(rows)] * random.choice((1, 50, 2_000)))


def _insert_row(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    line: Row = random.choice(([""] * len(headers), [], ["# comment"], list(headers), [" "], ["NULL"] * len(headers)))
    rows.insert(random.randrange(len(rows) + 1), line)


def _drop_rows(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    del rows[random.choice((0, 0, 5)) :]


def _rename_column(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    at = random.randrange(len(headers))
    names = (
        f" {headers[at]} ",
        headers[at].upper(),
        headers[at].swapcase(),
        f"{headers[at]}\n",
        "",
        " ",
        'x"y',
        "\x00z",
    )
    more = ("resourceTags/user:" + "é" * 300, "c0", "file_number", "row_hash", "rowid", "😀", "h" * 140_000, "a'; drop")
    headers[at] = random.choice((*names, *more, random.choice(headers)))


def _change_columns(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> None:
    at = random.randrange(len(headers))
    how = random.choice(("lost", "twice", "swapped", "many", "too many", "header only"))
    count = {"many": 300, "too many": 20_000, "twice": 1}.get(how, 0)
    if how == "swapped":
        other = random.randrange(len(headers))
        headers[at], headers[other] = headers[other], headers[at]
    elif how == "header only":
        headers.append("one_more")
    elif how == "lost":
        for row in (headers, *rows):
            row.pop(at)
    else:
        headers.extend([headers[at]] if how == "twice" else [f"extra_{n}" for n in range(count)])
        for row in rows:
            row.extend([row[at]] if how == "twice" else [""] * count)


_OF_ROWS: dict[str, Callable[[Random, ValidExport, Row, list[Row]], None]] = {
    "number": _put_number,
    "more numbers": _put_number,
    "moment": _put_moment,
    "text": _put_text,
    "more text": _put_text,
    "currency": _put_currency,
    "type": _put_type,
    "shifted row": _shift_row,
    "cut row": _cut_row,
    "repeated row": _repeat_row,
    "inserted row": _insert_row,
    "dropped rows": _drop_rows,
    "renamed column": _rename_column,
    "changed columns": _change_columns,
}


def _damage_bytes(random: Random, export: ValidExport, headers: Row, rows: list[Row]) -> tuple[str, bytes]:
    content = as_csv(headers, rows)
    how = random.choice(
        (
            "flip",
            "flip",
            "lost",
            "doubled",
            "cut",
            "put",
            "put",
            "delimiter",
            "ends",
            "blank",
            "bad",
            "bom",
            "quote",
            "empty",
        )
    )
    at = random.randrange(len(content))
    span = random.choice((1, 10, 1_000))
    bad = (b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\0", b"\0" * 100, b"\xe9")
    put = (b'"', b'""', b"\n", b"\r", b"\r\n", b",", b"\\", b"\n\n", b'"\n"', b"\x1a", b"\x85", b"\n" * 100_000)
    blank = random.choice((b"\n", b" \n", b"\r\n", b",\n", b"\n" * 1_000))
    damaged = {
        "flip": flip_bits(random, content, random.choice((1, 1, 5, 20))),
        "lost": content[:at] + content[at + span :],
        "doubled": content[: at + span] + content[at:],
        "cut": content[:at],
        "put": content[:at] + random.choice(put) + content[at:],
        "delimiter": content.replace(b",", random.choice((b";", b"\t", b"|"))),
        "ends": content.replace(b"\n", random.choice((b"\r\n", b"\r", b"\n\n", b"\n\r")), random.choice((-1, 5))),
        "blank": blank + content if random.random() < 0.5 else content + blank,
        "bad": content[:at] + random.choice(bad) + content[at:],
        "bom": random.choice((b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2, b"\xff\xfe")) + content,
        "quote": content.replace(b"\n", b'\n"', 1) if random.random() < 0.5 else content + b'"',
        "empty": random.choice((b"", b"\n", b"\n" * 100_000, content.partition(b"\n")[0], b'"', b",")),
    }
    return f"bytes {how}", damaged[how]


def _pack_badly(random: Random, content: bytes) -> tuple[str, bytes]:
    how = random.choice(
        ("gzip twice", "members", "gap", "tail", "cut", "flip", "zip", "zip of two", "zip flip", "size")
    )
    at = random.randrange(len(content) + 1)
    packed = gzip.compress(content, 1, mtime=0)
    if how.startswith("zip") or how == "size":
        archive = bytearray(_zip(random, content, is_of_two=how == "zip of two"))
        if how == "size":
            archive[22:26] = struct.pack("<I", 10)
        return how, flip_bits(random, bytes(archive), 2) if how == "zip flip" else bytes(archive)
    members = gzip.compress(content[:at], 1), gzip.compress(content[at:], 1)
    return how, {
        "gzip twice": gzip.compress(packed, 1),
        "members": b"".join(members),
        "gap": (b"\0" * random.choice((1, 512))).join(members),
        "tail": packed + random.choice((b"\0" * 100, b"garbage", b"\x1f\x8b", b"\x1f")),
        "cut": packed[: random.randrange(len(packed))],
        "flip": flip_bits(random, packed, random.choice((1, 3))),
    }[how]


def _zip(random: Random, content: bytes, *, is_of_two: bool) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(random.choice(("a.csv", "../../a.csv", "/etc/x", "é.csv", "a/b/c.csv", "__MACOSX/a")), content)
        if is_of_two:
            archive.writestr("b.csv", content[:100])
    return stream.getvalue()
