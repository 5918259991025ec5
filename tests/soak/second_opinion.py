"""What a data file holds in the eyes of Python's own csv, zipfile and Decimal, and of pyarrow: rows, and money."""

from __future__ import annotations

import csv
import gzip
import io
import re
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

_COSTS = ("lineitemunblendedcost", "billedcost")
_CURRENCIES = ("lineitemcurrencycode", "billingcurrency")
_EXACT = Context(prec=10_000)
_MAX_FIELD = 8 << 20
_UNREADABLE = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    ValueError,
    csv.Error,
    pa.ArrowException,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class OtherwiseReadError(Exception):
    """This reader cannot read the file, or not the money in it."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """Rows, and money by currency; sums of nothing are left out."""

    row_count: int
    billed: Mapping[str, Decimal]


def read_files(paths: Iterable[Path]) -> Opinion:
    """What the files hold together; raises OtherwiseReadError."""
    row_count = 0
    billed: defaultdict[str, Decimal] = defaultdict(Decimal)
    for path in paths:
        content = path.read_bytes()
        try:
            amounts = _of_parquet(path) if content.startswith(b"PAR1") else _of_csv(content)
            for currency, amount in amounts:
                row_count += 1
                billed[currency] = _EXACT.add(billed[currency], amount)
        except (
            ArithmeticError,
            LookupError,
            OSError,
            ValueError,
            csv.Error,
            pa.ArrowException,
            zipfile.BadZipFile,
        ) as error:
            raise OtherwiseReadError(f"{type(error).__name__}: {error}"[:300]) from error
    return Opinion(row_count, {currency: amount for currency, amount in billed.items() if amount})


def _of_csv(content: bytes) -> Iterable[tuple[str, Decimal]]:
    csv.field_size_limit(_MAX_FIELD)
    text = _unpack(content).decode("utf-8-sig")
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    cost, currency = _place(rows[0], _COSTS), _place(rows[0], _CURRENCIES)
    for row in rows[1:]:
        if len(row) != len(rows[0]):
            raise ValueError(f"a row of {len(row)} cells below a header of {len(rows[0])}")
        yield (row[currency] if currency is not None else "") or "USD", _amount(row[cost or 0])


def _unpack(content: bytes) -> bytes:
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content)
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
            [name] = names
            return archive.read(name)
    return content


def _of_parquet(path: Path) -> Iterable[tuple[str, Decimal]]:
    with parquet.ParquetFile(path) as source:
        table = source.read()
    cost, currency = _place(table.schema.names, _COSTS), _place(table.schema.names, _CURRENCIES)
    costs = table.column(cost or 0)
    currencies = repeat(None) if currency is None else table.column(currency).to_pylist()
    values = costs.to_pylist()
    if pa.types.is_float32(costs.type):
        values = [None if each is None else _shortest(each) for each in values]
    for value, code in zip(values, currencies, strict=False):
        yield _text(code) or "USD", _amount(_text(value))


def _shortest(number: float) -> str:
    """The shortest decimal that is this single-precision number."""
    spellings = (f"{number:.{digits}g}" for digits in range(1, 10))
    return next(text for text in spellings if struct.pack("<f", float(text)) == struct.pack("<f", number))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else "" if value is None else str(value)


def _amount(text: str) -> Decimal:
    amount = Decimal(text.strip())
    if not amount.is_finite():
        raise ValueError(f"{text} is not an amount")
    return amount


def _place(headers: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Where the column is, however its name is spelled: the exact name first."""
    plain = [re.sub("[^a-z]", "", header.lower()) for header in headers]
    return next((n for name in wanted for n, header in enumerate(plain) if header == name), None)
