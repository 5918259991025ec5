"""What AWS may make of a bill at its next refresh, and how the refresh is spread over files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal
from gzip import compress
from random import Random

import hypothesis.strategies as st

from tests.bills.line_items import as_csv
from tests.restatement_model.bills import COLUMNS, COVERED, DISCOUNT, FEE, NEGATION, Item, columns_in_use

MAX_ROWS = 18


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
class Rediscount:
    """Only the discount columns of one of the line items change; with '' it has none."""

    place: int
    discount: str

    def edit(self, items: list[Item]) -> None:
        _replace_one(items, self.place, lambda item: not item.is_split, discount=self.discount)


@dataclass(frozen=True, slots=True)
class Retag:
    """Only the tags of one of the line items change."""

    place: int
    tags: tuple[tuple[str, str], ...]

    def edit(self, items: list[Item]) -> None:
        _replace_one(items, self.place, lambda _: True, tags=self.tags)


@dataclass(frozen=True, slots=True)
class Resplit:
    """Only one split row changes: what its pod costs, with its instance as it was."""

    place: int
    split: str
    unused: str

    def edit(self, items: list[Item]) -> None:
        _replace_one(items, self.place, lambda item: item.is_split, split=self.split, unused=self.unused)


@dataclass(frozen=True, slots=True)
class Reprice:
    """Only an instance changes, and the split rows that share it stay."""

    place: int
    cost: str

    def edit(self, items: list[Item]) -> None:
        _replace_one(items, self.place, lambda item: item.is_instance, cost=self.cost)


@dataclass(frozen=True, slots=True)
class Terminate:
    """An instance is gone, and the split rows that share it stay."""

    place: int

    def edit(self, items: list[Item]) -> None:
        if places := [place for place, item in enumerate(items) if item.is_instance]:
            del items[places[self.place % len(places)]]


@dataclass(frozen=True, slots=True)
class Launch:
    """An instance comes with the pods that share it."""

    items: tuple[Item, ...]

    def edit(self, items: list[Item]) -> None:
        items.extend(self.items)


@dataclass(frozen=True, slots=True)
class Clear:
    """Nothing is left."""

    def edit(self, items: list[Item]) -> None:
        items.clear()


Edit = Add | Remove | Repeat | Recost | Discount | Rediscount | Retag | Resplit | Reprice | Terminate | Launch | Clear


def _replace_one(items: list[Item], place: int, is_meant: Callable[[Item], bool], **changes: object) -> None:
    """Change one of the items that are meant, counted round."""
    if places := [at for at, item in enumerate(items) if is_meant(item)]:
        at = places[place % len(places)]
        items[at] = replace(items[at], **changes)  # type: ignore[arg-type]


def share_instance(cost: str, pod_count: int, *, instance: str = "i-1", effective: str = "", **more: str) -> list[Item]:
    """An instance with pods that have an equal share of it, to AWS's ten decimals: a rest of rounding is left over.

    With an effective cost a Savings Plan covers the instance: that is what its pods share. Half of each share is
    unused.
    """
    kind = {"kind": COVERED, "share": effective} if effective else {}
    half = (Decimal(effective or cost) / (2 * max(pod_count, 1))).quantize(Decimal("1e-10"), rounding=ROUND_DOWN)
    pods = [
        Item("0", name="a", service="AmazonEKS", resource=f"pod/{number}", parent=instance)
        for number in range(pod_count)
    ]
    return [
        Item(cost, resource=instance, **kind, **more),
        *(replace(pod, split=f"{half:f}", unused=f"{half:f}", **more) for pod in pods),
    ]


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
# Of each place AWS can have a tag from: a resource, an account, a user, a principal, a cost category.
TAGS = st.sampled_from(
    [
        (("resourceTags/team", "red"),),
        (("resourceTags/team", "blue"), ("userAttribute/team", "blue")),
        (("accountTag/team", "green"), ("costCategory/unit", "shop")),
        (("accountTag/team", "red"), ("iamPrincipal/team", "red"), ("resourceTags/team", "red")),
    ]
)
# AWS writes them below 0; what is above 0 raises a cost.
DISCOUNTS = st.sampled_from(["-0.25", "-1", "-1E-7", "-0.0000000001", "-0.0", "0.5"])
_PLACES: list[dict[str, str]] = [
    {},
    {"account": "555566667777"},
    {"currency": "EUR"},
    {"name": "b"},
]
_ANYWHERE = {
    "name": st.sampled_from("ab"),
    "day": st.integers(1, 2),
    "account": st.sampled_from(["444455556666", "555566667777"]),
    "service": st.sampled_from(["AmazonEC2", "AmazonS3"]),
    "currency": st.sampled_from(["USD", "USD", "USD", "EUR"]),
    "tags": st.one_of(st.just(()), TAGS),
    "discount": st.one_of(st.just(""), DISCOUNTS),
    "principal": st.sampled_from(["", "arn:aws:iam::444455556666:role/caller"]),
}
# An instance in one of two accounts and on one of two days, with up to three pods, each day as any other.
INSTANCES = st.builds(
    lambda cost, count, place, plan: tuple(
        share_instance(cost, count, effective="0.7" if plan else "", instance=f"i-{place % 2}", **_PLACES[place])
    ),
    st.sampled_from(["1", "0.1", "0", "0.0333333333", "-0.5", "12.25"]),
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
)
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
    # An instance of which the pods leave 0.0000000001 over, and a pod of an instance that is not in the bill.
    *share_instance("1", 3, instance="i-1"),
    Item("0", service="AmazonEKS", resource="pod/9", parent="i-9", split="0.5"),
)
PLACES = st.integers(0, MAX_ROWS - 1)
SHARES = st.sampled_from(["0", "0.1", "0.1666666666", "0.25", "0.3333333333", "-0.1"])
EDITS = st.lists(
    st.one_of(
        st.builds(Add, ITEMS),
        st.builds(Recost, PLACES, COSTS),
        st.builds(Remove, PLACES),
        st.builds(Repeat, PLACES),
        st.builds(Discount, st.integers(0, 2)),
        st.builds(Rediscount, PLACES, st.one_of(st.just(""), DISCOUNTS)),
        st.builds(Retag, PLACES, st.one_of(st.just(()), TAGS)),
        st.builds(Resplit, PLACES, SHARES, SHARES),
        st.builds(Reprice, PLACES, COSTS),
        st.builds(Terminate, PLACES),
        st.builds(Launch, INSTANCES),
        st.builds(Clear),
    ),
    min_size=1,
    max_size=4,
)
LAYOUTS = st.builds(Layout, st.integers(1, 3), st.integers(0, 6))
