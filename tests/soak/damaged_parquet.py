"""Damage to a Parquet file: to its bytes, or to a table whose types and values are not those that AWS writes."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from tests.soak.bits import flip_bits
from tests.soak.odd_values import TEXTS
from tests.soak.valid_exports import ValidExport


def damage_parquet(random: Random, export: ValidExport) -> tuple[str, bytes]:
    """What was done, and the file after it."""
    if random.random() < 0.4:
        how = random.choice(tuple(_OF_TABLES))
        try:
            return f"table {how}", _write(random, _OF_TABLES[how](random, export, export.table()))
        except (pa.ArrowException, ValueError, TypeError):
            # Not every type can hold every value: then the bytes are damaged.
            pass
    content = _write(random, export.table())
    footer_bytes = int.from_bytes(content[-8:-4], "little")
    footer = len(content) - 8 - footer_bytes
    how = random.choice(("footer", "footer", "page", "page", "page", "cut", "zeros", "length", "magic", "tail", "head"))
    flips = random.choice((1, 1, 4))
    at = random.randrange(len(content) - 100)
    lengths = (0, 1, 2**31, 2**32 - 1, footer_bytes + 1, footer_bytes - 1)
    return f"parquet {how}", {
        "footer": content[:footer] + flip_bits(random, content[footer:-4], flips) + content[-4:],
        "page": content[:4] + flip_bits(random, content[4:footer], flips) + content[footer:],
        "cut": content[:at],
        "zeros": content[:at] + bytes(100) + content[at + 100 :],
        "length": content[:-8] + struct.pack("<I", random.choice(lengths)) + content[-4:],
        "magic": b"PAR2" + content[4:] if random.random() < 0.5 else b"PARE" + content[4:],
        "tail": content + b"PAR1",
        "head": content[:4],
    }[how]


def _write(random: Random, table: pa.Table) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(
        table,
        stream,
        compression=random.choice(("snappy", "snappy", "gzip", "zstd", "none")),
        row_group_size=random.choice((1, 5, 1_000)),
        use_dictionary=random.random() < 0.5,
    )
    return stream.getvalue()


def _cost_values(random: Random, export: ValidExport, table: pa.Table) -> pa.Table:
    values = _costs(export, table)
    odd = (float("nan"), float("inf"), -0.0, 1e300, 5e-324, 1e22, 123456789012345678.0, None)
    values[random.randrange(len(values))] = random.choice(odd)
    return _with_costs(export, table, pa.array(values, pa.float64()))


def _cost_type(random: Random, export: ValidExport, table: pa.Table) -> pa.Table:
    values = _costs(export, table)
    texts, decimals = [repr(value) for value in values], [Decimal(repr(value)) for value in values]
    scaled = [value.quantize(Decimal("1e-9")) for value in decimals]
    return _with_costs(
        export,
        table,
        random.choice(
            (
                pa.array(texts, pa.large_string()),
                pa.array([text.encode() for text in texts], pa.binary()),
                pa.array(scaled, pa.decimal128(38, 9)),
                pa.array(scaled, pa.decimal256(60, 30)),
                pa.array(values, pa.float32()),
                pa.array([random.randrange(-(2**60), 2**60) for _ in values], pa.int64()),
                pa.array([value > 0 for value in values]),
                pa.array([[value] for value in values]),
                pa.array([{"a": value} for value in values]),
                pa.array([date(2026, 5, 1)] * len(values)),
                pa.array(texts).dictionary_encode(),
                pa.nulls(len(values)),
            )
        ),
    )


def _time_type(random: Random, export: ValidExport, table: pa.Table) -> pa.Table:
    names = [name for name in table.column_names if pa.types.is_timestamp(table.schema.field(name).type)]
    name = random.choice(names)
    column = table.column(name)
    types = (
        pa.timestamp("ns"),
        pa.timestamp("us", "UTC"),
        pa.timestamp("s", "America/New_York"),
        pa.date32(),
        pa.date64(),
        pa.string(),
    )
    return table.set_column(table.column_names.index(name), name, column.cast(random.choice(types), safe=False))


def _columns(random: Random, export: ValidExport, table: pa.Table) -> pa.Table:
    at = random.randrange(len(table.column_names))
    name = table.column_names[at]
    count = len(table)
    how = random.choice(("lost", "twice", "renamed", "other", "none"))
    if how == "lost":
        return table.remove_column(at)
    if how == "none":
        return table.slice(0, 0)
    if how == "other":
        values = pa.array([random.choice(TEXTS[:28]) for _ in range(count)], pa.string())
        return table.set_column(at, name, values)
    if how == "renamed":
        names = list(table.column_names)
        names[at] = random.choice(("", " ", name.upper(), "a\nb", "x" * 10_000, "file_row_number", "filename", "c0"))
        return table.rename_columns(names)
    return table.append_column(name, table.column(at))


_OF_TABLES: dict[str, Callable[[Random, ValidExport, pa.Table], pa.Table]] = {
    "cost value": _cost_values,
    "cost type": _cost_type,
    "time type": _time_type,
    "columns": _columns,
}


def _costs(export: ValidExport, table: pa.Table) -> list[Any]:
    return table.column(_cost_name(export)).to_pylist()


def _with_costs(export: ValidExport, table: pa.Table, values: pa.Array) -> pa.Table:
    name = _cost_name(export)
    return table.set_column(table.column_names.index(name), name, values)


def _cost_name(export: ValidExport) -> str:
    return "BilledCost" if export.family.startswith("focus") else "line_item_unblended_cost"
