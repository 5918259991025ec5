"""`billfold onboard` as an operator calls it, and the external ids that it gives out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from billfold import clients
from billfold.clients.onboarding import ExportContents, Onboarding, make_template, trust_policy
from billfold.errors import UsageError
from billfold.model import Client, ExportTable, TimeGranularity
from billfold.settings import Settings
from billfold.store.database import Database
from tests.processes.operator import Operator

OURS = "999988887777"
THEIRS = "111122223333"
BUS_ARN = f"arn:aws:events:eu-central-1:{OURS}:event-bus/billfold"


@pytest.fixture
def operator(database: Database, tmp_path: Path) -> Operator:
    operator = Operator(home=tmp_path / "home", folder=tmp_path, variables={"BILLFOLD_OUR_ACCOUNT_ID": OURS})
    return operator.with_database(database)


@pytest.fixture
def acme(database: Database, settings: Settings) -> Client:
    return clients.register(
        database,
        settings,
        {
            "client_id": "acme",
            "bucket": "acme-billing",
            "prefix": "exports/",
            "account_id": THEIRS,
            "region": "eu-central-1",
        },
    )


def test_standard_output_is_the_template_and_nothing_else(operator: Operator, acme: Client) -> None:
    ended = operator.run("onboard", "--client", "acme")

    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == make_template(acme, Onboarding(our_account_id=OURS))
    assert "aws cloudformation deploy --region eu-central-1 --stack-name billfold-acme" in ended.err
    assert str(acme.external_id) in ended.out
    assert str(acme.external_id) not in ended.err


def test_a_file_is_for_its_owners_eyes_only(operator: Operator, acme: Client) -> None:
    file = operator.folder / "acme.json"
    file.touch(mode=0o644)

    ended = operator.call("onboard", "--client", "acme", "--event-bus-arn", BUS_ARN, "--output", "acme.json")

    assert (ended.code, ended.out) == (0, "")
    assert "EventsRule" in json.loads(file.read_text())["Resources"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert "--template-file acme.json" in ended.err
    assert "put-bucket-notification-configuration" in ended.err


def test_a_trail_of_who_reads_is_added_where_asked_for(operator: Operator, acme: Client) -> None:
    ended = operator.call("onboard", "--client", "acme", "--trail")

    assert json.loads(ended.out) == make_template(acme, Onboarding(our_account_id=OURS, is_recorded=True))
    assert "AccessTrail" in ended.out


def test_each_switch_leaves_its_content_out_of_the_export(
    operator: Operator, database: Database, settings: Settings
) -> None:
    client = clients.register(
        database,
        settings,
        {
            "client_id": "globex",
            "bucket": "globex-billing",
            "prefix": "exports/",
            "account_id": THEIRS,
            "region": "us-east-1",
        },
    )
    contents = ExportContents(
        time_granularity=TimeGranularity.DAILY,
        resources=False,
        split_cost_allocation_data=False,
        capacity_reservation_data=False,
        iam_principal_data=False,
        tags=False,
    )

    ended = operator.call(
        *("onboard", "--client", "globex", "--create-export", "cur2", "--time-granularity", "daily"),
        *(f"--no-{name}" for name in contents.left_out),
    )
    whole = operator.call("onboard", "--client", "globex", "--create-export", "cur2")

    plan = Onboarding(our_account_id=OURS, export=ExportTable.CUR2)
    assert len(contents.left_out) == 5
    assert json.loads(ended.out) == make_template(client, replace(plan, contents=contents))
    assert json.loads(whole.out) == make_template(client, plan)
    assert "opt in to split cost allocation data" in whole.err
    assert "opt in to split cost allocation data" not in ended.err


def test_plain_iam_is_printed_for_who_makes_roles_otherwise(operator: Operator, acme: Client) -> None:
    ended = operator.call("onboard", "--client", "acme", "--iam-json", "--our-account", "222233334444")

    document = json.loads(ended.out)
    assert list(document) == ["trust_policy", "permission_policy"]
    assert document["trust_policy"] == trust_policy(acme, "222233334444")


@pytest.mark.parametrize(
    ("words", "variables", "told"),
    [
        (("--client", "acme"), {"BILLFOLD_OUR_ACCOUNT_ID": ""}, "--our-account"),
        (("--client", "acme", "--our-account", "9999"), {}, "expected 12 digits"),
        (("--client", "nobody"), {}, "registered clients: acme"),
        (("--client", "acme", "--notify", "sqs"), {}, "--notify sqs needs --queue-arn"),
        (("--client", "acme", "--notify", "none", "--event-bus-arn", BUS_ARN), {}, "--notify none needs no"),
        (("--client", "acme", "--queue-arn", "q", "--event-bus-arn", BUS_ARN), {}, "are both given"),
        (("--client", "acme", "--create-export", "focus"), {}, "us-east-1"),
        (("--client", "acme", "--no-tags"), {}, "no export is created"),
        (("--client", "acme", "--output", "no/such/folder.json"), {}, "cannot be written"),
    ],
)
def test_what_cannot_be_is_one_line(
    operator: Operator, acme: Client, words: tuple[str, ...], variables: dict[str, str], told: str
) -> None:
    ended = operator.call("onboard", *words, **variables)

    [line] = ended.err.splitlines()
    assert ended.code == 2
    assert ended.out == ""
    assert line.startswith("error: ")
    assert told in line


def test_the_client_that_settings_describe_is_prepared_too(operator: Operator) -> None:
    ended = operator.call(
        "onboard",
        AWS_REGION="eu-central-1",
        AWS_BILLING_BUCKET="bills",
        BILLFOLD_ACCOUNT_ID=THEIRS,
        BILLFOLD_EXTERNAL_ID="agreed-upon",
    )

    role = json.loads(ended.out)["Resources"]["BillfoldRole"]["Properties"]
    assert role["RoleName"] == "billfold-default"
    assert "agreed-upon" in json.dumps(role["AssumeRolePolicyDocument"])


def test_a_new_external_id_is_kept_and_given_out_at_once(operator: Operator, database: Database, acme: Client) -> None:
    ended = operator.call("onboard", "--client", "acme", "--new-external-id", "--iam-json")

    renewed = clients.find_known(database, "acme")
    assert renewed.external_id != acme.external_id
    assert json.loads(ended.out)["trust_policy"] == trust_policy(renewed, OURS)
    assert str(renewed.external_id) not in ended.err


def test_a_mistaken_option_changes_no_external_id(operator: Operator, database: Database, acme: Client) -> None:
    ended = operator.call("onboard", "--client", "acme", "--new-external-id", "--queue-arn", "nonsense")

    assert ended.code == 2
    assert clients.find_known(database, "acme").external_id == acme.external_id


def test_a_disabled_client_is_prepared_before_its_bills_come_in(
    database: Database, settings: Settings, acme: Client
) -> None:
    clients.set_enabled(database, "acme", enabled=False)

    found = clients.find_for_onboarding(database, settings, "acme")

    assert (found.enabled, found.external_id) == (False, acme.external_id)


def test_the_settings_own_client_has_its_external_id_from_there(database: Database, settings: Settings) -> None:
    with pytest.raises(UsageError):
        clients.renew_external_id(database, "default")
