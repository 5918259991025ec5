"""The columns of a data file, from a few of its bytes, and the columns that a manifest lists."""

from __future__ import annotations

import codecs
import csv
import io
import struct
import zipfile
import zlib
from collections.abc import Callable

from billfold.aws.foreign_json import skim_json

# Thousands of tags fit into it, compressed.
HEADER_BYTES = 256 * 2**10
_MAX_UNPACKED_BYTES = 4 * 2**20
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_ZIP_HEADER = struct.Struct("<4s5H3L2H")
_ZIP_ENCRYPTED = 0x1
_PARQUET = b"PAR1"
# A Parquet file ends with its footer, the footer's length (4 bytes, little-endian) and the magic again.
_PARQUET_ENDING_BYTES = 8
_MAX_FOOTER_BYTES = 16 * 2**20


def read_manifest_columns(content: bytes) -> tuple[str, ...] | None:
    """The headers that a manifest lists, as its data files spell them; None if it lists none.

    Legacy reports list a category and a name, which are `lineItem/UnblendedCost` in the file.
    """
    document = skim_json(content)
    columns = document.get("columns") if isinstance(document, dict) else None
    if not isinstance(columns, list):
        return None
    headers = []
    for column in columns:
        if not isinstance(column, dict) or not isinstance(column.get("name"), str):
            return None
        category = column.get("category")
        headers.append(f"{category}/{column['name']}" if category else column["name"])
    return tuple(headers) or None


def read_headers(beginning: bytes, size_bytes: int, read_part: Callable[[str], bytes]) -> tuple[str, ...] | None:
    """The headers of a CSV file from its beginning, of a Parquet file from its end; None if neither can be read.

    `read_part` reads an HTTP range of the object (`bytes=0-9`).
    """
    if is_parquet(beginning):
        return read_parquet_headers(size_bytes, read_part)
    if beginning.startswith(_ZIP):
        # Its table of contents is at the end, and Data Exports never writes one.
        return None
    text = _unpack(beginning) if beginning.startswith(_GZIP) else beginning
    try:
        # What follows the header may be cut within a character.
        decoded = codecs.getincrementaldecoder("utf-8-sig")().decode(text)
        # Only CR and LF end a line, and not within quotes.
        lines = io.StringIO(decoded, newline="")
        header = next(csv.reader(lines, strict=True), [])
        is_whole = len(beginning) >= size_bytes or decoded[: lines.tell()].endswith(("\r", "\n"))
    except (UnicodeDecodeError, csv.Error):
        return None
    return tuple(header) if header and is_whole else None


def is_parquet(beginning: bytes) -> bool:
    """Whether a file that begins with these bytes is Parquet."""
    return beginning.startswith(_PARQUET)


def unpack_beginning(beginning: bytes) -> bytes:
    """The beginning of a file's content, unpacked if it is gzip or the first file of a zip; empty if that fails."""
    if beginning.startswith(_GZIP):
        return _unpack(beginning)
    if beginning.startswith(_ZIP):
        return _unzip(beginning)
    return beginning


def _unzip(beginning: bytes) -> bytes:
    """The first file of a zip, from the header before it."""
    if len(beginning) < _ZIP_HEADER.size:
        return b""
    _, _, flags, method, *_, name_bytes, extra_bytes = _ZIP_HEADER.unpack_from(beginning)
    content = beginning[_ZIP_HEADER.size + name_bytes + extra_bytes :]
    if flags & _ZIP_ENCRYPTED:
        return b""
    if method == zipfile.ZIP_STORED:
        return content
    return _inflate(content, -zlib.MAX_WBITS) if method == zipfile.ZIP_DEFLATED else b""


def _unpack(beginning: bytes) -> bytes:
    return _inflate(beginning, zlib.MAX_WBITS | 16)


def _inflate(packed: bytes, window_bits: int) -> bytes:
    try:
        return zlib.decompressobj(window_bits).decompress(packed, _MAX_UNPACKED_BYTES)
    except zlib.error:
        return b""


def read_parquet_headers(size_bytes: int, read_part: Callable[[str], bytes]) -> tuple[str, ...] | None:
    """The columns of a Parquet file from its footer; None if it cannot be read."""
    import pyarrow
    import pyarrow.parquet as parquet

    ending = read_part(f"bytes=-{_PARQUET_ENDING_BYTES}")
    footer_bytes = int.from_bytes(ending[:4], "little")
    if ending[4:] != _PARQUET or not 0 < footer_bytes <= min(_MAX_FOOTER_BYTES, size_bytes):
        return None
    footer = read_part(f"bytes=-{footer_bytes + _PARQUET_ENDING_BYTES}")
    try:
        # Only the schema is needed: the rows before the footer are never read.
        return tuple(parquet.read_schema(io.BytesIO(_PARQUET + footer)).names)
    except (pyarrow.ArrowException, OSError):
        # A footer that Thrift cannot read is a plain OSError.
        return None
