"""The slow twin of the canonical hash: what it must tell apart and what not. That DuckDB agrees is shown elsewhere."""

from __future__ import annotations

from decimal import Decimal

from billfold.model import ExportFormat, Residual
from tests.unit.transform.slow_identity import slow_row_hash

NEEDED = {
    "line_item_line_item_type": "Usage",
    "line_item_unblended_cost": "1",
    "line_item_usage_start_date": "2026-05-03T00:00:00Z",
    "line_item_usage_account_id": "111122223333",
}
CUR2 = ExportFormat.CUR2


def test_the_order_of_columns_does_not_matter() -> None:
    item = {**NEEDED, "product_sku": "A"}

    assert slow_row_hash(dict(reversed(item.items())), CUR2) == slow_row_hash(item, CUR2)


def test_an_empty_value_is_none() -> None:
    assert slow_row_hash({**NEEDED, "product_sku": ""}, CUR2) == slow_row_hash(NEEDED, CUR2)


def test_the_line_item_id_is_ignored() -> None:
    assert slow_row_hash({**NEEDED, "identity_line_item_id": "x"}, CUR2) == slow_row_hash(NEEDED, CUR2)


def test_the_order_of_a_maps_keys_does_not_matter() -> None:
    one = slow_row_hash({**NEEDED, "resource_tags": '{"a":"1","b":"2"}'}, CUR2)

    assert slow_row_hash({**NEEDED, "resource_tags": '{"b": "2", "a": "1"}'}, CUR2) == one


def test_a_value_cannot_be_moved_into_its_neighbour() -> None:
    hashes = {
        slow_row_hash({**NEEDED, **item}, CUR2)
        for item in (
            {"product_a": "1", "product_b": "23"},
            {"product_a": "12", "product_b": "3"},
            {"product_a": "123"},
            {"product_a": "19:product_b2:23"},
            {"product_b": "123"},
        )
    }

    assert len(hashes) == 5


def test_a_map_and_its_spelling_differ() -> None:
    map_hash = slow_row_hash({**NEEDED, "resource_tags": '{"a":"1"}'}, CUR2)

    assert slow_row_hash({**NEEDED, "resource_tags": "1:a1:1"}, CUR2) != map_hash


def test_a_legacy_report_hashes_like_cur_2() -> None:
    legacy = {
        "lineItem/LineItemType": "Usage",
        "lineItem/UnblendedCost": "1",
        "lineItem/UsageStartDate": "2026-05-03T00:00:00Z",
        "lineItem/UsageAccountId": "111122223333",
    }

    assert slow_row_hash(legacy, ExportFormat.LEGACY_CUR) == slow_row_hash(NEEDED, CUR2)


def test_a_residual_is_hashed_as_a_line_item_of_payer_and_currency() -> None:
    one = Residual(billing_account_id="111122223333", billing_currency="USD", cost=Decimal(1))
    same_place = Residual(billing_account_id="111122223333", billing_currency="USD", cost=Decimal(2))
    other = Residual(billing_account_id="111122223333", billing_currency="EUR", cost=Decimal(1))

    assert one.row_hash == same_place.row_hash
    assert one.row_hash != other.row_hash
