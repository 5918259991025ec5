"""JSON of others: one reading or one refusal, whatever it holds."""

from __future__ import annotations

import pytest

from billfold.aws.foreign_json import UnreadableJsonError, read_json, skim_json
from billfold.aws.manifest import parse_manifest
from billfold.aws.notifications import parse_notification
from billfold.errors import ManifestError, MessageError

UNREADABLE = {
    "an integer of 5,000 digits": ('{"size": ' + "9" * 5_000 + "}", "holds a number of 5000 characters (at most 400)"),
    "a fraction of 5,000 digits": ('{"size": 1.' + "9" * 5_000 + "}", "holds a number of 5002 characters"),
    "a number beyond a double": ('{"size": 1e400}', "holds the number 1e400, which is too large"),
    "NaN": ('{"size": NaN}', "is not JSON: it holds NaN, which is not a number"),
    "Infinity": ('{"size": -Infinity}', "is not JSON: it holds -Infinity, which is not a number"),
    "lists in lists": ("[" * 100_000 + "]" * 100_000, "is nested too deeply"),
    "objects in objects": ('{"a":' * 500 + "1" + "}" * 500, "is nested too deeply"),
    "a name twice": ('{"a": {"b": 1, "b": 2}}', "names 'b' twice in one object"),
    "text after its end": ("{} {}", "is not JSON: Extra data"),
    "nothing": ("", "is not JSON: Expecting value"),
    "a number that begins with zero": ('{"size": 012}', "is not JSON: Expecting ',' delimiter"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_two_readers_could_read_differently_is_refused_with_one_reason(name: str) -> None:
    text, reason = UNREADABLE[name]

    with pytest.raises(UnreadableJsonError) as refusal:
        read_json(text)
    with pytest.raises(ManifestError) as of_manifest:
        parse_manifest(text.encode(), "x-Manifest.json")
    with pytest.raises(MessageError) as of_message:
        parse_notification(text)

    assert refusal.value.reason.startswith(reason)
    assert reason in str(of_manifest.value)
    assert reason in str(of_message.value)
    assert str(of_manifest.value).isprintable()


@pytest.mark.parametrize("content", [b"\xff\xfe{\x00}\x00", b'{"a": "\xe9"}', b"\xed\xa0\x80"])
def test_what_is_not_utf_8_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableJsonError, match="is not UTF-8 text"):
        read_json(content)


def test_what_is_only_large_is_read() -> None:
    nested = "[" * 63 + "]" * 63

    document = read_json(f'\ufeff{{"a": {"9" * 400}, "b": {nested}, "c": "{"x" * 100_000}"}}'.encode())

    assert document["a"] == int("9" * 400)
    assert len(document["c"]) == 100_000


def test_another_programs_document_is_skimmed_whatever_its_numbers() -> None:
    assert skim_json(('{"a": NaN, "b": 1e999, "c": ' + "9" * 5_000 + "}").encode()).keys() == {"a", "b", "c"}
    assert skim_json(b"[" * 100_000) is None
    assert skim_json(b"\xff") is None


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ('"dataFiles": ["a.csv"], "DATAFILES": ["b.csv"]', "names a member twice, in different case"),
        ('"dataFiles": [["a.csv"]]', "holds an entry that names no file"),
        ('"dataFiles": {"a": 1}', "is not a list"),
        ('"dataFiles": ["a\\ud800.csv"]', "holds characters that cannot be stored"),
        ('"dataFiles": ["a\\u0000.csv"]', "holds characters that cannot be stored"),
        ('"dataFiles": [], "billingPeriod": {"start": [2026, 5]}', "names no billing period in a known format"),
        ('"dataFiles": [], "billingPeriod": ' + "9" * 400, "names no billing period in a known format"),
    ],
)
def test_a_manifest_of_wrong_types_is_refused_in_one_line(members: str, problem: str) -> None:
    with pytest.raises(ManifestError, match=problem) as refusal:
        parse_manifest(f"{{{members}}}".encode(), "x-Manifest.json")

    assert str(refusal.value).isprintable()
