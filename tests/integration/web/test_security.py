"""What keeps clients apart and secrets to themselves, at every place where they could get out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from billfold import clients
from billfold.aws import LocalAws, decode_event_key, locate, open_bucket
from billfold.aws.session_policy import session_policy
from billfold.bills.backfill import backfill
from billfold.bills.ingest import ingest
from billfold.errors import AccessDeniedError, ManifestError, QueryError, UsageError
from billfold.model import Client, DeliveryState
from billfold.settings import Settings
from billfold.store.database import READER_ROLE, Database
from billfold.store.query import run_query
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.processes.operator import Ended, Operator
from tests.processes.refusing_aws import RefusingAws
from tests.registry import ACCOUNT, Registry
from tests.sent import Sent

KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
AMBIENT_SECRET = "ambient-secret-key-of-ours-0123456789"
PASSWORD = "password-of-the-database-0123456789"


@pytest.fixture
def sent(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent.by_this_process(monkeypatch)


def take_in(registry: Registry, client: Client, source: str) -> Any:
    [outcome] = ingest(source, client=client, settings=registry.settings, database=registry.database)
    return outcome


def test_a_session_is_narrowed_to_the_clients_folder_key_and_name(registry: Registry, sent: Sent) -> None:
    client = registry.add("acme", prefix="data/", kms_key_arn=KEY, source_identity="billfold-finops")

    list(open_bucket(client, registry.settings).list_objects("data/"))

    [request] = sent.of("AssumeRole")
    policy = json.loads(request.pop("Policy"))
    assert request == {
        "RoleArn": client.role_arn,
        "RoleSessionName": "billfold-acme",
        "DurationSeconds": 3600,
        "ExternalId": client.external_id,
        "SourceIdentity": "billfold-finops",
    }
    assert policy["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
            "Resource": "arn:aws:s3:::acme-bills/data/*",
        },
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": "arn:aws:s3:::acme-bills",
            "Condition": {"StringLike": {"s3:prefix": "data/*"}},
        },
        {"Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": "arn:aws:s3:::acme-bills"},
        {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": KEY},
    ]


def test_a_session_without_a_named_key_decrypts_for_s3_alone() -> None:
    client = Client(client_id="acme", role_arn="arn:aws-cn:iam::111122223333:role/r", bucket="acme-bills")

    *_, decrypting = json.loads(session_policy(client, "acme-bills"))["Statement"]

    assert decrypting["Condition"] == {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}}


def test_a_prefix_means_itself_in_a_policy_and_not_a_pattern() -> None:
    client = Client(client_id="acme", bucket="acme-bills", prefix="a*b?c$/")

    first, listing, *_ = json.loads(session_policy(client, "acme-bills"))["Statement"]

    assert first["Resource"] == "arn:aws:s3:::acme-bills/a${*}b${?}c${$}/*"
    assert listing["Condition"] == {"StringLike": {"s3:prefix": "a${*}b${?}c${$}/*"}}


def test_every_call_to_s3_names_the_account_that_must_own_the_bucket(registry: Registry, sent: Sent) -> None:
    client = registry.add("acme")
    [manifest] = [key for key in registry.deliver(client, "1", "2") if key.endswith(".json")]
    sent.calls.clear()

    take_in(registry, client, manifest)
    backfill(client=client, settings=registry.settings, database=registry.database)

    asked = [(name, params) for name, params in sent.calls if name != "AssumeRole"]
    assert {name for name, _ in asked} >= {"ListObjectsV2", "HeadObject", "GetObject"}
    assert {params.get("ExpectedBucketOwner") for _, params in asked} == {ACCOUNT}
    assert {params["Bucket"] for _, params in asked} == {"acme-bills"}


def test_the_owner_is_the_registrys_and_never_guessed_from_the_role(registry: Registry, sent: Sent) -> None:
    role_of_another = "arn:aws:iam::444455556666:role/theirs"
    client = registry.add("acme", role_arn=role_of_another)

    list(open_bucket(client, registry.settings).list_objects("exports/"))

    assert {params["ExpectedBucketOwner"] for params in sent.of("ListObjectsV2")} == {ACCOUNT}


OUTSIDE = [
    "data-evil/x.csv.gz",
    "data",
    "dat",
    "",
    "other/x.csv.gz",
    "DATA/x.csv.gz",
    " data/x.csv.gz",
    "/data/x.csv.gz",
    "data%2Fx.csv.gz",
    "data%2f..%2fother/x.csv.gz",
]
TRICKS = ["data/../other/x.csv.gz", "data/./x.csv.gz", "data/a/../../other/x.csv.gz", "data/.."]


def test_a_key_beside_the_clients_folder_is_asked_of_nobody(registry: Registry, sent: Sent) -> None:
    client = registry.add("acme", prefix="data/")
    bucket = open_bucket(client, registry.settings)
    sent.calls.clear()

    for key in OUTSIDE + TRICKS:
        with pytest.raises(AccessDeniedError, match="is not in the client's folder data/"):
            bucket.head(key)
        with pytest.raises(AccessDeniedError):
            list(bucket.list_objects(key))

    assert sent.calls == []


def test_what_only_looks_like_a_trick_is_a_key_like_any_other(registry: Registry) -> None:
    client = registry.add("acme", prefix="data/")
    bucket = open_bucket(client, registry.settings)

    for key in ("data/%2e%2e/x.csv", "data/a%2F..%2Fb.csv", "data/..x/y...csv"):
        registry.aws.put("acme-bills", key, b"a\n1\n")

        assert bucket.head(key).key == key


def test_an_events_key_is_decoded_once(registry: Registry) -> None:
    registry.add("acme", prefix="data/")

    def owner(key: str) -> Client | None:
        return clients.find_owner(registry.database, registry.settings, "acme-bills", decode_event_key(key))

    assert owner("data/BILLING_PERIOD%3D2026-05/x")
    assert owner("data%2Fx")
    # Decoded twice, this would lie in the folder.
    assert owner("data%252Fx") is None
    assert owner("data-evil%2Fx") is None


def test_another_clients_bucket_is_not_opened(registry: Registry, sent: Sent) -> None:
    acme = registry.add("acme")
    registry.deliver(registry.add("globex"), "1")
    sent.calls.clear()

    with pytest.raises(UsageError, match="does not belong to client acme"):
        locate("s3://globex-bills/exports/", acme, registry.settings)

    assert sent.calls == []


def test_a_manifest_cannot_lead_out_of_the_clients_folder(registry: Registry, sent: Sent) -> None:
    client = registry.add("acme", prefix="data/")
    registry.aws.create_bucket("globex-bills")
    registry.aws.put("globex-bills", "exports/acme/x.csv.gz", b"line_item_unblended_cost\n1\n")
    registry.aws.put("acme-bills", "data-evil/x.csv.gz", b"line_item_unblended_cost\n1\n")
    manifest = "data/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json"

    for named in (
        "s3://globex-bills/exports/acme/x.csv.gz",
        "data-evil/x.csv.gz",
        "data/../data-evil/x.csv.gz",
        "/etc/passwd",
    ):
        registry.aws.put("acme-bills", manifest, json.dumps({"dataFiles": [named]}).encode())
        sent.calls.clear()

        outcome = take_in(registry, client, manifest)

        assert outcome.state is DeliveryState.FAILED
        assert isinstance(outcome.exit_error, AccessDeniedError | ManifestError)
        asked = [params for name, params in sent.calls if name != "AssumeRole"]
        assert {params["Bucket"] for params in asked} == {"acme-bills"}
        assert all((params.get("Key") or params.get("Prefix", "")).startswith("data/") for params in asked)


def test_the_file_of_another_client_is_not_taken_in_by_a_client_of_the_settings(registry: Registry, sent: Sent) -> None:
    registered = registry.add("acme", prefix="data/")
    registry.deliver(registered, "1", export_path="data/acme")
    thief = Client(client_id="thief", bucket="acme-bills", prefix="data/")

    with pytest.raises(UsageError, match="s3://acme-bills/data/ is its own"):
        take_in(registry, thief, "data/")


SECRET_QUERIES = [
    "SELECT external_id FROM billing_clients",
    "SELECT * FROM billing_clients",
    "SELECT billing_clients FROM billing_clients",
    "SELECT to_json(billing_clients) FROM billing_clients",
    "SELECT count(external_id) FROM billing_clients",
    "SELECT client_id FROM billing_clients WHERE external_id LIKE 'a%'",
    "SELECT client_id FROM billing_clients ORDER BY external_id",
    "TABLE billing_clients",
    "SELECT query_to_xml('SELECT * FROM billing_clients', true, false, '')",
]


def test_a_query_of_the_operators_cannot_read_an_external_id(landing: Landing) -> None:
    landing.execute("INSERT INTO billing_clients (client_id, external_id) VALUES ('acme', 'between-us')")

    for query in SECRET_QUERIES:
        with pytest.raises(QueryError, match="permission denied"):
            ask(landing.database, query)
    assert ask(landing.database, "SELECT client_id FROM billing_clients") == [("acme",)]


def ask(database: Database, query: str) -> list[tuple[Any, ...]]:
    with run_query(database, query, timeout_seconds=7, max_rows=10) as result:
        return list(result.rows)


def test_a_query_of_the_operators_is_read_only_with_a_timeout(database: Database) -> None:
    assert ask(database, "SELECT current_setting('transaction_read_only')") == [("on",)]
    assert ask(database, "SELECT current_setting('statement_timeout')") == [("7s",)]


def test_a_client_does_not_show_its_external_id(registry: Registry) -> None:
    client = registry.add("acme")

    assert client.external_id
    assert client.external_id not in repr(client)
    assert len(client.external_id) >= 32


@pytest.fixture
def gate(aws: LocalAws) -> Iterator[RefusingAws]:
    with RefusingAws(aws) as gate:
        yield gate


class Listener:
    """Has an operator's commands run, and keeps all that they said."""

    def __init__(self, operator: Operator) -> None:
        self.said = ""
        self._operator = operator

    def run(self, *words: str) -> int:
        """The command as a process."""
        return self._hear(self._operator.run(*words))

    def call(self, *words: str, **variables: str) -> int:
        """The command within this process."""
        return self._hear(self._operator.call(*words, **variables))

    def _hear(self, ended: Ended) -> int:
        self.said += ended.out + ended.err
        return ended.code


