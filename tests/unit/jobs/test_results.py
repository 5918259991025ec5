"""The result of a job: which one wins, and how long a retry waits."""

from __future__ import annotations

from random import Random

import pytest

from billfold.jobs.results import Cause, Dead, Done, Retry, choose, retry_seconds, wait_seconds

DEAD = Dead(reason="no bill", error_code="unknown_format")


def later(delay_seconds: int = 5) -> Retry:
    return Retry(cause=Cause.FAILURE, delay_seconds=delay_seconds, reason="throttled")


def test_a_message_comes_again_as_long_as_one_of_its_objects_can_succeed() -> None:
    assert choose([Done(), DEAD, later(5), later(7)]) == later(7)
    assert choose([Done(), DEAD]) == DEAD
    assert choose([Done(state="published"), Done()]) == Done(state="published")
    assert choose([]) == Done()


@pytest.mark.parametrize("cause", [Cause.BUSY, Cause.DATABASE, Cause.UNTRIED])
def test_what_one_object_waits_for_does_not_keep_the_failure_of_another_from_counting(cause: Cause) -> None:
    waiting = Retry(cause=cause, delay_seconds=60, reason="waits for others")

    assert choose([waiting, later(5)]) == choose([later(5), waiting]) == later(60)
    assert choose([waiting, Done(), DEAD]) == waiting


@pytest.mark.parametrize("receive_count", [0, 1, 2, 6, 59, 100])
def test_a_wait_is_short_at_first_and_never_long(receive_count: int) -> None:
    waits = {wait_seconds(receive_count, Random(seed)) for seed in range(2000)}

    assert min(waits) == 1
    assert max(waits) == min(1 + receive_count, 60)


def test_a_thousand_waits_last_for_days() -> None:
    random = Random(1)

    hours = sum(wait_seconds(receive_count, random) for receive_count in range(1, 1001)) / 3600

    assert 72 < hours < 14 * 24
    assert max(wait_seconds(1_000_000, Random(seed)) for seed in range(2000)) == 900


def test_a_failure_waits_twice_as_long_each_time_up_to_a_quarter_of_an_hour() -> None:
    longest = [max(retry_seconds(count, 10, Random(seed)) for seed in range(3000)) for count in (1, 2, 3, 7, 8, 10_000)]

    assert longest == [10, 20, 40, 640, 900, 900]
    assert min(retry_seconds(3, 10, Random(seed)) for seed in range(300)) == 30
    assert retry_seconds(5, 0, Random(1)) == 0
