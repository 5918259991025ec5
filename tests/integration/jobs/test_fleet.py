"""Many clients, each delivery told ten times in disorder, two workers: each delivery is published once."""

from __future__ import annotations

import pytest

from billfold.aws import LocalAws
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.soak.fleet import Fleet, run_fleet

DELIVERIES = rounds(6, in_soak=50)


@pytest.mark.slow
@pytest.mark.at_length
def test_events_in_disorder_publish_each_delivery_once(landing: Landing, aws: LocalAws) -> None:
    events = 10 * DELIVERIES
    fleet = Fleet(client_count=DELIVERIES // 3, delivery_count=DELIVERIES, event_count=events, worker_count=2, seed=5)

    report = run_fleet(fleet, landing.with_settings(endpoint_url=aws.endpoint_url), aws)

    assert report.violations == ()
    assert report.received_count >= events
