"""Unpacks a delivered file for the parser: the content decides what it is, never the name."""

from __future__ import annotations

import codecs
import gzip
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from billfold.aws.spool import CHUNK_BYTES, write_chunks
from billfold.errors import MalformedFileError
from billfold.model import SpooledFile, UnpackedFile
from billfold.settings import Settings

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_PARQUET = b"PAR1"
_ENCRYPTED_PARQUET = b"PARE"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SAMPLE_BYTES = 64 * 2**10
_ENCRYPTED_FLAG = 0x1
# What zipfile raises for wrong headers, besides its own error: bad offsets, names that are not text, new versions.
_BROKEN_ZIP = (EOFError, NotImplementedError, ValueError, struct.error, zipfile.BadZipFile, zlib.error)


def unpack(spooled: SpooledFile, folder: Path, settings: Settings) -> UnpackedFile:
    """The content of a spooled file, unpacked into `folder` if it was packed; a plain file stays where it is.

    Gzip may have several members, zip exactly one file, and either may hold CSV or Parquet. Memory is constant.
    Raises MalformedFileError for content that is truncated, corrupt, empty, encrypted, nested or not text, and
    SourceLimitError for content that grows beyond BILLFOLD_MAX_UNPACKED_BYTES.
    """
    key = spooled.source.key
    path = spooled.path
    if (head := _head(path)).startswith((_GZIP, *_ZIP)):
        path = folder / f"{spooled.path.name}.unpacked"
        chunks = _gunzip(spooled.path, key) if head.startswith(_GZIP) else _unzip(spooled.path, key)
        write_chunks(
            chunks,
            path,
            key=f"{key}, unpacked,",
            limit_bytes=settings.max_unpacked_bytes,
            limit_name="BILLFOLD_MAX_UNPACKED_BYTES",
            min_free_bytes=settings.min_free_bytes,
        )
    try:
        kind = _kind(path, key)
    except MalformedFileError:
        if path != spooled.path:
            path.unlink(missing_ok=True)
        raise
    return UnpackedFile(
        source=spooled.source, path=path, kind=kind, packed_sha256=spooled.sha256, size_bytes=path.stat().st_size
    )


def _gunzip(path: Path, key: str) -> Iterator[bytes]:
    try:
        with gzip.open(path) as file:
            yield from iter(lambda: file.read(CHUNK_BYTES), b"")
    except EOFError as error:
        raise MalformedFileError("is a truncated gzip file", file=key) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise MalformedFileError(f"is a corrupt gzip file ({error})", file=key) from error


def _unzip(path: Path, key: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            member = _only_member(archive, key)
            with archive.open(member) as file:
                yield from iter(lambda: file.read(CHUNK_BYTES), b"")
    except _BROKEN_ZIP as error:
        raise MalformedFileError(f"is a truncated or corrupt zip file ({error})", file=key) from error


def _only_member(archive: zipfile.ZipFile, key: str) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if not member.is_dir() and not _is_of_macos(member.filename)]
    if len(members) != 1:
        raise MalformedFileError(f"is a zip file of {len(members)} data files instead of one", file=key)
    if members[0].flag_bits & _ENCRYPTED_FLAG:
        raise MalformedFileError("is an encrypted zip file", file=key)
    if members[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MalformedFileError("is a zip file with a compression method that AWS does not use", file=key)
    return members[0]


def _is_of_macos(name: str) -> bool:
    # Zipping on a Mac adds resource forks and hidden files.
    return name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith(".")


def _kind(path: Path, key: str) -> Literal["csv", "parquet"]:
    head = _head(path)
    if not head:
        raise MalformedFileError("is empty: not even a header", file=key)
    if head.startswith((_GZIP, *_ZIP)):
        raise MalformedFileError("is an archive inside an archive", file=key)
    if head.startswith(_ENCRYPTED_PARQUET):
        raise MalformedFileError("is an encrypted Parquet file", file=key)
    if head.startswith(_PARQUET):
        if path.stat().st_size < 3 * len(_PARQUET) or _tail(path, len(_PARQUET)) != _PARQUET:
            raise MalformedFileError("is a truncated Parquet file", file=key)
        return "parquet"
    if head.startswith(_UTF16) or b"\0" in head or not _is_utf8(head):
        raise MalformedFileError("is not UTF-8 text, gzip, zip or Parquet", file=key)
    return "csv"


def _is_utf8(head: bytes) -> bool:
    try:
        # The sample may end within a character, which an incremental decoder waits for.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_SAMPLE_BYTES)


def _tail(path: Path, size_bytes: int) -> bytes:
    with path.open("rb") as file:
        file.seek(-size_bytes, 2)
        return file.read(size_bytes)
