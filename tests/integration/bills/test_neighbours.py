"""One bad manifest, file or message never stops what is beside it, at any door, foreseen or not."""

from __future__ import annotations

import gzip
import importlib
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from billfold.app import Billfold
from billfold.aws.queue import open_queue
from billfold.bills.backfill import backfill
from billfold.cli.exits import ExitCode, exit_code
from billfold.jobs.schedule import visit_due
from billfold.jobs.worker import Worker
from billfold.model import Client, DeliveryState
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described, line_item, write_bill, write_delivery, write_object
from tests.messages import Mailbox, s3_event
from tests.processes.web_server import run_web_server
from tests.registry import Registry

BAD_MANIFEST = "exports/bad/metadata/BILLING_PERIOD=2026-05/bad-Manifest.json"
POISONS = {
    "a number of 5,000 digits": '"size": ' + "9" * 5_000,
    "a number beyond a double": '"size": 1e400',
    "NaN": '"size": NaN',
    "deep nesting": '"z": ' + "[" * 100_000 + "]" * 100_000,
    "half a character": '"exportName": "a\\ud800"',
    "NUL": '"executionId": "a\\u0000"',
    "a name twice": '"dataFiles": []',
    "a file of 100,000 characters": '"reportKeys": ["' + "x" * 100_000 + '"]',
    "a file that no disk could hold": '"reportKeys": ["' + "x" * 500 + '"]',
    "a wrong type": '"billingPeriod": {"start": [1e5]}',
}


def poisoned(members: str, name: str = "bad") -> bytes:
    return f'{{"exportName": "{name}", "billingPeriod": "2026-05", "dataFiles": [], {members}}}'.encode()


def test_poisoned_manifests_are_refused_in_one_line_each_and_their_neighbour_comes_in(landing: Landing) -> None:
    for number, members in enumerate(POISONS.values()):
        name = f"bad{number}"
        write_object(landing.root, BAD_MANIFEST.replace("bad", name), poisoned(members, name))
    write_bill(landing.root, described("1.25"))

    outcomes = landing.ingest_all()

    [good] = [each for each in outcomes if each.exit_error is None]
    errors = [each.exit_error for each in outcomes if each.exit_error is not None]
    assert [error.error_code for error in errors] == ["manifest"] * len(POISONS)
    assert [str(error) for error in errors if not str(error).isprintable()] == []
    assert (good.state, good.billed_cost) == (DeliveryState.PUBLISHED, {"USD": Decimal("1.25")})
    failed = landing.query("SELECT error_code FROM billing_ingestion_runs WHERE status = 'failed'")
    assert failed == [("manifest",)] * len(POISONS)


def poison(registry: Registry) -> Client:
    """A client with a good delivery and a manifest that holds a number of 5,000 digits."""
    client = registry.add("acme")
    registry.deliver(client, "1.25")
    content = poisoned(POISONS["a number of 5,000 digits"])
    registry.aws.client("s3").put_object(Bucket=client.bucket, Key=BAD_MANIFEST, Body=content)
    return client


def test_a_poisoned_manifest_stops_no_backfill_schedule_or_request(registry: Registry) -> None:
    client = poison(registry)
    other = registry.add("globex")
    registry.deliver(other, "2")

    report = backfill(client=client, settings=registry.settings, database=registry.database)
    visits = {each.client_id: each for each in visit_due(Billfold(registry.settings, database=registry.database))}
    with run_web_server(registry.settings, registry.database) as server:
        answer = server.send(
            "POST",
            "/v1/ingestions",
            json.dumps({"client": "acme", "key": BAD_MANIFEST}).encode(),
            {"Content-Type": "application/json"},
        )

    assert report.counts == {"current": 0, "published": 1, "failed": 1}
    assert [failure.error_code for failure in visits["acme"].failures] == ["manifest"]
    assert visits["globex"].counts == {"current": 0, "published": 1}
    assert (answer.status, answer.document["error"]["code"]) == (422, "manifest")


def test_a_poisoned_manifest_or_message_is_a_dead_letter_and_the_others_are_done(registry: Registry) -> None:
    client, mailbox = poison(registry), Mailbox(registry.aws)
    good = "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"
    mailbox.send(s3_event(client.bucket or "", BAD_MANIFEST))
    mailbox.send(s3_event(client.bucket or "", good, size=1).replace('"size": 1,', f'"size": {"9" * 5_000},'))
    mailbox.send("[" * 50_000)
    mailbox.send(s3_event(client.bucket or "", good))

    queue = open_queue(mailbox.url, registry.settings)
    report = Worker(queue, settings=registry.settings, database=registry.database, concurrency=2, drain=True).run()

    assert (report.done_count, report.dead_count) == (1, 3)
    assert mailbox.counts() == (0, 0)


