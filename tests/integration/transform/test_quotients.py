"""Computed quotients: half away from zero at 18 decimals, as decimal arithmetic has it."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.at_length import rounds
from tests.bills.landing import Landing

NUMBERS = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(-(10**25), 10**25), st.integers(-30, 6)
)
# Ties at the 19th decimal, and what is next to them.
TIES = st.builds(
    lambda digits, divisor, off: ((Decimal(10 * digits + 5).scaleb(-19) * divisor + Decimal(off).scaleb(-40)), divisor),
    st.integers(-(10**12), 10**12),
    st.sampled_from([Decimal(divisor) for divisor in ("1", "-2", "3", "0.7", "-1e-9", "12345678901234567")]),
    st.sampled_from([-1, 0, 1]),
)


def divided(dividend: Decimal, divisor: Decimal) -> Decimal:
    with localcontext() as context:
        context.prec = 200
        # Division at this precision is exact enough: two numbers of so few digits are not nearer to a tie than this.
        return (dividend / divisor).quantize(Decimal("1e-18"), ROUND_HALF_UP)


@pytest.mark.at_length
@hypothesis_settings(
    max_examples=rounds(20, in_soak=40),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pairs=st.lists(st.one_of(TIES, st.tuples(NUMBERS, NUMBERS.filter(bool))), min_size=1, max_size=100))
def test_a_quotient_is_rounded_once_and_half_away_from_zero(
    landing: Landing, pairs: list[tuple[Decimal, Decimal]]
) -> None:
    found = landing.query(
        "SELECT billfold_quotient(dividend, divisor) FROM unnest(%s::numeric[], %s::numeric[])"
        " WITH ORDINALITY AS pair (dividend, divisor, place) ORDER BY place",
        *map(list, zip(*pairs, strict=True)),
    )

    assert [quotient for (quotient,) in found] == [divided(*pair) for pair in pairs]


def test_nothing_is_divided_by_zero(landing: Landing) -> None:
    assert landing.query("SELECT billfold_quotient(1, 0), billfold_quotient(0, 3)::text") == [(None, "0")]
