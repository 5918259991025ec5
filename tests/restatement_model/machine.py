"""Random deliveries, rollbacks, remaps and crashes, done to the real thing and to the model, which must agree."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import currently_in_test_context, note
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from billfold.bills.release import release
from billfold.bills.rollback import Restoration, roll_back
from billfold.errors import UsageError
from billfold.model import DeliveryOutcome, DeliveryState
from billfold.transform.mapping import MAPPING_VERSION
from billfold.verification import verify
from tests.bills.landing import Landing
from tests.bills.line_items import write_delivery
from tests.restatement_model.bills import Item
from tests.restatement_model.crashes import WHILE_INGESTING, WHILE_RESTORING, CrashPoint, crashing
from tests.restatement_model.edits import EDITS, ITEMS, LAYOUTS, MAX_ROWS, PLACES, SPECIAL_ITEMS, Edit, Layout
from tests.restatement_model.statements import LEAST_PERCENT, Delivery, Outcome, RefusedError, Statement
from tests.restatement_model.tables import find_differences

# A month that is over, whenever the test runs, and one that is not: both begin in the same export.
CLOSED, OPEN = "2021-05", "2091-06"

_EXPORT = "exports/acme"
_EPOCH = datetime(2026, 5, 1, tzinfo=UTC)

PERIODS = st.sampled_from([CLOSED, CLOSED, OPEN])
# Most deliveries are not forced.
FORCE = st.sampled_from([False, False, False, False, True])


class RestatementMachine(RuleBasedStateMachine):
    """Two months of one export, delivered, restated and rolled back in any order; `met` counts what came of it."""

    def __init__(self, landing: Landing, met: Counter[str]) -> None:
        super().__init__()
        self._met = met
        # A key means one in the client's bucket, whichever files its manifest names.
        bucket = f"file://{landing.root.resolve()}"
        self._landing = landing.with_client(bucket=bucket).with_settings(
            bucket=bucket, hold_below_percent=LEAST_PERCENT
        )
        self._statements = {period: Statement(period=period) for period in (CLOSED, OPEN)}
        self._mapping_version = MAPPING_VERSION
        self._numbers = count(1)
        self._step = 0
        self._proved_step = 0

    @initialize(items=st.lists(ITEMS, min_size=1, max_size=6), layout=LAYOUTS)
    def begin(self, items: list[Item], layout: Layout) -> None:
        """The first delivery: every kind of row that is not simply one charge, and some others."""
        self._deliver(CLOSED, [*SPECIAL_ITEMS, *items], layout)

    @rule(
        period=PERIODS,
        edits=EDITS,
        layout=LAYOUTS,
        is_late=st.booleans(),
        force=FORCE,
        crash=WHILE_INGESTING,
    )
    def deliver(
        self, period: str, edits: list[Edit], layout: Layout, is_late: bool, force: bool, crash: CrashPoint | None
    ) -> None:
        """The next refresh, or one that is late: older than what stands."""
        current = self._statements[period].current
        time = current.time - timedelta(minutes=7) if current and is_late else None
        self._deliver(period, self._edited(period, edits), layout, time=time, force=force, crash=crash)

    @precondition(lambda self: self._delivered)
    @rule(place=PLACES, layout=st.one_of(st.none(), LAYOUTS), crash=WHILE_INGESTING)
    def deliver_again(self, place: int, layout: Layout | None, crash: CrashPoint | None) -> None:
        """A new refresh with the rows of the last one or an earlier one; without a layout with its very files."""
        statement, earlier = self._choose(place)
        self._deliver(statement.period, earlier.items, layout, files=None if layout else earlier.files, crash=crash)

    @precondition(lambda self: self._delivered)
    @rule(place=PLACES, force=FORCE, crash=WHILE_INGESTING)
    def put_back(self, place: int, force: bool, crash: CrashPoint | None) -> None:
        """An earlier delivery itself, files and manifest, is put back after the later ones."""
        statement, delivery = self._choose(place)
        delivery.time = self._next_time()
        self._write(statement, delivery)
        self._ingest(statement, delivery, force=force, crash=crash)

    @precondition(lambda self: self._delivered)
    @rule(force=FORCE)
    def look_at_the_bucket(self, force: bool) -> None:
        """What the schedule does: everything that stands in the bucket once more."""
        standing = [(each, each.in_bucket) for each in self._statements.values() if each.in_bucket]
        with self._mapping():
            outcomes = self._landing.ingest_all(f"{_EXPORT}/", force=force)
        assert len(outcomes) == len(standing)
        for outcome, (statement, delivery) in zip(outcomes, standing, strict=True):
            self._judge(statement, delivery, outcome, force=force)
        self._compare()

    @precondition(lambda self: self._delivered)
    @rule(place=PLACES)
    def remap(self, place: int) -> None:
        """Billfold maps anew: the next publication of every statement makes all charges again."""
        self._mapping_version += 1
        statement, _ = self._choose(place)
        assert statement.in_bucket is not None
        number = len(statement.publications)
        self._ingest(statement, statement.in_bucket)
        self._met["remap done" if len(statement.publications) > number else "remap put off"] += 1

    @precondition(lambda self: any(each.current for each in self._statements.values()))
    @rule(place=PLACES, crash=WHILE_RESTORING)
    def roll_back(self, place: int, crash: CrashPoint | None) -> None:
        """The current delivery is rolled back."""
        standing = [each for each in self._statements.values() if each.current]
        statement = standing[place % len(standing)]
        assert statement.current is not None
        self._restore(statement, statement.current, undo=False, crash=crash)

    @precondition(lambda self: self._having(DeliveryState.ROLLED_BACK))
    @rule(place=PLACES, crash=WHILE_RESTORING)
    def undo(self, place: int, crash: CrashPoint | None) -> None:
        """A rolled back delivery is brought back, where nothing has come since."""
        statement, delivery = self._choose(place, DeliveryState.ROLLED_BACK)
        self._restore(statement, delivery, undo=True, crash=crash)

    @precondition(lambda self: self._delivered)
    @rule(place=PLACES, undo=st.booleans())
    def roll_back_any(self, place: int, undo: bool) -> None:
        """Some delivery is rolled back or taken back, which most are not fit for."""
        statement, delivery = self._choose(place)
        self._restore(statement, delivery, undo=undo)

    @precondition(lambda self: self._having(DeliveryState.HELD))
    @rule(place=PLACES)
    def release(self, place: int) -> None:
        """A held delivery is let through, if it is what stands at its key."""
        statement, delivery = self._choose(place, DeliveryState.HELD)
        assert delivery.delivery_id is not None
        try:
            with self._mapping():
                [outcome] = release(
                    delivery.delivery_id,
                    client=self._landing.client,
                    settings=self._landing.settings,
                    database=self._landing.database,
                )
        except UsageError:
            assert statement.in_bucket is not delivery
            self._met["release refused"] += 1
        else:
            self._met[f"release {outcome.state}"] += 1
            delivery.is_released = True
            self._judge(statement, delivery, outcome, force=False)
        self._compare()

    # The proof takes longer than most steps, and proves nothing new before the next step.
    @precondition(lambda self: self._delivered and self._proved_step != self._step)
    @rule()
    def prove(self) -> None:
        """Whatever has happened, the tables are proved true."""
        with self._mapping():
            verdicts = verify(settings=self._landing.settings, database=self._landing.database, with_source=False)
        self._met["verified"] += 1
        self._proved_step = self._step
        assert [verdict.exit_error for verdict in verdicts if not verdict.is_true] == []

    @property
    def _delivered(self) -> list[tuple[Statement, Delivery]]:
        return [(each, delivery) for each in self._statements.values() for delivery in each.deliveries]

    def _having(self, state: DeliveryState) -> list[tuple[Statement, Delivery]]:
        return [(statement, delivery) for statement, delivery in self._delivered if delivery.state is state]

    def _choose(self, place: int, state: DeliveryState | None = None) -> tuple[Statement, Delivery]:
        """One of the deliveries, counted round from the newest."""
        found = self._having(state) if state else self._delivered
        return found[-1 - place % len(found)]

    def _edited(self, period: str, edits: Sequence[Edit]) -> list[Item]:
        current = self._statements[period].current
        items = list(current.items) if current else []
        for each in edits:
            each.edit(items)
        return items[:MAX_ROWS]

    def _next_time(self) -> datetime:
        return _EPOCH + timedelta(hours=next(self._numbers))

    def _deliver(
        self,
        period: str,
        items: Sequence[Item],
        layout: Layout | None = None,
        *,
        files: tuple[bytes, ...] | None = None,
        time: datetime | None = None,
        force: bool = False,
        crash: CrashPoint | None = None,
    ) -> None:
        statement = self._statements[period]
        if files is None:
            files = (layout or Layout()).spread(items, period)
        number = next(self._numbers)
        # No two manifests are of one moment.
        time = (time or _EPOCH + timedelta(hours=number)) + timedelta(microseconds=number)
        delivery = Delivery(number=number, items=tuple(items), files=files, time=time)
        statement.deliveries.append(delivery)
        self._write(statement, delivery)
        self._ingest(statement, delivery, force=force, crash=crash)

    def _write(self, statement: Statement, delivery: Delivery) -> None:
        path = write_delivery(
            self._landing.root,
            *delivery.files,
            revision=delivery.number,
            export_path=_EXPORT,
            period=statement.period,
        )
        written_at = int((delivery.time - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1000
        os.utime(path, ns=(written_at, written_at))
        statement.in_bucket = delivery

    def _ingest(
        self, statement: Statement, delivery: Delivery, *, force: bool = False, crash: CrashPoint | None = None
    ) -> None:
        key = f"{_EXPORT}/metadata/BILLING_PERIOD={statement.period}/acme-Manifest.json"
        with self._mapping():
            with crashing(crash) as crashed:
                outcome = self._landing.ingest(key, force=force)
            if crashed:
                self._met[f"crash in {crashed[0].function}"] += 1
                _tell(f"  {statement.period}: delivery {delivery.number} breaks off")
                self._break_off(statement, delivery, is_committed=crashed[0].is_committed, force=force)
                self._compare()
                outcome = self._landing.ingest(key, force=force)
        self._judge(statement, delivery, outcome, force=force)
        self._compare()

    def _break_off(self, statement: Statement, delivery: Delivery, *, is_committed: bool, force: bool) -> None:
        """What broke off before the commit has changed no statement."""
        delivery.delivery_id = self._landing.value(
            "SELECT delivery_id FROM billing_deliveries WHERE execution_id = %s", f"execution-{delivery.number}"
        )
        if is_committed:
            statement.ingest(delivery, force=force, mapping_version=self._mapping_version)
        else:
            statement.fail(delivery)

    def _judge(self, statement: Statement, delivery: Delivery, outcome: DeliveryOutcome, *, force: bool) -> None:
        """The model ingests, and the outcome must be its own."""
        wanted = statement.ingest(delivery, force=force, mapping_version=self._mapping_version)
        self._met[f"delivery {outcome.state}"] += 1
        _tell(
            f"  {statement.period}: delivery {delivery.number} of {len(delivery.items)} rows is {outcome.state}:"
            f" +{outcome.rows_added} -{outcome.rows_removed}"
        )
        assert outcome.delivery_id is not None, outcome
        assert delivery.delivery_id in (None, outcome.delivery_id)
        delivery.delivery_id = outcome.delivery_id
        found = Outcome(
            state=outcome.state,
            rows_read=outcome.rows_read,
            rows_added=outcome.rows_added,
            rows_removed=outcome.rows_removed,
        )
        assert found == wanted, f"the model says {wanted}, billfold {outcome}"
        if outcome.state is DeliveryState.PUBLISHED:
            billed = {currency: cost for currency, cost in outcome.billed_cost.items() if cost}
            assert billed == {currency: cost for currency, cost in statement.standing.billed.items() if cost}
            assert sum(run.rows_inserted for run in outcome.runs) == outcome.rows_added
            assert sum(run.rows_inserted + run.rows_skipped for run in outcome.runs) == outcome.rows_read

    def _restore(
        self, statement: Statement, delivery: Delivery, *, undo: bool, crash: CrashPoint | None = None
    ) -> None:
        """Roll back or undo; the model must refuse what billfold refuses."""
        with crashing(crash) as crashed:
            restoration = self._roll_back(delivery, undo=undo)
        if crashed:
            self._met[f"crash in {crashed[0].function}"] += 1
            _tell(f"  {statement.period}: {'undo' if undo else 'rollback'} of delivery {delivery.number} breaks off")
            self._compare()
            restoration = self._roll_back(delivery, undo=undo)
        try:
            publication = statement.undo(delivery) if undo else statement.roll_back(delivery)
        except RefusedError:
            assert restoration is None, f"the model refuses it, billfold does {restoration}"
            self._met["undo refused" if undo else "rollback refused"] += 1
            _tell(f"  {statement.period}: delivery {delivery.number} is {delivery.state}: refused")
        else:
            assert restoration is not None, "the model does it, billfold refuses"
            assert (restoration.rows_added, restoration.rows_removed, restoration.restored_number) == (
                publication.rows_added,
                publication.rows_removed,
                publication.restored,
            )
            self._met[f"{publication.kind} done"] += 1
            _tell(f"  {statement.period}: {publication.kind} of delivery {delivery.number} to {publication.restored}")
        self._compare()

    def _roll_back(self, delivery: Delivery, *, undo: bool) -> Restoration | None:
        """What it did; None where it was refused."""
        assert delivery.delivery_id is not None
        try:
            return roll_back(
                delivery.delivery_id, settings=self._landing.settings, database=self._landing.database, undo=undo
            )
        except UsageError:
            return None

    @contextmanager
    def _mapping(self) -> Iterator[None]:
        """As if the mapping were of the version that the machine has come to."""
        # Each module that imports the number has one of its own.
        modules = [module for name, module in sys.modules.items() if name.startswith("billfold.")]
        with ExitStack() as patches:
            for module in modules:
                if hasattr(module, "MAPPING_VERSION"):
                    patches.enter_context(patch.object(module, "MAPPING_VERSION", self._mapping_version))
            yield

    def _compare(self) -> None:
        self._step += 1
        found = find_differences(self._landing, list(self._statements.values()), step=self._step)
        assert found == [], "\n".join(["the tables are not what the model says:", *found])


def _tell(line: str) -> None:
    """What a failing example prints; an example that is no chance fails where it stands."""
    if currently_in_test_context():
        note(line)
