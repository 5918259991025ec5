"""Doctor: what is well is told as such, and each thing that is missing with what mends it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from billfold import clients
from billfold.aws import LocalAws
from billfold.aws.bucket_probes import MAX_LISTED_OBJECTS
from billfold.aws.credentials import Clock, utc_now
from billfold.doctor import run_doctor
from billfold.errors import UsageError
from billfold.model import Client, Probe
from billfold.settings import Settings
from billfold.store.database import Database
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described
from tests.processes.refusing_aws import RefusingAws
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
    tables = Landing.make(registry.database, registry.settings, registry.folder / "unused")
    tables.execute(f"UPDATE billing_clients SET {assignment}", *parameters)


def states(probes: dict[str, Probe]) -> dict[str, str]:
    return {name: str(probe.state) for name, probe in probes.items() if probe.state not in ("ok", "skipped")}


def test_of_a_client_that_is_well_everything_is_ok(registry: Registry, client: Client) -> None:
    probes = diagnose(registry)

    assert states(probes) == {}
    assert probes["wrong external id"].found == "is refused"
    assert probes["absent external id"].found == "is refused"
    assert probes["other folders"].found == "are refused"
    assert "including the 4 required ones" in probes["columns"].found


def test_nothing_that_doctor_says_or_asks_names_the_external_id(
    registry: Registry, client: Client, gate: RefusingAws
) -> None:
    gate.refusals.clear()
    gate.refuse(lambda request: request.action == "AssumeRole")

    probes = diagnose(registry)

    assert client.external_id
    assert client.external_id not in repr(probes)


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


def test_a_session_that_should_be_refused_may_do_nothing(registry: Registry, client: Client, gate: RefusingAws) -> None:
    diagnose(registry)

    asked = [request.form for request in gate.requests if request.action == "AssumeRole"]
    wrong = [form for form in asked if form.get("ExternalId") != client.external_id]
    assert len(wrong) == 2
    assert [json.loads(form["Policy"])["Statement"][0]["Effect"] for form in wrong] == ["Deny", "Deny"]
    assert {form["DurationSeconds"] for form in asked} == {"900", "3600"}


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


def test_the_settings_client_without_an_external_id_is_warned(registry: Registry, aws: LocalAws) -> None:
    aws.create_bucket("own-bills")
    role_arn = aws.create_role("own", "999988887777")
    own = {"client": "acme", "bucket": "own-bills", "role_arn": role_arn}

    probes = diagnose(registry, **own)

    assert probes["absent external id"].state == "warning"
    assert probes["bucket owner"].state == "warning"
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
    ("operation", "name", "right"),
    [
        ("location", "bucket region", "s3:GetBucketLocation"),
        ("list-type", "listing", "s3:ListBucket"),
        ("object", "reading", "s3:GetObject"),
    ],
)
def test_a_right_that_the_role_lacks_is_named(
    registry: Registry, client: Client, gate: RefusingAws, operation: str, name: str, right: str
) -> None:
    gate.refuse(
        lambda request: (
            operation in request.form
            or (operation == "object" and request.method == "GET" and request.path.endswith(".json"))
        )
    )

    probe = diagnose(registry)[name]

    assert probe.state == ("warning" if operation == "location" else "failed")
    assert right in probe.fix
    assert "arn:aws:s3:::acme-bills" in probe.fix


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
    registry: Registry, client: Client, gate: RefusingAws
) -> None:
    entry = (
        "<Contents><Key>exports/{:06}.csv</Key><ETag>&quot;e&quot;</ETag><Size>1</Size>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
    )
    entries = "".join(entry.format(number) for number in range(MAX_LISTED_OBJECTS + 1))
    gate.answer(
        lambda request: "list-type" in request.form and "max-keys" not in request.form,
        f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode(),
    )

    probes = diagnose(registry)

    assert states(probes) == {"manifest": "unknown", "freshness": "unknown"}
    assert "more than 10,000" in probes["listing"].found


def test_a_fault_with_one_client_does_not_hide_the_others(
    registry: Registry, client: Client, gate: RefusingAws
) -> None:
    registry.deliver(registry.add("globex"), "1")
    gate.answer(lambda request: request.method == "HEAD" and request.path.startswith("/acme-bills/"), b"")

    probes = run_doctor(settings=registry.settings, open_store=lambda _: registry.database)

    assert [probe.found for probe in probes if (probe.client_id, probe.name) == ("acme", "client")] == [
        "the probes of this client stopped: KeyError"
    ]
    assert [str(probe.state) for probe in probes if (probe.client_id, probe.name) == ("globex", "columns")] == ["ok"]


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
    ("configured", "used", "state"),
    [(KEY, KEY, "ok"), (OTHER_KEY, KEY, "failed"), (None, KEY, "warning"), (KEY, None, "warning")],
)
def test_the_key_that_encrypts_is_compared_with_the_one_that_is_configured(
    registry: Registry, client: Client, configured: str | None, used: str | None, state: str
) -> None:
    s3 = registry.aws.client("s3")
    if used:
        [key] = [
            entry["Key"]
            for entry in s3.list_objects_v2(Bucket="acme-bills")["Contents"]
            if entry["Key"].endswith(".csv.gz")
        ]
        content = s3.get_object(Bucket="acme-bills", Key=key)["Body"].read()
        s3.put_object(Bucket="acme-bills", Key=key, Body=content, ServerSideEncryption="aws:kms", SSEKMSKeyId=used)
    change_client(registry, "kms_key_arn = %s", configured)

    probe = diagnose(registry)["decryption"]

    assert probe.state == state
    assert used is None or state == "ok" or used in probe.fix


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


def test_an_old_manifest_is_told_with_its_age(registry: Registry, client: Client) -> None:
    probe = diagnose(registry, clock=lambda: utc_now() + timedelta(hours=40))["freshness"]

    assert probe.state == "warning"
    assert "40 hours ago; one is expected every 24 hours" in probe.found


@pytest.mark.parametrize(("seconds", "state"), [(0, "ok"), (-120, "warning"), (400, "failed")])
def test_a_clock_that_is_off_is_told(
    registry: Registry, client: Client, gate: RefusingAws, seconds: int, state: str
) -> None:
    gate.clock_offset = timedelta(seconds=-seconds)

    probe = diagnose(registry)["clock"]

    assert probe.state == state
    assert ("ahead of" if seconds > 0 else "behind") in probe.found or not seconds


def test_credentials_that_nobody_knows_are_told_with_the_clock(registry: Registry, gate: RefusingAws) -> None:
    registry.add("acme")
    gate.clock_offset = timedelta(hours=1)
    gate.refuse(lambda request: request.action == "GetCallerIdentity", "SignatureDoesNotMatch")

    probes = diagnose(registry)

    assert probes["credentials"].state == "failed"
    assert probes["clock"].state == "failed"


@pytest.mark.parametrize(
    ("configuration", "state"),
    [
        ({}, "warning"),
        ({"Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "exports/"}]}}}, "ok"),
        ({"Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "logs/"}]}}}, "warning"),
        ({"Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "exports/other/"}]}}}, "warning"),
    ],
)
def test_a_notification_is_of_the_clients_folder(
    registry: Registry, client: Client, gate: RefusingAws, configuration: dict[str, object], state: str
) -> None:
    gate.answers.clear()
    s3, sqs = registry.aws.client("s3"), registry.aws.client("sqs")
    sqs.create_queue(QueueName="events")
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:events"
    entry = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"], **configuration}
    s3.put_bucket_notification_configuration(
        Bucket="acme-bills", NotificationConfiguration={"QueueConfigurations": [entry]} if configuration else {}
    )

    assert diagnose(registry)["notification"].state == state


def test_where_the_bucket_may_not_be_asked_the_events_that_came_tell(
    registry: Registry, client: Client, gate: RefusingAws
) -> None:
    gate.refuse(lambda request: "notification" in request.form)
    tables = Landing.make(registry.database, registry.settings, registry.folder / "unused")

    before = diagnose(registry)["notification"]
    tables.execute(
        "INSERT INTO billing_ingestion_runs (client_id, source_bucket, source_s3_key, source_etag, trigger_source)"
        " VALUES ('acme', 'acme-bills', 'exports/a', 'e', 'sqs')"
    )
    after = diagnose(registry)["notification"]

    assert before.state == "unknown"
    assert "get-bucket-notification-configuration --bucket acme-bills" in before.fix
    assert "no event of this client" in before.found
    assert after.state == "ok"
    assert "the last event was received at" in after.found


@pytest.mark.parametrize(("receives", "state"), [(None, "failed"), (5, "failed"), (100, "ok")])
def test_a_queue_needs_a_dead_letter_queue_that_leaves_time_to_wait(
    registry: Registry, client: Client, receives: int | None, state: str
) -> None:
    sqs = registry.aws.client("sqs")
    sqs.create_queue(QueueName="dead")
    policy = {"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:dead", "maxReceiveCount": receives}
    attributes = {"RedrivePolicy": json.dumps(policy)} if receives else {}
    url = sqs.create_queue(QueueName="work", Attributes=attributes)["QueueUrl"]

    probe = diagnose(registry, queue_url=url)["queue"]

    assert probe.state == state
    assert state == "ok" or "maxReceiveCount" in probe.fix


def test_a_queue_that_is_not_there_is_told(registry: Registry, client: Client, gate: RefusingAws) -> None:
    probe = diagnose(registry, queue_url=f"{gate.endpoint_url}/{ACCOUNT}/nowhere")["queue"]

    assert probe.state == "failed"
    assert "nowhere" in probe.found


def test_a_full_disk_and_too_much_memory_are_told(registry: Registry, client: Client) -> None:
    probes = diagnose(registry, min_free_bytes=10**18, memory_limit_mb=1_000_000)

    assert probes["spool"].state == "failed"
    assert "BILLFOLD_SPOOL" in probes["spool"].fix
    assert probes["memory"].state == "failed"
    assert probes["memory"].fix.startswith("BILLFOLD_MEMORY_LIMIT_MB=")


def test_a_database_that_does_not_answer_leaves_the_client_of_the_settings(registry: Registry, aws: LocalAws) -> None:
    gone = Database(conninfo="host=127.0.0.1 port=1", reader_conninfo=None, is_embedded=False)
    aws.create_bucket("own-bills")
    aws.put("own-bills", "exports/a.csv", b"a\n1\n")

    probes = diagnose(registry, database=gone, client="acme", bucket="own-bills")

    assert probes["database"].state == "failed"
    assert probes["listing"].state == "ok"


def test_a_schema_that_is_behind_and_a_reader_that_may_write_are_told(registry: Registry, client: Client) -> None:
    writing = diagnose(registry, database=replace(registry.database, reader_conninfo=registry.database.conninfo))
    Landing.make(registry.database, registry.settings, registry.folder / "unused").execute(
        "DELETE FROM billfold_migrations WHERE number = 10"
    )
    behind = diagnose(registry, database=replace(registry.database, is_embedded=False))

    assert writing["reader"].state == "failed"
    assert "superuser" in writing["reader"].found
    assert behind["schema"].state == "failed"
    assert behind["schema"].fix == "run: billfold migrate"


def test_all_clients_are_probed_but_disabled_ones_and_an_unknown_one_is_refused(
    registry: Registry, client: Client
) -> None:
    registry.add("globex")
    registry.add("off")
    clients.set_enabled(registry.database, "off", enabled=False)

    def find(client_id: str | None) -> tuple[Probe, ...]:
        return run_doctor(settings=registry.settings, client_id=client_id, open_store=lambda _: registry.database)

    named = {probe.client_id for probe in find(None)}
    [off] = [probe for probe in find("off") if probe.name == "client"]

    assert named == {None, "acme", "globex"}
    assert off.state == "warning"
    with pytest.raises(UsageError, match="registered clients: acme, globex, off"):
        find("nobody")
