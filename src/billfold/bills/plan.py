"""The plan of a publication: which bill becomes current, what it replaces, and by which rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from billfold.model import Client
from billfold.store.deliveries.statements import CurrentStatement
from billfold.transform import Bill
from billfold.transform.compare import Comparison
from billfold.transform.landing import LandingFile


@dataclass(slots=True)
class Timings:
    """How long each stage took, in seconds; stages may overlap."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[stage] = time.monotonic() - started


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorState:
    """What is current before a delivery is published, as its claim saw it.

    `residuals` are the Adjustment charges that the statement holds, `columns` those of the previous bill, `standalone`
    the statements of single files that the delivery's manifest takes over.
    """

    statement: CurrentStatement
    residuals: Mapping[UUID, Decimal]
    columns: Mapping[str, str]
    standalone: Sequence[CurrentStatement] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationPlan:
    """A bill that was read, and what has to hold for it to become the statement's current one.

    `is_up_to_date` says that the current bill was hashed and mapped by this version: then the same line items need no
    publication. A bill that would leave less than `min_percent` of the current one is held, unless it is `let_through`
    ("by force", "by release"). `confirm` is called under the lock of the client's publications, and raises if something
    that concerns the delivery was published meanwhile. `remarks` join the delivery's findings.
    """

    bill: Bill
    prior: PriorState
    client: Client
    delivery_id: UUID
    files: Sequence[LandingFile]
    min_percent: int
    let_through: str | None
    is_up_to_date: bool
    confirm: Callable[[], None]
    remarks: Sequence[str]
    timings: Timings

    @property
    def is_first(self) -> bool:
        """Whether nothing was ever published for the statement."""
        return self.prior.statement.publication_id is None

    def is_needless(self, comparison: Comparison) -> bool:
        """Whether the current bill has exactly these line items: equal rows have equal money."""
        return self.is_up_to_date and comparison.is_unchanged and not self.prior.standalone
