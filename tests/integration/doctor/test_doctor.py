"""Doctor: what is well is told as such, and each thing that is missing with what mends it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from billfold import clients
from billfold.aws import LocalAws, bucket_probes
from billfold.aws.credentials import Clock, utc_now
from billfold.doctor import run_doctor
from billfold.errors import UsageError
from billfold.model import Client, Probe
from billfold.settings import Settings
from billfold.store.database import Database
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described
from tests.processes.refusing_aws import RefusingAws, Request
from tests.registry import ACCOUNT, Registry

KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/00000000-12ab-34cd-56ef-1234567890ab"


@pytest.fixture
def gate(aws: LocalAws, environment: pytest.MonkeyPatch) -> Iterator[RefusingAws]:
    """What stands between us and AWS, and refuses what the test says."""
    with RefusingAws(aws) as gate:
        environment.setenv("AWS_ENDPOINT_URL", gate.endpoint_url)
        yield gate


@pytest.fixture
def registry(
    aws: LocalAws,
    gate: RefusingAws,
    database: Database,
    settings: Settings,
    tmp_path: Path,
) -> Registry:
    changes = {"endpoint_url": gate.endpoint_url, "region": aws.region, "retry_base_delay_ms": 0, "threads": 2}
    return Registry(aws=aws, database=database, settings=settings.model_copy(update=changes), folder=tmp_path)


@pytest.fixture
def client(registry: Registry, gate: RefusingAws) -> Client:
    """A client of whom all is well: its role asks for its external id and shows its folder alone."""
    client = registry.add("acme")
    assert client.role_arn
    assert client.external_id
    gate.trust(client.role_arn, client.external_id)
    gate.close_all_but("exports/")
    registry.deliver(client, "1", "2")
    gate.answer(
        lambda request: "notification" in request.form,
        b"<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>",
    )
    return client


def diagnose(
    registry: Registry, *, database: Database | None = None, clock: Clock = utc_now, **changes: object
) -> dict[str, Probe]:
    """What was found of all and of acme, by its name; `changes` are of the settings."""
    probes = run_doctor(
        settings=registry.settings.model_copy(update=changes),
        client_id="acme",
        open_store=lambda _: database or registry.database,
        clock=clock,
    )
    return {probe.name: probe for probe in probes}


def change_client(registry: Registry, assignment: str, *parameters: object) -> None:
    change_tables(registry, f"UPDATE billing_clients SET {assignment}", *parameters)


def change_tables(registry: Registry, sql: str, *parameters: object) -> None:
    Landing.make(registry.database, registry.settings, registry.folder / "unused").execute(sql, *parameters)


def states(probes: dict[str, Probe]) -> dict[str, str]:
    return {name: str(probe.state) for name, probe in probes.items() if probe.state not in ("ok", "skipped")}


def test_of_a_client_that_is_well_everything_is_ok_and_the_sessions_to_be_refused_may_do_nothing(
    registry: Registry, client: Client, gate: RefusingAws
) -> None:
    probes = diagnose(registry)

    assert states(probes) == {}
    assert probes["wrong external id"].found == "is refused"
    assert probes["absent external id"].found == "is refused"
    assert probes["other folders"].found == "are refused"
    assert "including the 4 required ones" in probes["columns"].found
    asked = [request.form for request in gate.requests if request.action == "AssumeRole"]
    wrong = [form for form in asked if form.get("ExternalId") != client.external_id]
    assert len(wrong) == 2
    assert [json.loads(form["Policy"])["Statement"][0]["Effect"] for form in wrong] == ["Deny", "Deny"]
    assert {form["DurationSeconds"] for form in asked} == {"900", "3600"}


def test_a_role_that_anybody_can_use_us_for_is_a_finding(registry: Registry, client: Client, gate: RefusingAws) -> None:
    gate.refusals.clear()

    probes = diagnose(registry)

    assert states(probes) == {
        "wrong external id": "failed",
        "absent external id": "failed",
        "other folders": "failed",
    }
    assert "confused deputy" in probes["wrong external id"].found
    assert "sts:ExternalId" in probes["wrong external id"].fix


def test_a_role_that_refuses_us_is_told_with_its_trust_policy_and_nothing_else_is_asked(
    registry: Registry, client: Client, gate: RefusingAws
) -> None:
    gate.refuse(lambda request: request.action == "AssumeRole")

    probes = diagnose(registry)

    assert states(probes) == {"role": "failed"}
    assert "trust policy" in probes["role"].fix
    assert probes["wrong external id"].state == "skipped"
    assert probes["listing"].state == "skipped"
    assert all(request.action for request in gate.requests)
    assert client.external_id
    assert client.external_id not in repr(probes)


def test_the_settings_client_is_probed_without_a_database_and_warned_without_an_external_id(
    registry: Registry, aws: LocalAws
) -> None:
    gone = Database(conninfo="host=127.0.0.1 port=1", reader_conninfo=None, is_embedded=False)
    aws.create_bucket("own-bills")
    aws.put("own-bills", "exports/a.csv", b"a\n1\n")
    role_arn = aws.create_role("own", "999988887777")

    probes = diagnose(registry, database=gone, client="acme", bucket="own-bills", role_arn=role_arn)

    assert probes["database"].state == "failed"
    assert probes["absent external id"].state == "warning"
    assert probes["bucket owner"].state == "warning"
    assert probes["listing"].state == "ok"
    assert probes["manifest"].state == "failed"
    assert probes["other folders"].state == "skipped"


def test_a_role_that_allows_more_than_the_folder_is_told_though_our_session_is_narrower(
    registry: Registry, client: Client, gate: RefusingAws
) -> None:
    gate.refusals.pop()
    gate.close_all_but("exports/", to_wide_sessions=False)

    probes = diagnose(registry)

    assert states(probes) == {"other folders": "warning"}
    assert "the role itself" in probes["other folders"].found


@pytest.mark.parametrize(
    ("refused", "found"),
    [
        (
            lambda request: "location" in request.form or (request.method == "GET" and request.path.endswith(".json")),
            {"bucket region": ("warning", "s3:GetBucketLocation"), "reading": ("failed", "s3:GetObject")},
        ),
        (lambda request: "list-type" in request.form, {"listing": ("failed", "s3:ListBucket")}),
    ],
    ids=["location and reading", "listing"],
)
def test_a_right_that_the_role_lacks_is_named(
    registry: Registry,
    client: Client,
    gate: RefusingAws,
    refused: Callable[[Request], bool],
    found: dict[str, tuple[str, str]],
) -> None:
    gate.refuse(refused)

    probes = diagnose(registry)

    for name, (state, right) in found.items():
        assert probes[name].state == state
        assert right in probes[name].fix
        assert "arn:aws:s3:::acme-bills" in probes[name].fix


def test_a_bucket_of_another_account_is_told_as_such(registry: Registry, client: Client, gate: RefusingAws) -> None:
    gate.refuse(lambda request: "x-amz-expected-bucket-owner" in request.headers)

    probe = diagnose(registry)["bucket owner"]

    assert probe.state == "failed"
    assert f"does not belong to account {ACCOUNT}" in probe.found


def test_a_busy_s3_does_not_tell_of_another_owner(registry: Registry, client: Client, gate: RefusingAws) -> None:
    gate.refuse(
        lambda request: "x-amz-expected-bucket-owner" in request.headers and request.form.get("max-keys") == "1",
        "SlowDown",
    )

    probe = diagnose(registry)["bucket owner"]

    assert probe.state == "unknown"
    assert "does not answer now" in probe.found


def test_a_folder_that_was_not_listed_to_its_end_tells_nothing_of_manifests(
    registry: Registry, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_probes, "MAX_LISTED_OBJECTS", 3)
    for number in range(4):
        registry.aws.put("acme-bills", f"exports/{number}.csv", b"")

    probes = diagnose(registry)

    assert states(probes) == {"manifest": "unknown", "freshness": "unknown"}
    assert "more than 3" in probes["listing"].found


def test_a_bucket_that_does_not_exist_is_told_once_with_its_name(registry: Registry, client: Client) -> None:
    change_client(registry, "bucket = 'not-there'")

    probes = diagnose(registry)

    assert probes["listing"].state == "failed"
    assert "not-there" in probes["listing"].found
    assert probes["manifest"].state == "skipped"


def test_a_bucket_in_another_region_is_told(registry: Registry, client: Client) -> None:
    probe = diagnose(registry, region="eu-central-1")["bucket region"]

    assert probe.state == "ok"
    change_client(registry, "region = 'eu-central-1'")
    moved = diagnose(registry)["bucket region"]
    assert moved.state == "warning"
    assert "--region us-east-1" in moved.fix


@pytest.mark.parametrize(
    ("configured", "used", "prefix", "receives", "behind_seconds", "expected"),
    [
        (KEY, KEY, "exports/", 100, 0, ("ok", "ok", "ok", "ok")),
        (OTHER_KEY, KEY, "logs/", None, 400, ("failed", "warning", "failed", "failed")),
        (None, KEY, "exports/other/", 5, -120, ("warning", "warning", "failed", "warning")),
        (KEY, None, None, 100, 0, ("warning", "warning", "ok", "ok")),
    ],
    ids=["all as it should be", "nothing is", "half of it", "no key and no notification"],
)
def test_what_is_configured_is_compared_with_what_is_there(
    registry: Registry,
    client: Client,
    gate: RefusingAws,
    configured: str | None,
    used: str | None,
    prefix: str | None,
    receives: int | None,
    behind_seconds: int,
    expected: tuple[str, ...],
) -> None:
    """The key that encrypts, the folder that sends events, the queue's dead-letter queue, and the clock."""
    gate.answers.clear()
    gate.clock_offset = timedelta(seconds=-behind_seconds)
    change_client(registry, "kms_key_arn = %s", configured)
    if used:
        encrypt(registry, used)
    url = make_queue(registry, receives)
    rules = [{"Name": "prefix", "Value": prefix}]
    entry = {
        "QueueArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:work",
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": rules}},
    }
    registry.aws.client("s3").put_bucket_notification_configuration(
        Bucket="acme-bills", NotificationConfiguration={"QueueConfigurations": [entry]} if prefix else {}
    )

    probes = diagnose(registry, queue_url=url)

    names = ("decryption", "notification", "queue", "clock")
    assert {name: probes[name].state for name in names} == dict(zip(names, expected, strict=True))
    assert used is None or expected[0] == "ok" or used in probes["decryption"].fix
    assert expected[2] == "ok" or "maxReceiveCount" in probes["queue"].fix
    assert ("ahead of" if behind_seconds > 0 else "behind") in probes["clock"].found or not behind_seconds


