"""The registry of clients: whose folder is whose, in whose name a command acts, and how a client goes for good."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from billfold import clients
from billfold.aws import LocalAws, locate, open_bucket
from billfold.bills.backfill import backfill
from billfold.bills.ingest import ingest
from billfold.bills.rollback import roll_back
from billfold.errors import AccessDeniedError, BillfoldError, ConfigurationError, UsageError
from billfold.model import Client, DeliveryState
from billfold.settings import load_settings
from billfold.store.database import Database
from tests.bills.export_trees import BUCKET
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill

ACCOUNT = "123456789012"


def add(landing: Landing, client_id: str = "acme", **values: Any) -> Client:
    fields = {"client_id": client_id, "bucket": BUCKET, "account_id": ACCOUNT, **values}
    return clients.register(landing.database, landing.settings, fields)


@pytest.fixture
def aws(aws: LocalAws) -> LocalAws:
    aws.create_bucket(BUCKET)
    return aws


def test_a_client_is_kept_with_a_role_and_an_external_id_of_its_own(landing: Landing) -> None:
    first = add(landing, prefix="/exports", region="eu-central-1", max_deliveries=3)
    second = add(landing, "globex", bucket="globex-bills")

    assert clients.resolve_client(landing.database, landing.settings, "acme") == first
    assert first.prefix == "/exports/"
    assert first.role_arn == f"arn:aws:iam::{ACCOUNT}:role/billfold-acme"
    assert (first.region, first.max_deliveries, first.enabled) == ("eu-central-1", 3, True)
    assert first.external_id
    assert len(first.external_id) >= 32
    assert first.external_id != second.external_id
    assert first.external_id not in repr(first)


@pytest.mark.parametrize(("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")])
def test_a_role_is_in_the_partition_of_its_region(landing: Landing, region: str, partition: str) -> None:
    assert add(landing, region=region).role_arn == f"arn:{partition}:iam::{ACCOUNT}:role/billfold-acme"


@pytest.mark.parametrize(
    ("taken", "wanted"),
    [("exports/", "exports/"), ("exports/", "exports/acme"), ("exports/acme", "exports"), ("", "exports"), ("a", "")],
    ids=str,
)
def test_a_folder_belongs_to_one_client(landing: Landing, taken: str, wanted: str) -> None:
    add(landing, prefix=taken)

    with pytest.raises(UsageError, match="belongs to client acme already"):
        add(landing, "other", prefix=wanted)

    assert [client.client_id for client in clients.list_clients(landing.database)] == ["acme"]


def test_the_settings_client_has_its_folder_before_anything_came_in_for_it(landing: Landing) -> None:
    described = landing.with_settings(client="globex", bucket=BUCKET, prefix="exports/")

    for prefix in ("exports/acme", "exports", ""):
        with pytest.raises(UsageError, match="belongs to client globex already"):
            add(described, prefix=prefix)

    assert add(described, prefix="exports-acme").prefix == "exports-acme/"
    assert owner(described, "exports/x.csv") == "globex"


def test_what_is_registered_is_not_the_settings_clients(landing: Landing) -> None:
    add(landing, prefix="exports/acme")
    described = landing.with_settings(client="globex", bucket=BUCKET, prefix="exports/")

    assert owner(described, "exports/acme/x.csv") == "acme"
    assert owner(described, "exports/other/x.csv") == "globex"


def test_a_look_alike_folder_and_another_bucket_are_free(landing: Landing) -> None:
    add(landing, prefix="data")

    add(landing, "second", prefix="data-evil")
    add(landing, "third", bucket="other-bucket", prefix="data")

    assert owner(landing, "data/x.csv") == "acme"
    assert owner(landing, "data-evil/x.csv") == "second"
    assert owner(landing, "data-more/x.csv") is None
    assert owner(landing, "data") is None
    assert owner(landing, "data/x.csv", bucket="nobodys") is None


def owner(landing: Landing, key: str, *, bucket: str = BUCKET) -> str | None:
    found = clients.find_owner(landing.database, landing.settings, bucket, key)
    return found.client_id if found else None


def test_of_two_that_register_one_folder_together_one_gets_it(landing: Landing) -> None:
    def try_to_add(number: int) -> bool:
        try:
            add(landing, f"client-{number}", prefix="exports")
        except UsageError:
            return False
        return True

    with ThreadPoolExecutor(max_workers=6) as pool:
        assert sorted(pool.map(try_to_add, range(6))) == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("client_id", "a b", "letters, digits"),
        ("bucket", "s3://acme", "without s3://"),
        ("account_id", "1234", "12 digits"),
        ("prefix", "exports/../other", "without empty parts"),
        ("prefix", "exports//other", "without empty parts"),
        ("prefix", "exports/{{resolve:ssm:x}}", "CloudFormation would replace"),
        ("prefix", "${AWS::AccountId}", "CloudFormation would replace"),
        ("role_arn", "arn:aws:iam::1:user/me", "role"),
        ("region", "Frankfurt", "eu-central-1"),
        ("currency", "usd", "three capital letters"),
        ("kms_key_arn", "alias/billing", "arn:aws:kms"),
        ("max_deliveries", 0, "from 1 to 1000"),
        ("refresh_hours", 0, "hours"),
    ],
)
def test_what_no_client_can_have_is_refused(shared_landing: Landing, field: str, value: object, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        add(shared_landing, **{"client_id": "acme", field: value})

    assert clients.list_clients(shared_landing.database) == []


def test_an_id_is_given_once(landing: Landing) -> None:
    add(landing)

    with pytest.raises(UsageError, match="there is a client acme already"):
        add(landing, bucket="another-bucket")


def test_what_settings_described_is_taken_into_the_registry_with_its_bills(landing: Landing) -> None:
    write_bill(landing.root, [line_item(cost="7")])
    landing.ingest()
    assert not clients.find_known(landing.database, "acme").is_registered
    add(landing, "globex", prefix="globex")

    with pytest.raises(UsageError, match="belongs to client globex already"):
        add(landing, prefix="globex/more")
    adopted = add(landing, prefix="exports")

    assert adopted.is_registered
    assert clients.find_known(landing.database, "acme") == adopted
    assert landing.billed() == {"USD": Decimal(7)}


def test_what_may_change_of_a_client_changes_and_the_rest_stays(landing: Landing) -> None:
    key = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    before = add(
        landing, prefix="exports", kms_key_arn=key, max_file_bytes=5, role_arn=f"arn:aws:iam::{ACCOUNT}:role/x"
    )

    values = {"region": "eu-west-1", "kms_key_arn": "", "max_file_bytes": "", "role_arn": "", "refresh_hours": 48}
    changed = clients.change(landing.database, landing.settings, "acme", values)

    assert clients.find_known(landing.database, "acme") == changed
    assert changed == replace(
        before,
        region="eu-west-1",
        kms_key_arn=None,
        max_file_bytes=None,
        role_arn=f"arn:aws:iam::{ACCOUNT}:role/billfold-acme",
        refresh_hours=48,
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "nothing to change"),
        ({"currency": ""}, "--currency is ''"),
        ({"refresh_hours": 0}, "1 to 8760"),
        ({"region": "x y"}, "such as eu-central-1"),
    ],
)
def test_what_no_client_can_have_is_not_changed(landing: Landing, values: dict[str, object], expected: str) -> None:
    before = add(landing)

    with pytest.raises(UsageError, match=expected):
        clients.change(landing.database, landing.settings, "acme", values)

    assert clients.find_known(landing.database, "acme") == before


def test_a_name_alone_chooses_a_client_of_the_registry(landing: Landing) -> None:
    registered = add(landing)
    here = landing.with_settings(client="acme")

    assert clients.resolve_client(here.database, here.settings, None) == registered


def test_a_client_is_described_in_one_place(landing: Landing) -> None:
    add(landing)
    both = landing.with_settings(client="acme", bucket=BUCKET)

    with pytest.raises(ConfigurationError, match="the settings describe it too"):
        clients.resolve_client(both.database, both.settings, "acme")
    with pytest.raises(UsageError, match="is the one that the settings describe"):
        add(landing.with_settings(client="globex", bucket="b-globex"), "globex")


def test_an_unknown_client_is_refused_with_those_that_are_known(landing: Landing) -> None:
    add(landing)

    with pytest.raises(UsageError, match="registered clients: acme"):
        clients.resolve_client(landing.database, landing.settings, "acne")


def test_nothing_comes_in_for_a_disabled_client(landing: Landing) -> None:
    add(landing)

    clients.set_enabled(landing.database, "acme", enabled=False)

    with pytest.raises(UsageError, match="billfold client enable acme"):
        clients.resolve_client(landing.database, landing.settings, "acme")

    clients.set_enabled(landing.database, "acme", enabled=True)
    assert clients.resolve_client(landing.database, landing.settings, "acme").enabled


def test_settings_do_not_take_a_registered_clients_folder(landing: Landing) -> None:
    add(landing, prefix="exports")
    write_bill(landing.root, [line_item()])

    for stranger in (Client(client_id="acme"), Client(client_id="other", bucket=BUCKET, prefix="exports/acme/")):
        with pytest.raises(UsageError, match="client acme is registered"):
            replace(landing, client=stranger).ingest()


def test_a_registered_client_reads_its_own_folder_alone(landing: Landing, aws: LocalAws) -> None:
    here = replace(landing, settings=load_settings())
    client = add(here, prefix="exports", role_arn=aws.create_role("billfold-acme", "999988887777"))
    aws.put(BUCKET, "exports/a.csv", b"a\n1\n")
    aws.put(BUCKET, "exports-evil/a.csv", b"a\n1\n")
    bucket = open_bucket(client, here.settings)

    assert bucket.head("exports/a.csv").size_bytes == 4
    for key in ("exports-evil/a.csv", "a.csv", "exports/../exports-evil/a.csv"):
        with pytest.raises(AccessDeniedError, match="is not in the client's folder"):
            bucket.head(key)
    with pytest.raises(AccessDeniedError, match="is not in the client's folder"):
        list(bucket.list_objects(""))
    with pytest.raises(UsageError, match="does not belong to client acme"):
        locate("s3://another-bucket/exports/", client, here.settings)


def test_a_registered_clients_prefix_is_looked_through(landing: Landing, aws: LocalAws, tmp_path: Any) -> None:
    here = replace(landing, settings=load_settings().model_copy(update={"min_free_bytes": 0}))
    client = add(here, prefix="exports", role_arn=aws.create_role("billfold-acme", "999988887777"))
    write_bill(tmp_path / "tree", [line_item()])
    aws.upload_folder(BUCKET, tmp_path / "tree")
    known = clients.resolve_client(here.database, here.settings, "acme")

    report = backfill(client=known, settings=here.settings, database=here.database)
    outcomes = ingest("exports/", client=client, settings=here.settings, database=here.database)

    assert [outcome.exit_error for outcome in (*report.outcomes, *outcomes)] == [None, None]
    assert {outcome.state for outcome in (*report.outcomes, *outcomes)} == {DeliveryState.PUBLISHED}


def test_a_client_of_whom_anything_is_kept_goes_with_all_of_it_or_not_at_all(
    database: Database, landing: Landing
) -> None:
    other = Landing.make(database, landing.settings, landing.root.parent / "other", client_id="globex")
    write_bill(other.root, [line_item(cost="7")])
    other.ingest()
    for revision, cost in enumerate(("1", "2"), start=1):
        write_bill(landing.root, [line_item(cost=cost), line_item(cost="5")], revision=revision)
        delivery = landing.ingest()
    assert delivery.delivery_id
    roll_back(delivery.delivery_id, settings=landing.settings, database=database)
    landing.execute("INSERT INTO billing_message_failures VALUES ('m-1', 1, 'internal', now(), 'acme')")
    landing.execute(
        "INSERT INTO billing_jobs (client_id, bucket, key, work, trigger_source) VALUES ('acme', 'b', 'k', 'k', 'sqs')"
    )
    landing.execute("INSERT INTO billing_doctor_runs (client_id) VALUES ('acme')")

    with pytest.raises(UsageError, match=r"1 statements of 2 line items.*--purge"):
        clients.remove(database, "acme", purge=False)
    assert landing.count("billing_statements") == 2

    holdings = clients.remove(database, "acme", purge=True)

    assert (holdings.statement_count, holdings.row_count) == (1, 2)
    assert other.broken_rules() == []
    assert [client.client_id for client in clients.list_clients(database)] == ["globex"]
    assert traces(landing) == {}
    assert (other.count("raw_aws_billing_rows"), other.billed()) == (1, {"USD": Decimal(7)})


def test_the_owners_of_its_accounts_keep_a_client(landing: Landing) -> None:
    add(landing)
    landing.execute(
        "INSERT INTO billing_account_owners (client_id, account_id, owner) VALUES ('acme', %s, 'finance')", ACCOUNT
    )

    with pytest.raises(UsageError, match=r"1 owners of accounts.*--purge"):
        clients.remove(landing.database, "acme", purge=False)
    assert landing.count("billing_account_owners") == 1

    assert clients.remove(landing.database, "acme", purge=True).owner_count == 1


@pytest.mark.parametrize(
    ("status", "keeps"), [("pending", False), ("skipped", False), ("failed", True), ("success", True)]
)
def test_files_that_no_delivery_took_up_do_not_keep_a_client(landing: Landing, status: str, keeps: bool) -> None:
    add(landing)
    landing.execute(
        "INSERT INTO billing_ingestion_runs (client_id, source_bucket, source_s3_key, source_etag, trigger_source,"
        " status, finished_at, error_code) SELECT 'acme', 'b', 'k', 'e', 'sqs', status,"
        " CASE WHEN status <> 'pending' THEN now() END, 'input' FROM (SELECT %s::text AS status) AS told",
        status,
    )

    if keeps:
        with pytest.raises(UsageError, match=r"1 deliveries and runs.*--purge"):
            clients.remove(landing.database, "acme", purge=False)
    else:
        assert clients.remove(landing.database, "acme", purge=False).trace_count == 0
        assert traces(landing) == {}


def traces(landing: Landing) -> dict[str, int]:
    """How many rows of client acme, or of a statement that is no more, each table has."""
    found = {}
    columns = landing.query(
        "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables"
        " USING (table_schema, table_name)"
        " WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name IN ('client_id', 'statement_id')"
    )
    for table, column in columns:
        is_trace = (
            "client_id = 'acme'"
            if column == "client_id"
            else "statement_id NOT IN (SELECT statement_id FROM billing_statements)"
        )
        if count := landing.value(f"SELECT count(*) FROM {table} WHERE {is_trace}"):
            found[f"{table}.{column}"] = count
    return found


@pytest.mark.parametrize("change", [clients.remove, clients.set_enabled])
def test_nobody_can_be_changed_who_is_not_there(landing: Landing, change: Any) -> None:
    option = {"purge": True} if change is clients.remove else {"enabled": True}

    with pytest.raises(BillfoldError, match="there is no client ghost"):
        change(landing.database, "ghost", **option)
