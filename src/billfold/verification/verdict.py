"""Verdicts: the proofs of a statement, their states, and how two totals are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from billfold.errors import ReconciliationError
from billfold.model import Totals
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.store.verification.charges import Difference, HeldStatement, RecordedPublication, VerifiedStatement


class ProofState(StrEnum):
    """How a proof ended; it is skipped if what it compares with is missing, which its detail says."""

    TRUE = "true"
    DIFFERS = "differs"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One proof and how it ended; `detail` is one line: what agrees, the first difference, or why it was skipped."""

    name: str
    state: ProofState
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All proofs of one statement."""

    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    proofs: tuple[Proof, ...]

    @property
    def is_true(self) -> bool:
        """Whether no proof found a difference; skipped ones found none."""
        return all(proof.state is not ProofState.DIFFERS for proof in self.proofs)

    @property
    def exit_error(self) -> ReconciliationError | None:
        """The differences as an error of one line, None if there are none."""
        if self.is_true:
            return None
        first, *others = [proof for proof in self.proofs if proof.state is ProofState.DIFFERS]
        more = f"; {', '.join(proof.name for proof in others)} differ too" if others else ""
        return ReconciliationError(
            f"{self.export_name} {self.billing_period} is not what it should be: {first.name}: {first.detail}{more}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One statement under verification: what the control tables say of it, and where the work is done.

    `recorded` is the current publication. `folder` is the statement's own in the spool.
    """

    statement: VerifiedStatement
    held: HeldStatement
    recorded: RecordedPublication
    settings: Settings
    database: Database
    folder: Path

    @property
    def pairs(self) -> Path:
        """Where the raw rows' pairs (row_hash, occurrence) are kept for the comparison with the source (Arrow)."""
        return self.folder / "pairs.arrow"


@dataclass(slots=True)
class Proofs:
    """The proofs of one statement so far, in the order in which they were made."""

    made: list[Proof] = field(default_factory=list)

    def add(self, name: str, differences: Iterable[str], held: str) -> None:
        """Add a proof. `held` describes agreement; of several differences the first is shown, and how many follow."""
        found = list(differences)
        state = ProofState.DIFFERS if found else ProofState.TRUE
        more = f" ({len(found) - 1} more like it)" if len(found) > 1 else ""
        self.made.append(Proof(name=name, state=state, detail=f"{found[0]}{more}" if found else held))

    def add_first(self, name: str, difference: Difference | None, held: str) -> None:
        """As `add`, with the first difference that was found, if any."""
        self.add(name, [str(difference)] if difference else [], held)

    def skip(self, name: str, reason: str) -> None:
        """Add a proof that cannot be made, for this reason."""
        self.made.append(Proof(name=name, state=ProofState.SKIPPED, detail=reason))


def compare_totals(recorded: Totals, found: Totals, *, place: str = "raw rows") -> Iterator[str]:
    """The differences between the totals of a publication and those found in its line items."""
    yield from compare_number(place, "rows_after", recorded.row_count, found.row_count)
    yield from compare_money(place, "gross_cost_after", recorded.gross, found.gross)
    yield from compare_money(place, "net_cost_after", recorded.net, found.net)
    yield from compare_money(place, "billed_cost_after", recorded.billed, found.billed)


def compare_charges(recorded: Totals, found: Totals, *, place: str = "charges") -> Iterator[str]:
    """The same for its charges."""
    yield from compare_number(place, "charges_after", recorded.charge_count, found.charge_count)
    yield from compare_money(place, "billed_cost_after", recorded.billed, found.billed)


def compare_number(place: str, column: str, expected: int, found: int) -> Iterator[str]:
    """The difference between two counts, if they differ."""
    if expected != found:
        yield f"{place}: column {column}: expected {expected}, found {found}"


def compare_money(
    place: str, column: str, expected: Mapping[str, Decimal], found: Mapping[str, Decimal]
) -> Iterator[str]:
    """The differences between two sums of money by currency; a currency that one of them lacks is 0 there."""
    for currency in sorted({*expected, *found}, key=str):
        wanted, actual = expected.get(currency, Decimal(0)), found.get(currency, Decimal(0))
        if wanted != actual:
            yield f"{place}: column {column}: expected {wanted:f} {currency}, found {actual:f} {currency}"


def format_totals(totals: Totals) -> str:
    """Rows and gross cost, for people."""
    costs = ", ".join(f"{cost:f} {currency}" for currency, cost in sorted(totals.gross.items()))
    return f"{totals.row_count} rows" + (f", {costs}" if costs else "")