def encrypt(registry: Registry, key_arn: str) -> None:
    s3, data = registry.aws.client("s3"), "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"
    content = s3.get_object(Bucket="acme-bills", Key=data)["Body"].read()
    s3.put_object(Bucket="acme-bills", Key=data, Body=content, ServerSideEncryption="aws:kms", SSEKMSKeyId=key_arn)


def make_queue(registry: Registry, receives: int | None) -> str:
    """The address of a queue whose messages are dead after this number of receives, if ever."""
    sqs = registry.aws.client("sqs")
    sqs.create_queue(QueueName="dead")
    policy = {"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:dead", "maxReceiveCount": receives}
    attributes = {"RedrivePolicy": json.dumps(policy)} if receives else {}
    return str(sqs.create_queue(QueueName="work", Attributes=attributes)["QueueUrl"])


def test_columns_that_the_mapping_needs_are_missed(registry: Registry, client: Client) -> None:
    items = [
        {name: value for name, value in item.items() if name != "line_item_usage_account_id"} for item in described("1")
    ]
    key = "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz"
    registry.aws.put("acme-bills", key, gzip.compress(as_csv(items)))

    probe = diagnose(registry)["columns"]

    assert probe.state == "failed"
    assert "line_item_usage_account_id" in probe.found
    assert "choose these columns" in probe.fix


