"""Run the checks on a statement's current bill, after each publication, and record the outcomes with it.

A check never blocks a bill. It reports in money how much of it is unmapped, untagged or unexplained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import structlog

from billfold.errors import StoreUnavailableError
from billfold.log import Event
from billfold.model import CheckState
from billfold.quality.table import CHECKS
from billfold.store.database import Connection, Database
from billfold.store.reports.checks import open_checked_bill

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """What one check found: how many rows, their exact cost by currency, and a detail in words."""

    name: str
    state: CheckState
    row_count: int
    cost: Mapping[str, Decimal]
    detail: str


def record_checks(
    database: Database, *, statement_id: int, connection: Connection | None = None
) -> tuple[CheckOutcome, ...]:
    """Check the current bill, record and log the outcomes; called once the publication is committed.

    Never raises because a check fails: the publication stays current, and the event `checks_failed` reports it.
    """
    try:
        outcomes = make_checks(database, statement_id=statement_id, connection=connection)
    except StoreUnavailableError as error:
        # Only a defect needs its traceback, not a server that does not answer.
        log.error(Event.CHECKS_FAILED, statement_id=statement_id, error=str(error))
        return ()
    except Exception as error:
        log.exception(Event.CHECKS_FAILED, statement_id=statement_id, error=str(error))
        return ()
    for outcome in outcomes:
        if outcome.state is CheckState.WARNED:
            log.warning(
                Event.CHECK_WARNED,
                statement_id=statement_id,
                name=outcome.name,
                rows=outcome.row_count,
                cost={currency: format(cost, "f") for currency, cost in outcome.cost.items()},
                detail=outcome.detail,
            )
    return outcomes


def make_checks(
    database: Database, *, statement_id: int, connection: Connection | None = None
) -> tuple[CheckOutcome, ...]:
    """Run every check on the statement's current publication and record the outcomes, all in one transaction.

    It is a transaction of `connection`, else of a new connection. An empty statement has no checks. Raises StoreError.
    """
    with open_checked_bill(database, statement_id, connection=connection) as bill:
        if bill is None:
            return ()
        outcomes = []
        for name, check in CHECKS.items():
            finding = check.rule(bill)
            outcome = CheckOutcome(
                name=name,
                state=CheckState.WARNED if finding.is_warned else CheckState.PASSED,
                row_count=finding.row_count,
                cost=finding.cost or {},
                detail=finding.detail,
            )
            bill.keep(
                name,
                state=outcome.state,
                row_count=outcome.row_count,
                cost=outcome.cost,
                detail=outcome.detail,
            )
            outcomes.append(outcome)
        return tuple(outcomes)
