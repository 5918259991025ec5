"""A dead job: its message goes to the dead-letter queue as it came, and only then its row is dead."""

from __future__ import annotations

import json

from structlog.testing import capture_logs

from billfold.aws import LocalAws
from billfold.aws.queue import Attribute, open_queue
from billfold.jobs.dead_letters import list_dead_letters, open_queues
from billfold.jobs.results import Dead, Retry
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.integration.jobs.messages.conftest import BAD, events, put_bad, receive
from tests.messages import Mailbox, s3_event
from tests.processes.faulty_aws import faulty_aws
from tests.taken import arrive, work_off

ROW = "SELECT state, reason, failure_count FROM billing_jobs"


def test_a_dead_letter_is_the_message_as_it_came_even_if_the_queue_refuses_it_at_first(
    fleet: Landing, aws: LocalAws, mailbox: Mailbox
) -> None:
    event = json.loads(s3_event(BUCKET, put_bad(aws, "exports/ü %2B+\U0001f4b0.csv")))
    body = json.dumps({**event, "note": "\0 \ud800"}, indent=1)
    attributes = {
        "digest": Attribute(value=b"\x00\xff", data_type="Binary.sha"),
        "count": Attribute(value="7", data_type="Number.int"),
        "odd": Attribute(value="\\u0000 \0 ü\u2028"),
    }
    open_queue(mailbox.url, fleet.settings).send(body, attributes)
    receive(fleet, mailbox)
    message_id = fleet.value("SELECT message_id FROM billing_jobs")

    with faulty_aws(
        aws.endpoint_url, lambda call: (403, "AccessDenied") if call.action == "SendMessage" else None
    ) as faulty:
        refused = fleet.with_settings(endpoint_url=faulty.endpoint_url, message_retry_seconds=100)
        results = [*work_off(refused), *work_off(refused)]
    waiting = fleet.query(f"{ROW} WHERE due_at BETWEEN now() + '140 seconds' AND now() + '200 seconds'")
    [dead] = work_off(fleet)

    assert [type(each) for each in results] == [Retry, Retry]
    assert isinstance(dead, Dead)
    assert waiting == [("waiting", f"it is dead, and cannot be sent to the dead-letter queue: {dead.reason}", 0)]
    [letter] = list_dead_letters(open_queues(mailbox.url, fleet.settings), limit=9).letters
    assert letter.body == body
    assert {name: letter.attributes[name] for name in attributes} == attributes
    assert (letter.reason, letter.error_code) == (dead.reason, "missing_column")
    assert letter.attributes["source_message_id"].value == message_id
    assert fleet.query(ROW) == [("dead", dead.reason, 1)]


def test_without_a_dead_letter_queue_a_dead_job_is_all_that_is_left(fleet: Landing, aws: LocalAws) -> None:
    lonely, broken = Mailbox(aws, "lonely", has_dead_letters=False), Mailbox(aws, "broken")
    put_bad(aws)

    arrive(fleet, s3_event(BUCKET, BAD), queue_url=lonely.url)
    with capture_logs() as logged:
        [dead] = work_off(fleet)
    row = fleet.query(ROW)
    fleet.execute("DELETE FROM billing_jobs")
    # Its redrive policy names a queue that is gone: somebody may make it again.
    aws.client("sqs").delete_queue(QueueUrl=broken.dead_letter_url)
    arrive(fleet, s3_event(BUCKET, BAD), queue_url=broken.url)
    [waits] = work_off(fleet)

    assert isinstance(dead, Dead)
    assert row == [("dead", dead.reason, 1)]
    assert "message_stuck" in events(logged)
    assert isinstance(waits, Retry)
    assert fleet.query("SELECT state FROM billing_jobs") == [("waiting",)]