@pytest.fixture
def defective(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Lets a function meet a defect of its own for the export called `bad`, and work for all others."""

    def break_for_bad(name_of_module: str, name: str) -> None:
        # The package offers a function of the same name as one of its modules.
        module = importlib.import_module(f"billfold.{name_of_module}")
        working = getattr(module, name)

        def broken(*arguments: Any, **options: Any) -> Any:
            if any("/bad/" in str(getattr(each, "key", getattr(each, "files", ""))) for each in arguments):
                raise TypeError("nobody foresaw this\nand it has two lines")
            return working(*arguments, **options)

        monkeypatch.setattr(module, name, broken)

    return break_for_bad


@pytest.mark.parametrize(
    ("door", "module", "name"),
    [("ingest", "aws.folder", "read_manifest"), ("backfill", "bills.delivery", "fetch_delivery")],
)
def test_what_nobody_foresaw_fails_its_delivery_and_no_other(
    landing: Landing, defective: Callable[[str, str], None], door: str, module: str, name: str
) -> None:
    for export in ("exports/bad", "exports/good"):
        write_bill(landing.root, described("1.25"), export_path=export)
    bucket = f"file://{landing.root.resolve()}"
    there = landing.with_client(bucket=bucket).with_settings(bucket=bucket)
    defective(module, name)

    with capture_logs() as logged:
        if door == "ingest":
            found = landing.ingest_all()
        else:
            found = [*backfill(client=there.client, settings=there.settings, database=there.database).outcomes]

    outcomes = {each.export_name.split("/")[1] if "/" in each.export_name else each.export_name: each for each in found}
    assert outcomes["good"].state is DeliveryState.PUBLISHED
    error = outcomes["bad"].exit_error
    assert error
    assert (error.error_code, str(error)) == ("internal", "TypeError: nobody foresaw this")
    assert exit_code([error]) is ExitCode.INTERNAL
    assert [event["event"] for event in logged if event.get("exc_info")] == ["internal_error"]
    assert landing.query("SELECT error_code FROM billing_ingestion_runs WHERE status = 'failed'") == [("internal",)]
    assert landing.billed() == {"USD": Decimal("1.25")}


def test_long_fields_stop_no_neighbour_wherever_they_are(landing: Landing) -> None:
    long, rows = "y" * 200_000, described("1", "2")
    damaged = {
        "data": as_csv([*rows, line_item(cost="x", line_item_line_item_description=long)]),
        "quoted": as_csv([line_item(line_item_line_item_description=f'{long}"\n,'), line_item(cost="x")]),
        "header": as_csv([*rows, line_item(cost="x", **{long: "1"})]),
        "last": as_csv(rows) + long.encode(),
        "cost": as_csv([*rows, line_item(cost=long, line_item_line_item_description="")]),
    }
    for name, content in damaged.items():
        write_delivery(landing.root, gzip.compress(content), export_path=f"exports/{name}")
    good = line_item(cost="1.25", line_item_line_item_description="y" * 1_000_000)
    write_bill(landing.root, [good], export_path="exports/good")

    outcomes = {each.export_name: each for each in landing.ingest_all()}

    refused = {name: str(outcomes[name].exit_error) for name in damaged}
    # A line item of long texts is read right.
    assert outcomes["good"].billed_cost == {"USD": Decimal("1.25")}
    assert {outcomes[name].exit_error.error_code for name in damaged} <= {"invalid_value", "malformed_file"}  # type: ignore[union-attr]
    assert all(len(text) < 700 and text.isprintable() for text in refused.values())
    assert "line 4, column line_item_unblended_cost, value 'x'" in refused["data"]
    assert "line 4, column line_item_unblended_cost, value 'x'" in refused["quoted"]
    assert "line 4, column line_item_unblended_cost, value 'x'" in refused["header"]
    assert "line 4" in refused["last"]
    assert "line 4" in refused["cost"]


BODIES = {
    "a number of 5,000 digits": b'{"client": "acme", "key": ' + b"9" * 5_000 + b"}",
    "a number of 5,000 digits beside": b'{"client": "acme", "key": "exports/x", "size": ' + b"9" * 5_000 + b"}",
    "a number beyond a double": b'{"client": 1e400, "key": NaN}',
    "deep nesting": b'{"client": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nesting below the limit of recursion": b'{"client": ' + b"[" * 900 + b"]" * 900 + b', "key": 5}',
    "half a character": b'{"client": "acme", "key": "exports/\\ud800"}',
    "half a client": b'{"client": "a\\ud800", "key": "exports/x"}',
    "NUL": b'{"client": "acme", "key": "exports/\\u0000"}',
    "wrong types": b'{"client": {"a": [1]}, "key": [null]}',
    "another encoding": b'{"client": "\xff"}',
    "nothing": b"",
}


def test_no_body_of_a_request_is_answered_by_500(registry: Registry) -> None:
    registry.add("acme")

    with run_web_server(registry.settings, registry.database) as server:
        answers = {
            name: server.send("POST", "/v1/ingestions", body, {"Content-Type": "application/json"})
            for name, body in BODIES.items()
        }

    assert {name: answer.status for name, answer in answers.items() if answer.status not in (400, 404, 422)} == {}
    assert all(set(answer.document) == {"error"} for answer in answers.values())