def test_credentials_that_nobody_knows_are_told_with_the_clock(registry: Registry, gate: RefusingAws) -> None:
    registry.add("acme")
    gate.clock_offset = timedelta(hours=1)
    gate.refuse(lambda request: request.action == "GetCallerIdentity", "SignatureDoesNotMatch")

    probes = diagnose(registry)

    assert probes["credentials"].state == "failed"
    assert probes["clock"].state == "failed"


def test_where_the_bucket_may_not_be_asked_the_events_that_came_tell(
    registry: Registry, client: Client, gate: RefusingAws
) -> None:
    gate.refuse(lambda request: "notification" in request.form)

    before = diagnose(registry)["notification"]
    change_tables(
        registry,
        "INSERT INTO billing_ingestion_runs (client_id, source_bucket, source_s3_key, source_etag, trigger_source)"
        " VALUES ('acme', 'acme-bills', 'exports/a', 'e', 'sqs')",
    )
    after = diagnose(registry)["notification"]

    assert before.state == "unknown"
    assert "get-bucket-notification-configuration --bucket acme-bills" in before.fix
    assert "no event of this client" in before.found
    assert after.state == "ok"
    assert "the last event was received at" in after.found


def test_an_old_manifest_a_full_disk_too_much_memory_and_a_queue_that_is_not_there_are_told(
    registry: Registry, client: Client, gate: RefusingAws
) -> None:
    probes = diagnose(
        registry,
        clock=lambda: utc_now() + timedelta(hours=40),
        min_free_bytes=10**18,
        memory_limit_mb=1_000_000,
        queue_url=f"{gate.endpoint_url}/{ACCOUNT}/nowhere",
    )

    assert probes["freshness"].state == "warning"
    assert "40 hours ago; one is expected every 24 hours" in probes["freshness"].found
    assert probes["spool"].state == "failed"
    assert "BILLFOLD_SPOOL" in probes["spool"].fix
    assert probes["memory"].state == "failed"
    assert probes["memory"].fix.startswith("BILLFOLD_MEMORY_LIMIT_MB=")
    assert probes["queue"].state == "failed"
    assert "nowhere" in probes["queue"].found


