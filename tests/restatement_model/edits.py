"""What AWS may make of a bill at its next refresh, and how the refresh is spread over files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from gzip import compress
from random import Random

import hypothesis.strategies as st

from tests.line_items import as_csv
from tests.restatement_model.bills import COLUMNS, COVERED, DISCOUNT, FEE, NEGATION, Item, columns_in_use

MAX_ROWS = 14


@dataclass(frozen=True, slots=True)
class Add:
    """A new line item."""

    item: Item

    def edit(self, items: list[Item]) -> None:
        items.append(self.item)


@dataclass(frozen=True, slots=True)
class Remove:
    """One of the line items is gone; like the other edits it counts round the bill."""

    place: int

    def edit(self, items: list[Item]) -> None:
        if items:
            del items[self.place % len(items)]


@dataclass(frozen=True, slots=True)
class Repeat:
    """One of the line items comes once more, in every detail."""

    place: int

    def edit(self, items: list[Item]) -> None:
        if items:
            items.append(items[self.place % len(items)])


@dataclass(frozen=True, slots=True)
class Recost:
    """One of the line items costs something else."""

    place: int
    cost: str

    def edit(self, items: list[Item]) -> None:
        if items:
            items[self.place % len(items)] = replace(items[self.place % len(items)], cost=self.cost)


@dataclass(frozen=True, slots=True)
class Discount:
    """The first line items have a net cost, which changes the cost basis of the whole bill; with 0 no item has one."""

    item_count: int

    def edit(self, items: list[Item]) -> None:
        for place, item in enumerate(items):
            items[place] = replace(item, net="0.75" if place < self.item_count else "")


@dataclass(frozen=True, slots=True)
class NameDiscounts:
    """The columns of the first line items name a discount; with 0 those of none do."""

    item_count: int

    def edit(self, items: list[Item]) -> None:
        for place, item in enumerate(items):
            items[place] = replace(item, discount="-0.25" if place < self.item_count else "")


@dataclass(frozen=True, slots=True)
class Clear:
    """Nothing is left."""

    def edit(self, items: list[Item]) -> None:
        items.clear()


Edit = Add | Remove | Repeat | Recost | Discount | NameDiscounts | Clear


@dataclass(frozen=True, slots=True)
class Layout:
    """How a bill is spread over files: with 0 as seed in order, else shuffled, rows and columns, with ids of that seed.

    Every second seed leaves out the columns that no row fills. Without a row a single file is left out too.
    """

    file_count: int = 1
    seed: int = 0

    def spread(self, items: Sequence[Item], period: str) -> tuple[bytes, ...]:
        """The files, each as gzip CSV; one without a row has its header."""
        if not items and self.file_count == 1:
            return ()
        random = Random(self.seed)
        rows = [item.columns(period) for item in items]
        headers = list(COLUMNS) if self.seed % 2 == 0 else columns_in_use(items, period)
        if self.seed:
            rows = [{**row, "identity_line_item_id": f"{random.getrandbits(40):x}"} for row in rows]
            headers.append("identity_line_item_id")
            random.shuffle(rows)
            random.shuffle(headers)
        chunks = [rows[number :: self.file_count] for number in range(self.file_count)]
        return tuple(compress(as_csv(chunk, headers), mtime=0) for chunk in chunks)


COSTS = st.one_of(
    st.sampled_from(["1", "0", "2.5", "2.50", "-1", "1E-7", "-0.0000000001", "+.5", "12345.6789012345"]),
    st.decimals(-100, 1000, places=10).map(str),
    st.decimals(0, 100, places=2).map(str),
)
_ANYWHERE = {
    "name": st.sampled_from("ab"),
    "day": st.integers(1, 2),
    "account": st.sampled_from(["444455556666", "555566667777"]),
    "service": st.sampled_from(["AmazonEC2", "AmazonS3"]),
    "currency": st.sampled_from(["USD", "USD", "USD", "EUR"]),
}
ITEMS = st.one_of(
    st.builds(Item, COSTS, **_ANYWHERE),
    st.builds(Item, COSTS, kind=st.sampled_from(["Usage", "Tax", "Credit", NEGATION, DISCOUNT]), **_ANYWHERE),
    st.builds(
        Item,
        COSTS,
        kind=st.sampled_from([COVERED, FEE]),
        share=st.sampled_from(["0", "1", "1.75", "3"]),
        **_ANYWHERE,
    ),
)
# A fee that was used in part (two charges), a covered row and its negation, which leave something over, and two rows
# that are identical.
SPECIAL_ITEMS = (
    Item("2", kind=FEE, share="1.75"),
    Item("10", kind=COVERED, share="7"),
    Item("-9", kind=NEGATION),
    Item("20"),
    Item("20"),
)
PLACES = st.integers(0, MAX_ROWS - 1)
EDITS = st.lists(
    st.one_of(
        st.builds(Add, ITEMS),
        st.builds(Recost, PLACES, COSTS),
        st.builds(Remove, PLACES),
        st.builds(Repeat, PLACES),
        st.builds(Discount, st.integers(0, 2)),
        st.builds(NameDiscounts, st.integers(0, 3)),
        st.builds(Clear),
    ),
    min_size=1,
    max_size=4,
)
LAYOUTS = st.builds(Layout, st.integers(1, 3), st.integers(0, 6))
