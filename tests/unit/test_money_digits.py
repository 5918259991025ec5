"""The arithmetic of figures: exact in every thread, and told where a chart has no place for one."""

from __future__ import annotations

import decimal
import threading
from decimal import Decimal

import pytest

from billfold.money import DIGITS, axis_place


def test_sums_and_cents_of_large_amounts_are_exact_in_every_thread() -> None:
    found: list[Decimal] = []

    def add_up() -> None:
        found.append(sum([Decimal("1e40"), Decimal("0.001"), Decimal("-1e40")], Decimal(0)))
        found.append(Decimal("1e26").quantize(Decimal("0.01")))

    thread = threading.Thread(target=add_up)
    thread.start()
    thread.join()
    add_up()

    assert found == [Decimal("0.001"), Decimal("1e26")] * 2
    assert decimal.getcontext().prec == DIGITS


@pytest.mark.parametrize("amount", ["1e400", "-1e301", "NaN", "Infinity"])
def test_what_a_chart_has_no_place_for_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="does not fit on a chart"):
        axis_place(Decimal(amount))


def test_any_other_amount_has_its_place() -> None:
    assert axis_place(Decimal("-1e26")) == -1e26