def test_a_schema_that_is_behind_and_a_reader_that_may_write_are_told(registry: Registry, gate: RefusingAws) -> None:
    registry.add("acme")
    gate.refuse(lambda request: request.action == "AssumeRole")

    writing = diagnose(registry, database=replace(registry.database, reader_conninfo=registry.database.conninfo))
    change_tables(registry, "DELETE FROM billfold_migrations WHERE number = 10")
    behind = diagnose(registry, database=replace(registry.database, is_embedded=False))

    assert writing["reader"].state == "failed"
    assert "superuser" in writing["reader"].found
    assert behind["schema"].state == "failed"
    assert behind["schema"].fix == "run: billfold migrate"


def test_a_fault_with_one_client_does_not_hide_the_others_of_which_a_disabled_one_is_left_out(
    registry: Registry, client: Client, gate: RefusingAws
) -> None:
    registry.deliver(registry.add("globex"), "1")
    registry.add("off")
    clients.set_enabled(registry.database, "off", enabled=False)
    gate.answer(lambda request: request.method == "HEAD" and request.path.startswith("/acme-bills/"), b"")

    def find(client_id: str | None) -> tuple[Probe, ...]:
        return run_doctor(settings=registry.settings, client_id=client_id, open_store=lambda _: registry.database)

    probes = find(None)
    [off] = [probe for probe in find("off") if probe.name == "client"]

    assert {probe.client_id for probe in probes} == {None, "acme", "globex"}
    assert [probe.found for probe in probes if (probe.client_id, probe.name) == ("acme", "client")] == [
        "the probes of this client stopped: KeyError"
    ]
    assert [str(probe.state) for probe in probes if (probe.client_id, probe.name) == ("globex", "columns")] == ["ok"]
    assert off.state == "warning"
    with pytest.raises(UsageError, match="registered clients: acme, globex, off"):
        find("nobody")
