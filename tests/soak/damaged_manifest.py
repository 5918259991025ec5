"""Damage to a manifest: to its values, its names, its numbers and its text."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tests.soak.bits import flip_bits
from tests.soak.valid_exports import spell_manifest

# Spelled into the JSON as they are: what json.dumps does not write.
RAW_VALUES = (
    "9" * 5_000,
    "-" + "9" * 400,
    "1." + "1" * 5_000,
    "1e400",
    "-1E+999999",
    "NaN",
    "Infinity",
    "-Infinity",
    "-0",
    "[" * 100_000 + "]" * 100_000,
    '{"a":' * 900 + "1" + "}" * 900,
    "[" * 60 + "]" * 60,
    '"\\ud800"',
    '"\\u0000"',
    '{"a":1,"a":2}',
    "true",
    "null",
    '""',
    "[]",
    "{}",
    "0",
    "1e3",
    "012",
    "'x'",
    '"' + "x" * 100_000 + '"',
    '"../../etc/passwd"',
    '"/etc/passwd"',
    '"s3://other-bucket/x.csv.gz"',
    '"s3://"',
    '"2026-13"',
    '"2026-04"',
    '"9999-12"',
    '"\u0662\u0660\u0662\u0666-\u0660\u0665"',
    '"\\u202e\\n"',
    '["a", "a"]',
    '[{"key": "x"}, {"s3key": 5}, [], null]',
)
_PLACEHOLDER = "@@raw@@"


def damage_manifest(random: Random, manifest: dict[str, Any]) -> tuple[str, bytes]:
    """What was done, and the manifest after it."""
    if random.random() < 0.3:
        return _damage_manifest_text(random, spell_manifest(manifest))
    raw = random.choice(RAW_VALUES)
    how = random.choice(("value", "value", "value", "member", "name", "lost", "twice", "case", "whole"))
    document: Any = json.loads(spell_manifest(manifest))
    # The members that decide come up as often as all the others.
    decisive = [name for name in document if name.lower() in ("datafiles", "reportkeys", "billingperiod", "exportname")]
    name = random.choice(decisive if random.random() < 0.5 else list(document))
    if how == "value":
        _replace_within(random, document, name)
    elif how == "member":
        document["size"] = _PLACEHOLDER
    elif how == "name":
        document[random.choice(("", "\x00", "size\ud800", name.upper(), "x" * 10_000))] = document.pop(name)
    elif how == "lost":
        del document[name]
    elif how == "case":
        document[name.swapcase()] = _PLACEHOLDER
    elif how == "whole":
        document = random.choice(([document], _PLACEHOLDER, {"a": document}))
    text = json.dumps(document).replace(f'"{_PLACEHOLDER}"', raw)
    if how == "twice":
        text = f'{text[:-1]}, "{name}": {raw}}}'
    return f"manifest {how} {name} {raw[:20]}", text.encode("utf-8", "surrogatepass")


def _replace_within(random: Random, document: dict[str, Any], name: str) -> None:
    """Put the placeholder in the member's place, or somewhere in it."""
    holder: Any = document
    key: Any = name
    while isinstance(holder[key], dict | list) and holder[key] and random.random() < 0.6:
        holder = holder[key]
        key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
    holder[key] = _PLACEHOLDER


def _damage_manifest_text(random: Random, text: bytes) -> tuple[str, bytes]:
    how = random.choice(("bom", "utf16", "latin", "cut", "flip", "trailing", "empty", "nul", "spaces", "comment"))
    place = random.randrange(len(text))
    damaged = {
        "bom": b"\xef\xbb\xbf" + text,
        "utf16": text.decode().encode("utf-16"),
        "latin": text[:place] + b"\xe9" + text[place:],
        "cut": text[:place],
        "flip": flip_bits(random, text, 1),
        "trailing": text + random.choice((b"x", b"{}", b"\0", b"\n\n", text)),
        "empty": random.choice((b"", b" ", b"\n", b"\0" * 100)),
        "nul": text[:place] + b"\0" + text[place:],
        "spaces": text.replace(b" ", b" " * 1_000),
        "comment": b"// " + text,
    }
    return f"manifest {how}", damaged[how]
