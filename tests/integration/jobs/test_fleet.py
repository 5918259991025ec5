"""Ten clients, fifty deliveries, five hundred events in disorder, two workers: each delivery is published once."""

from __future__ import annotations

import pytest

from billfold.aws import LocalAws
from tests.bills.landing import Landing
from tests.soak.fleet import Fleet, run_fleet


@pytest.mark.slow
def test_five_hundred_events_in_disorder_publish_fifty_deliveries_once_each(landing: Landing, aws: LocalAws) -> None:
    fleet = Fleet(client_count=10, delivery_count=50, event_count=500, worker_count=2, seed=5)

    report = run_fleet(fleet, landing.with_settings(endpoint_url=aws.endpoint_url), aws)

    assert report.violations == ()
    assert report.received_count >= 500
