"""DuckDB's row_hash and occurrence: as the slow twin says, whatever file, order or encoding a line item comes in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, example, given
from hypothesis import settings as hypothesis_settings

from billfold.model import ExportFormat
from billfold.settings import Settings
from billfold.transform.identify import identify
from billfold.transform.parse import parse
from billfold.transform.session import open_session
from tests.at_length import rounds
from tests.bills.line_items import as_csv, line_item
from tests.bills.parsed import unpack_all
from tests.unit.transform.slow_identity import slow_row_hash

Identity = tuple[UUID, int]

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
VALUES = st.one_of(TEXTS, st.sampled_from(["", "a,b", 'a"b', "a\nb", "a\r\nb", " a ", "{}", "3:abc", "é", "NULL"]))
MAPS = st.dictionaries(TEXTS, TEXTS, max_size=4).map(lambda tags: json.dumps(tags, ensure_ascii=False))
MAP_TEXTS = st.one_of(
    MAPS,
    st.dictionaries(TEXTS, TEXTS, max_size=3).map(json.dumps),
    st.sampled_from(["", "{}", "{ }", "[1]", "no json", '"text"', '{"a":"12345678901234567890"}', '{"a":']),
)
HEADERS = st.sampled_from(
    "product_sku line_item_tax_type resource_tags_user_env resource_tags_user_Env new_column identity_line_item_id"
    " discount_total_discount unicode_é".split()
)


@st.composite
def bills(draw: st.DrawFn) -> list[dict[str, str]]:
    headers = draw(st.lists(HEADERS, unique_by=str.lower, max_size=5))
    items = [
        line_item(
            draw(st.sampled_from(["1", "2"])),
            **{header: draw(VALUES) for header in headers},
            resource_tags=draw(MAP_TEXTS),
            product=draw(MAP_TEXTS),
        )
        for _ in range(draw(st.integers(3, 8)))
    ]
    return [dict(item) for item in draw(st.lists(st.sampled_from(items), min_size=4, max_size=16))]


@pytest.mark.at_length
@hypothesis_settings(
    max_examples=rounds(4, in_soak=40),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(items=bills())
@example(items=[line_item(resource_tags='{"a":"x","A":"y"}'), line_item(resource_tags='{"A":"y","a":"x"}')])
@example(items=[line_item(resource_tags='{"a":"x\\u0041"}', product_sku="a\r\nb")])
def test_duckdb_hashes_as_the_slow_twin_does(settings: Settings, items: list[dict[str, str]]) -> None:
    found = identities(settings, [as_csv(items)])

    assert found == _numbered(items)


def test_the_same_lines_are_the_same_however_they_are_delivered(settings: Settings) -> None:
    items = [
        line_item(cost="1", resource_tags='{"a":"1","b":"2"}', line_item_line_item_description="two\nlines"),
        line_item(cost="1", resource_tags='{"b":"2","a":"1"}', line_item_line_item_description="two\nlines"),
        line_item(cost="2", resource_tags="{}", line_item_line_item_description=""),
        line_item(cost="3", resource_tags="", line_item_line_item_description='a "b", c'),
    ]
    headers = list(items[0])
    wanted = _numbered(items)

    assert identities(settings, [as_csv(items)]) == wanted
    assert identities(settings, [gzip.compress(as_csv(items), mtime=0)]) == wanted
    assert identities(settings, [as_csv(items, headers[::-1])]) == wanted
    assert identities(settings, [as_csv(items, line_end="\r\n").replace(b"two\nlines", b"two\nlines")]) == wanted
    assert identities(settings, [as_csv(items[::-1])]) == wanted
    assert identities(settings, [as_csv(items[2:], headers), as_csv(items[:2], headers)]) == wanted
    assert identities(settings, [as_csv(items[:1], headers), as_csv(items[1:], sorted(headers))]) == wanted
    assert identities(settings, [as_csv(items, [*headers, "line_item_tax_type"])]) == wanted
    assert identities(
        settings, [as_csv([{**item, "identity_line_item_id": str(n)} for n, item in enumerate(items)])]
    ) == (wanted)


DIFFERENT = [
    ({"product_a": "1", "product_b": "23"}, {"product_a": "12", "product_b": "3"}),
    ({"product_a": "1"}, {"product_b": "1"}),
    ({"product_a": "19:product_b1:2"}, {"product_a": "1", "product_b": "2"}),
    ({"product_a": "x"}, {"product_a": "X"}),
    ({"product_a": "x"}, {"product_a": " x"}),
    ({"product_a": "1.0"}, {"product_a": "1.00"}),
    ({"resource_tags": '{"Env":"a"}'}, {"resource_tags": '{"env":"a"}'}),
    ({"resource_tags": '{"a":"1","b":"2"}'}, {"resource_tags": '{"a":"2","b":"1"}'}),
    ({"resource_tags": '{"a":"11:b"}'}, {"resource_tags": '{"a":"1","b":""}'}),
    ({"resource_tags": "1:a1:1"}, {"resource_tags": '{"a":"1"}'}),
    ({"resource_tags_user_env": "a"}, {"resource_tags_user_Env": "a"}),
]


def test_different_lines_never_hash_alike(settings: Settings) -> None:
    """Each line item is a file with columns of its own, of one delivery; pairs are told apart by their cost."""
    contents = [as_csv([line_item(str(cost), **one)]) for cost, pair in enumerate(DIFFERENT) for one in pair]

    assert len({row_hash for row_hash, _ in identities(settings, contents)}) == 2 * len(DIFFERENT)


def _numbered(items: Sequence[dict[str, str]]) -> list[Identity]:
    """What the twin says: identical line items are counted from 1."""
    seen: dict[UUID, int] = {}
    numbered = []
    for item in items:
        row_hash = slow_row_hash(item, ExportFormat.CUR2)
        seen[row_hash] = seen.get(row_hash, 0) + 1
        numbered.append((row_hash, seen[row_hash]))
    return sorted(numbered)


def identities(settings: Settings, contents: Sequence[bytes]) -> list[Identity]:
    """(row_hash, occurrence) of all rows of these files, as one delivery."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = unpack_all(folder, contents, settings)
        with open_session(folder, memory_limit_mb=256, threads=2) as session:
            identify(session, parse(session, files))
            return sorted(session.execute("SELECT row_hash, occurrence FROM row_identity").fetchall())
