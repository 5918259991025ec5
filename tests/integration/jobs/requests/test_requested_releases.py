"""Held deliveries that are released by request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID

import pytest
import structlog.testing

from billfold import clients
from billfold.aws import LocalAws
from billfold.bills.requests import request_release
from billfold.errors import UsageError
from billfold.store.jobs.requests import RequestedDelivery
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.integration.jobs.requests.conftest import again, ask_for, bring_in, deliver, go_on, hold, work_off
from tests.processes.faulty_aws import FaultyAws
from tests.services import Landed

WAITING = (
    "SELECT delivery.state, delivery.reason, delivery.released_at IS NOT NULL, run.status, file.outcome"
    " FROM billing_deliveries AS delivery JOIN billing_delivery_files AS file USING (delivery_id)"
    " JOIN billing_ingestion_runs AS run USING (ingestion_run_id) WHERE delivery.delivery_id = %s"
)


@pytest.fixture
def fleet(landed: Landed, aws: LocalAws, faulty: FaultyAws) -> Landing:
    """Beside six dollars waits a delivery that would leave one of them."""
    return go_on(landed((bring_in, aws), (hold, aws)), aws, faulty.endpoint_url)


@pytest.fixture
def held(fleet: Landing) -> UUID:
    """The id of the delivery that is held."""
    held: UUID = fleet.value("SELECT delivery_id FROM billing_deliveries WHERE state = 'held'")
    return held


def release(fleet: Landing, delivery_id: UUID, token_id: int | None = None) -> RequestedDelivery:
    return request_release(delivery_id, token_id=token_id, settings=fleet.settings, database=fleet.database)


def test_a_release_is_for_one_delivery_and_not_for_what_took_its_place(
    fleet: Landing, held: UUID, aws: LocalAws
) -> None:
    deliver(fleet, aws, "2", revision=3)

    release(fleet, held)
    events = work_off(fleet)

    assert [(event["state"], bool(event["instead"])) for event in events[1:]] == [("held", True)]
    assert fleet.query("SELECT state, reason, released_at FROM billing_deliveries ORDER BY created_at")[1:] == [
        ("superseded", "was replaced at its key before it was read", None),
        ("held", "would leave 1 of 3 rows and 2 of 6 USD", None),
    ]
    assert fleet.billed() == {"USD": Decimal(6)}


def test_a_released_delivery_whose_key_is_gone_fails_and_need_not_be_released_again(
    fleet: Landing, held: UUID, aws: LocalAws
) -> None:
    key = "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"
    manifest = aws.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()
    aws.client("s3").delete_object(Bucket=BUCKET, Key=key)

    release(fleet, held)
    work_off(fleet)
    failed = fleet.query("SELECT state, error_code FROM billing_deliveries WHERE delivery_id = %s", held)
    aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=manifest)
    with pytest.raises(UsageError, match=r"the source of delivery .* is gone: once it is back, request an ingestion"):
        again(fleet, held)
    ask_for(fleet, key)
    work_off(fleet)

    assert failed == [("failed", "source_not_found")]
    assert fleet.billed() == {"USD": Decimal(1)}


def test_what_was_published_before_it_came_back_and_was_held_stays_published(
    fleet: Landing, held: UUID, aws: LocalAws
) -> None:
    # As one that was published before, by a publication that others have followed.
    fleet.execute(
        "UPDATE billing_deliveries SET publication_id = (SELECT min(publication_id) FROM billing_publications)"
        " WHERE delivery_id = %s",
        held,
    )
    deliver(fleet, aws, "1", "2", "4", revision=3)

    release(fleet, held)
    work_off(fleet)

    query = "SELECT state, reason, released_at FROM billing_deliveries WHERE delivery_id = %s"
    assert fleet.query(query, held) == [("published", None, None)]
    assert fleet.billed() == {"USD": Decimal(7)}


def test_a_held_delivery_that_is_released_comes_in_once(fleet: Landing, held: UUID) -> None:
    with structlog.testing.capture_logs() as events, ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(lambda number: release(fleet, held, token_id=number), range(4)))
    waiting = fleet.query(WAITING, held)
    later = release(fleet, held)
    work_off(fleet)

    told = [event for event in events if event["event"] == "delivery_released"]
    assert {*rows} == {later}
    assert (later.state, bool(later.asked_at)) == ("pending", True)
    assert [(event["client"], event["delivery_id"], event["reason"]) for event in told] == [
        ("acme", str(held), "would leave 1 of 3 rows and 1 of 6 USD")
    ]
    assert told[0]["token_id"] in range(4)
    assert waiting == [("pending", "would leave 1 of 3 rows and 1 of 6 USD", True, "pending", "pending")]
    assert fleet.query(WAITING, held) == [("published", None, False, "success", "success")]
    assert fleet.query(
        "SELECT trigger_source, findings, attempts FROM billing_deliveries WHERE delivery_id = %s", held
    ) == [("api", ["published by release, although it would leave 1 of 3 rows and 1 of 6 USD"], 2)]
    assert fleet.count("billing_publications") == 2
    assert fleet.billed() == {"USD": Decimal(1)}
    assert fleet.broken_rules() == []


def test_only_what_is_held_can_be_released(fleet: Landing, held: UUID, aws: LocalAws) -> None:
    with pytest.raises(UsageError, match="is held, not failed: release it"):
        again(fleet, held)
    for state in ("published", "superseded", "rolled_back"):
        fleet.execute("UPDATE billing_deliveries SET state = %s WHERE delivery_id = %s", state, held)
        with pytest.raises(UsageError, match=f"is {state}, not held"):
            release(fleet, held)
    fleet.execute("UPDATE billing_deliveries SET state = 'pending', finished_at = NULL WHERE delivery_id = %s", held)
    with pytest.raises(UsageError, match="is pending, not held"):
        release(fleet, held)
    fleet.execute("UPDATE billing_deliveries SET state = 'held', finished_at = now() WHERE delivery_id = %s", held)
    clients.set_enabled(fleet.database, "acme", enabled=False)
    with pytest.raises(UsageError, match="is disabled"):
        release(fleet, held)

    assert fleet.value("SELECT count(released_at) FROM billing_deliveries") == fleet.count("billing_jobs") == 0


def test_a_held_delivery_of_another_bucket_cannot_be_released_by_the_server(
    fleet: Landing, held: UUID, aws: LocalAws
) -> None:
    fleet.execute("UPDATE billing_deliveries SET bucket = 'another' WHERE delivery_id = %s", held)

    with pytest.raises(UsageError, match="is not the bucket of client acme: use `billfold release`"):
        release(fleet, held)

    assert fleet.value("SELECT count(released_at) FROM billing_deliveries") == fleet.count("billing_jobs") == 0


def test_asking_for_the_key_of_a_held_delivery_does_not_release_it(fleet: Landing, held: UUID, aws: LocalAws) -> None:
    before = fleet.query(WAITING, held)

    [row] = ask_for(fleet, "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json")
    asked_for = fleet.query(WAITING, held)
    work_off(fleet)

    assert row.delivery_id == held
    assert before == asked_for == fleet.query(WAITING, held)
    assert before[0][0] == "held"
