"""Which request is worked on next: slots, turns, and what lost its server is worked on alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal

import pytest
import structlog.testing

from billfold import clients
from billfold.aws import LocalAws
from billfold.errors import UsageError
from billfold.jobs.request_worker import RequestWorker
from billfold.store.database import connect
from billfold.store.jobs import requests as asked
from billfold.store.jobs.slots import open_slots, take_slot, take_turn
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.integration.jobs.requests.conftest import (
    STATES,
    Gates,
    again,
    ask_for,
    deliver,
    wait_until,
    work_off,
    working,
)
from tests.processes.faulty_aws import FaultyAws
from tests.processes.worker_process import LIMIT_SECONDS

# What messages of the statement take, so that none is worked on beside another.
TURN = f"{BUCKET} exports/acme 2026-05"


def test_a_statement_that_a_message_is_worked_on_waits_and_so_does_a_client_whose_slots_are_taken(
    fleet: Landing, aws: LocalAws
) -> None:
    ask_for(fleet, deliver(fleet, aws, "1.25"))

    with ExitStack() as slots, ExitStack() as turn, structlog.testing.capture_logs() as events:
        assert take_turn(turn.enter_context(open_slots(fleet.database)), fleet.client, TURN)
        for slot in range(1, fleet.client.max_deliveries + 1):
            assert take_slot(slots.enter_context(open_slots(fleet.database)), fleet.client) == slot
        with working(fleet):
            wait_until(lambda: "busy" in [event.get("cause") for event in events])
            turn.close()
            wait_until(lambda: "slot" in [event.get("cause") for event in events])
            slots.close()
            wait_until(lambda: fleet.value("SELECT state FROM billing_deliveries") == "published")

    assert fleet.query("SELECT attempts FROM billing_deliveries") == [(1,)]


def test_a_client_that_was_disabled_meanwhile_is_not_read(fleet: Landing, aws: LocalAws) -> None:
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    clients.set_enabled(fleet.database, "acme", enabled=False)

    work_off(fleet)

    assert fleet.query(STATES) == [("failed", 0, False, 0, "usage")]
    with pytest.raises(UsageError, match="is disabled"):
        again(fleet, row.delivery_id)


def test_what_is_asked_for_again_while_it_fails_is_tried_once_more(fleet: Landing, aws: LocalAws) -> None:
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    with connect(fleet.database.conninfo) as connection:
        taken = asked.take(connection)
        assert taken is not None
        again(fleet, row.delivery_id)

        asked.give_up(connection, taken, error_code="internal", message="a defect")

    assert fleet.query(STATES) == [("pending", 0, True, 1, None)]


def count_published(fleet: Landing) -> int:
    return int(fleet.value("SELECT count(*) FROM billing_deliveries WHERE state = 'published' AND asked_at IS NULL"))


def test_what_lost_its_server_is_worked_on_alone(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    fleet.execute("UPDATE billing_clients SET max_deliveries = 9")
    gates = Gates(fleet, aws, faulty, "first", "suspect", "other", "last")
    gates.suspect("suspect", "other")
    working = "SELECT count(*) FROM billing_message_attempts"

    with structlog.testing.capture_logs() as events, working_on(fleet, gates, "first"):
        gates.let_come()
        wait_until(lambda: 3 in [event.get("taken_count") for event in events])
        ask_for(fleet, gates.keys["last"])
        beside_the_first = fleet.value(working)
        gates.release("first")
        wait_until(lambda: len(gates.names_reached()) > 1)
        [alone] = set(gates.names_reached()) - {"first"}
        beside_the_suspect = fleet.value(working)
        gates.release("suspect", "other", "last")
        wait_until(lambda: count_published(fleet) == 4)

    assert (beside_the_first, beside_the_suspect) == (1, 1)
    assert alone in ("suspect", "other")
    assert [event["event"] for event in events].count("asked_alone") == 2
    assert fleet.billed() == {"USD": Decimal(4)}
    assert fleet.count("billing_message_failures") == fleet.count("billing_message_attempts") == 0


@contextmanager
def working_on(fleet: Landing, gates: Gates, export: str) -> Iterator[RequestWorker]:
    """A worker of three threads, one of which has this export in hand."""
    ask_for(fleet, gates.keys[export])
    with working(fleet, concurrency=3) as worker:
        assert gates.reached[export].wait(LIMIT_SECONDS)
        yield worker


def test_what_lost_its_server_and_has_no_slot_keeps_nobody_waiting(
    fleet: Landing, aws: LocalAws, faulty: FaultyAws
) -> None:
    fleet.execute("UPDATE billing_clients SET max_deliveries = 2")
    gates = Gates(fleet, aws, faulty, "first", "suspect")
    gates.suspect("suspect")

    with structlog.testing.capture_logs() as events, working_on(fleet, gates, "first"):
        with open_slots(fleet.database) as other:
            assert take_slot(other, fleet.client) == 2
            gates.let_come()
            wait_until(lambda: "slot" in [event.get("cause") for event in events])
        gates.release("first", "suspect")
        wait_until(lambda: count_published(fleet) == 2)

    assert [event["event"] for event in events].count("asked_alone") == 1


def test_a_server_that_ends_puts_off_what_waits_to_be_alone(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    fleet.execute("UPDATE billing_clients SET max_deliveries = 9")
    gates = Gates(fleet, aws, faulty, "first", "suspect")
    gates.suspect("suspect")

    with structlog.testing.capture_logs() as events, working_on(fleet, gates, "first") as worker:
        gates.let_come()
        wait_until(lambda: 3 in [event.get("taken_count") for event in events])
        worker.stop()
        gates.release("first", "suspect")

    assert [row[:3] for row in fleet.query(STATES)] == [("pending", 0, True), ("published", 1, False)]
    assert "suspect" not in gates.names_reached()


def test_clients_take_turns(fleet: Landing, aws: LocalAws) -> None:
    for number in range(5):
        deliver(fleet, aws, "1.25", export=f"export-{number}")
    first, *_ = ask_for(fleet, "exports/")
    fleet.execute("INSERT INTO billing_clients (client_id) VALUES ('globex')")
    fleet.execute(
        "INSERT INTO billing_deliveries (client_id, bucket, export_path, export_name, content_digest, delivered_at,"
        " trigger_source, asked_at, asked_by, not_before)"
        " VALUES ('globex', 'globex-bills', 'a', 'a', 'a', now(), 'api', now(), 'api', now())"
    )

    with ExitStack() as stack:
        connections = [stack.enter_context(connect(fleet.database.conninfo)) for _ in range(2)]
        taken = [each.delivery for connection in connections if (each := asked.take(connection))]

    assert {delivery.client_id for delivery in taken} == {"acme", "globex"}
    assert first.delivery_id in {delivery.delivery_id for delivery in taken}


def test_what_one_has_in_hand_no_other_takes(fleet: Landing, aws: LocalAws) -> None:
    [row] = ask_for(fleet, deliver(fleet, aws, "1.25"))
    with connect(fleet.database.conninfo) as one, connect(fleet.database.conninfo) as other:
        taken = asked.take(one)
        assert taken is not None
        assert asked.take(other) is None
        asked.let_go(one, row.delivery_id)
        assert asked.take(other) is not None