@pytest.fixture
def listener(database: Database, aws: LocalAws, gate: RefusingAws, tmp_path: Path) -> Listener:
    url = make_conninfo(database.conninfo, password=PASSWORD)
    variables = {
        **aws.environment(),
        "AWS_ENDPOINT_URL": gate.endpoint_url,
        "AWS_SECRET_ACCESS_KEY": AMBIENT_SECRET,
        "DATABASE_URL": url,
        "BILLFOLD_READER_DATABASE_URL": make_conninfo(url, user=READER_ROLE),
        "BILLFOLD_LOG_FORMAT": "json",
        "LOG_LEVEL": "debug",
    }
    return Listener(Operator(home=tmp_path / "operator", folder=tmp_path, variables=variables))


@pytest.mark.slow
def test_no_secret_leaves_by_output_logs_or_tables(
    database: Database, settings: Settings, aws: LocalAws, gate: RefusingAws, listener: Listener, tmp_path: Path
) -> None:
    tables = Landing.make(database, settings, tmp_path / "unused")
    add = ("--bucket", "acme-bills", "--prefix", "exports", "--account-id", ACCOUNT)
    assert listener.call("client", "add", "acme", *add, "--json") == 0
    external_id = tables.value("SELECT external_id FROM billing_clients")
    aws.create_bucket("acme-bills")
    write_bill(tmp_path / "bucket", described("1", "2"), bucket="acme-bills")
    aws.upload_folder("acme-bills", tmp_path / "bucket")
    aws.put("acme-bills", "exports/b/metadata/BILLING_PERIOD=2026-04/b-Manifest.json", b"no manifest")
    gate.trust(f"arn:aws:iam::{ACCOUNT}:role/billfold-acme", external_id)

    assert listener.run("schedule", "--once", "--json") == 4
    assert listener.call("ingest", "--client", "acme", "exports/acme/", "--json") == 0
    assert listener.run("doctor", "--client", "acme", "--json") == 3
    assert listener.call("client", "show", "acme") == 0
    assert listener.call("client", "list", "--json") == 0
    assert listener.call("sql", "SELECT external_id FROM billing_clients", "--json") == 5
    gate.refuse(lambda request: request.action == "AssumeRole")
    assert listener.run("ingest", "--client", "acme", "exports/", "--json") == 3
    assert listener.call("doctor", "--client", "acme", "--json") == 3
    wrong = {"BILLFOLD_EXTERNAL_ID": f"{external_id} with blanks", "DATABASE_URL": f"no address {PASSWORD}"}
    assert listener.call("deliveries", "--json", **wrong) == 2
    gone = {"DATABASE_URL": f"postgresql://nobody:{PASSWORD}@127.0.0.1:1/gone"}
    assert listener.call("deliveries", "--json", **gone) == 6

    assert len(gate.secrets) >= 4
    assert "delivery_finished" in listener.said
    assert "source_refused" in listener.said
    assert tables.count("billing_usage_fact") == 2
    for secret in (external_id, AMBIENT_SECRET, PASSWORD, *gate.secrets):
        assert secret not in listener.said
        assert places_of(tables, secret) == []
    assert [table for table, _ in tables_and_columns(tables)]


def places_of(tables: Landing, secret: str) -> list[str]:
    """The tables in whose rows a text stands, the column for external ids left out."""
    found = []
    for table, columns in tables_and_columns(tables):
        row = ", ".join(f'"{column}"' for column in columns)
        if tables.value(f"SELECT count(*) FROM {table} WHERE position(%s in ROW({row})::text) > 0", secret):
            found.append(table)
    return found


def tables_and_columns(tables: Landing) -> list[tuple[str, list[str]]]:
    return tables.query(
        "SELECT table_name::text, array_agg(column_name::text) FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND (table_name, column_name) <> ('billing_clients', 'external_id')"
        " GROUP BY 1 ORDER BY 1"
    )
