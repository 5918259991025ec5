"""What a delivered file is: its content decides, and nothing that is broken comes through."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from billfold.aws.unpack import unpack
from billfold.errors import MalformedFileError, SourceLimitError
from billfold.model import SourceObject, SpooledFile, UnpackedFile
from billfold.settings import Settings, load_settings

CSV = b"lineItem/UnblendedCost,x\n0.1,\xc3\xa9\n"
PARQUET = b"PAR1" + b"\0" * 32 + b"PAR1"
KEY = "exports/acme/data/acme-00001.csv.gz"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    path.mkdir()
    return path


def spooled(folder: Path, content: bytes, key: str = KEY) -> SpooledFile:
    path = folder / "00001"
    path.write_bytes(content)
    source = SourceObject(
        bucket="bills", key=key, etag="e", size_bytes=len(content), modified_at=datetime(2023, 11, 5, tzinfo=UTC)
    )
    return SpooledFile(source=source, path=path, sha256=hashlib.sha256(content).hexdigest())


def unpacked(folder: Path, content: bytes, settings: Settings, key: str = KEY) -> UnpackedFile:
    return unpack(spooled(folder, content, key), folder, settings)


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("content", [CSV, PARQUET])
@pytest.mark.parametrize("pack", [gzip.compress, lambda content: zipped(a=content)])
def test_a_packed_file_is_unpacked(folder: Path, settings: Settings, content: bytes, pack: object) -> None:
    assert callable(pack)
    packed = pack(content)

    file = unpacked(folder, packed, settings)

    assert file.path.read_bytes() == content
    assert file.kind == ("csv" if content == CSV else "parquet")
    assert file.size_bytes == len(content)
    assert file.packed_sha256 == hashlib.sha256(packed).hexdigest()


@pytest.mark.parametrize(("content", "kind"), [(CSV, "csv"), (PARQUET, "parquet"), (b"\xef\xbb\xbf" + CSV, "csv")])
def test_a_plain_file_stays_where_it_is_whatever_its_name(
    folder: Path, settings: Settings, content: bytes, kind: str
) -> None:
    file = unpacked(folder, content, settings)

    assert file.kind == kind
    assert file.path == folder / "00001"


def test_a_gzip_named_csv_is_unpacked(folder: Path, settings: Settings) -> None:
    assert unpacked(folder, gzip.compress(CSV, mtime=0), settings, "acme.csv").path.read_bytes() == CSV


def test_every_member_of_a_gzip_counts(folder: Path, settings: Settings) -> None:
    file = unpacked(folder, gzip.compress(CSV, mtime=0) + gzip.compress(b"0.2,b\n", mtime=0), settings)

    assert file.path.read_bytes() == CSV + b"0.2,b\n"


def test_a_member_of_a_zip_cannot_choose_where_it_is_written(folder: Path, settings: Settings) -> None:
    file = unpacked(folder, zipped(**{"../../outside.csv": CSV, "__MACOSX/._outside.csv": b"x"}), settings)

    assert file.path.parent == folder
    assert {path.name for path in folder.parent.iterdir()} == {"home", "work", "spool"}


def test_a_character_cut_by_the_sample_is_still_text(folder: Path, settings: Settings) -> None:
    assert unpacked(folder, b"a" * (64 * 2**10 - 1) + "é".encode(), settings).kind == "csv"


def encrypted_zip() -> bytes:
    content = bytearray(zipped(a=CSV))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def corrupt(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


LONG = "".join(f"{number},{number * number}\n" for number in range(2000)).encode()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty: not even a header"),
        (gzip.compress(b"", mtime=0), "is empty: not even a header"),
        (zipped(a=b""), "is empty: not even a header"),
        (gzip.compress(LONG, mtime=0)[:-20], "is a truncated gzip file"),
        (corrupt(gzip.compress(LONG, mtime=0)), "is a corrupt gzip file"),
        (gzip.compress(CSV, mtime=0) + b"garbage", "is a corrupt gzip file"),
        (zipped(a=LONG)[:-30], "is a truncated or corrupt zip file"),
        (corrupt(zipped(a=LONG)), "is a truncated or corrupt zip file"),
        (zipped(), "a zip file of 0 data files"),
        (zipped(a=CSV, b=CSV), "a zip file of 2 data files"),
        (encrypted_zip(), "is an encrypted zip file"),
        (zipped(a=zipped(a=CSV)), "is an archive inside an archive"),
        (gzip.compress(gzip.compress(CSV), mtime=0), "is an archive inside an archive"),
        (PARQUET[:-1], "is a truncated Parquet file"),
        (b"PAR1", "is a truncated Parquet file"),
        (b"PARE" + b"\0" * 32 + b"PARE", "is an encrypted Parquet file"),
        ("lineItem,ü\n".encode("utf-16"), "is not UTF-8 text"),
        (b"a,b\n1,\0\n", "is not UTF-8 text"),
        ("a,ü\n".encode("latin-1"), "is not UTF-8 text"),
    ],
    # Packed bytes hold the time: as names they would differ between the processes that run the tests.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_a_whole_bill_is_refused_in_one_line(
    folder: Path, settings: Settings, content: bytes, problem: str
) -> None:
    with pytest.raises(MalformedFileError, match=problem) as caught:
        unpacked(folder, content, settings)

    assert str(caught.value).startswith(f"{KEY}: ")
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.iterdir()] == ["00001"]


@pytest.mark.parametrize(
    "packed", [gzip.compress(b"0" * 5_000_000, mtime=0), zipped(a=b"0" * 5_000_000)], ids=["gzip", "zip"]
)
def test_a_bomb_is_stopped_at_the_limit(folder: Path, environment: pytest.MonkeyPatch, packed: bytes) -> None:
    environment.setenv("BILLFOLD_MAX_UNPACKED_BYTES", "2000000")
    environment.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
    settings = load_settings()

    with pytest.raises(SourceLimitError, match="BILLFOLD_MAX_UNPACKED_BYTES"):
        unpacked(folder, packed, settings)

    assert [path.name for path in folder.iterdir()] == ["00001"]
