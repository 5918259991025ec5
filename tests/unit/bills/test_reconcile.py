"""What a statement holds after a publication, and when that is not what the source says."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billfold.bills.reconcile import Worth, carry, find_loss, reconcile
from billfold.errors import ReconciliationError
from billfold.model import Totals

HUGE = Decimal("123456789012345678901234567890123456789.1234567890123456789012345678901")
TINY = Decimal("1e-40")


def totals(rows: int = 1, cost: Decimal | int = 1, currency: str = "USD") -> Totals:
    money = {currency: Decimal(cost)}
    return Totals(row_count=rows, charge_count=rows, gross=money, net=money, billed=money)


def test_what_came_is_added_and_what_went_is_taken_away() -> None:
    after = carry(totals(5, 50), totals(2, 7), totals(1, 10))

    assert after == totals(6, 47)


def test_sums_never_round() -> None:
    after = carry(totals(cost=HUGE), totals(cost=TINY), totals(cost=HUGE))

    assert after.billed == {"USD": TINY}


def test_each_currency_is_carried_by_itself() -> None:
    after = carry(totals(cost=1), totals(cost=2, currency="EUR"), Totals())

    assert after.billed == {"EUR": Decimal(2), "USD": Decimal(1)}


def test_equal_sides_pass() -> None:
    reconcile(totals(), totals())


def test_a_currency_of_nothing_is_no_difference() -> None:
    reconcile(totals(), carry(totals(), totals(0, 0, "EUR"), Totals()))


def test_spelling_is_no_difference() -> None:
    reconcile(totals(cost=Decimal("1.50")), totals(cost=Decimal("1.5")))


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (totals(rows=2), "rows: source 1, raw 2"),
        (
            totals(cost=Decimal("1.0000000000000000000000000000000000000001")),
            "gross cost in raw rows: source 1 USD, found 1.000000",
        ),
        (
            Totals(row_count=1, gross={"USD": Decimal(1)}, net={"USD": Decimal(1)}),
            "billed cost of charges: source 1 USD",
        ),
        (totals(currency="EUR"), "source 0 EUR, found 1 EUR"),
    ],
)
def test_a_difference_is_told_in_one_line(held: Totals, words: str) -> None:
    with pytest.raises(ReconciliationError) as caught:
        reconcile(totals(), held)

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not caught.value.retryable


def worth(rows: int, cost: int | None = None, billed: int | None = None, currency: str = "USD") -> Worth:
    cost = rows if cost is None else cost
    return Worth(
        row_count=rows,
        undiscounted={currency: Decimal(cost)},
        billed={currency: Decimal(cost if billed is None else billed)},
    )


def test_what_a_loss_names() -> None:
    assert find_loss([worth(4), worth(2, 10)], worth(2, 6), min_percent=50) == (
        "would leave 2 of 6 rows and 6 of 14 USD"
    )


def test_credits_make_no_loss_and_hide_none() -> None:
    assert find_loss([worth(10, 100)], worth(11, 100, billed=1), min_percent=50) is None
    assert find_loss([worth(10, 100, billed=1)], worth(10, 40, billed=40), min_percent=50) == (
        "would leave 40 of 100 USD before credits, refunds and discounts"
    )


def test_a_currency_that_is_gone_is_a_loss() -> None:
    assert find_loss([worth(2, 3, currency="EUR")], worth(2, 100), min_percent=1) == "would leave 0 of 3 EUR"


def test_a_limit_of_nothing_finds_no_loss() -> None:
    assert find_loss([worth(10, 100)], worth(0, 0), min_percent=0) is None
