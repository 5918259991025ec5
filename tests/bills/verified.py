"""Bills for `billfold verify`, and what it finds untrue in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from billfold.store.verification.charges import Snapshot, list_statements, open_snapshot
from billfold.store.verification.history import History
from billfold.verification import ProofState, Verdict, verify
from billfold.verification.history import prove_days, prove_history
from billfold.verification.verdict import Proofs, Subject
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, described, line_item, write_bill

NET = "line_item_net_unblended_cost"

RAW = "raw_aws_billing_rows"
RAW_HISTORY = "raw_aws_billing_rows_history"
FACT = "billing_usage_fact"
FACT_HISTORY = "billing_usage_fact_history"
ITEM_2 = f"(SELECT row_hash FROM {RAW} WHERE strpos(row_data::text, 'item 2\"') > 0)"


def verify_all(landing: Landing, *, with_source: bool = True) -> list[Verdict]:
    return verify(settings=landing.settings, database=landing.database, with_source=with_source)


def untrue(landing: Landing, *, with_source: bool = True) -> dict[str, str]:
    """The checks that do not hold, or could not be made, with their details."""
    return {
        proof.name: proof.detail
        for verdict in verify_all(landing, with_source=with_source)
        for proof in verdict.proofs
        if proof.state is not ProofState.TRUE
    }


def differing(landing: Landing, *parts: Callable[[Proofs, Snapshot, Subject], None]) -> dict[str, str]:
    """What these parts of a verification find in the only statement; the whole of it takes much longer."""
    [found] = differing_by_export(landing, *parts).values()
    return found


def differing_by_export(
    landing: Landing, *parts: Callable[[Proofs, Snapshot, Subject], None]
) -> dict[str, dict[str, str]]:
    """The same of each statement, by its export."""
    found = {}
    for statement in list_statements(landing.database, client=None, export=None, period=None, statement_id=None):
        proofs = Proofs()
        with TemporaryDirectory() as folder, open_snapshot(landing.database, statement) as snapshot:
            subject = Subject(
                statement=statement,
                held=snapshot.read_statement(),
                recorded=snapshot.list_publications()[-1],
                settings=landing.settings,
                database=landing.database,
                folder=Path(folder),
            )
            for part in parts:
                part(proofs, snapshot, subject)
        found[statement.export_name] = {
            proof.name: proof.detail for proof in proofs.made if proof.state is ProofState.DIFFERS
        }
    return found


def of_history(proofs: Proofs, snapshot: Snapshot, _: Subject) -> None:
    prove_history(proofs, History(snapshot), snapshot.list_publications())


def of_days(proofs: Proofs, snapshot: Snapshot, _: Subject) -> None:
    prove_days(proofs, snapshot, snapshot.list_publications())


def plan_rows(covered: str = "10", negated: str = "-9") -> list[dict[str, str]]:
    """Covered usage and its negation, which leave something over."""
    return [
        line_item("SavingsPlanCoveredUsage", covered, savings_plan_savings_plan_a_r_n=PLAN),
        line_item("SavingsPlanNegation", negated, savings_plan_savings_plan_a_r_n=PLAN),
    ]


def restate(landing: Landing) -> None:
    """Three publications: everything that a statement can hold, and something withdrawn by each later one."""
    twins = [line_item(cost="1.5", line_item_resource_id="i-0a1b2c")] * 3
    write_bill(landing.root, [*described("1", "2", "3", "4"), *twins, *plan_rows()])
    landing.ingest()
    write_bill(landing.root, [*described("1", "2", "3.5", "4", "5"), *twins[:2], *plan_rows()], revision=2)
    landing.ingest()
    write_bill(landing.root, [*described("1", "2", "3.5", "4.25", "5"), *plan_rows(negated="-9.5")], revision=3)
    landing.ingest()
