"""What a client is asked to deploy: who may do what, and nothing more than that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest

from billfold.clients.onboarding import (
    Destination,
    ExportContents,
    Onboarding,
    iam_documents,
    make_template,
    next_steps,
    permission_policy,
    trust_policy,
)
from billfold.errors import BillfoldError, ConfigurationError, UsageError
from billfold.model import Client, ExportTable, Notify
from tests.unit.clients.onboarding_helpers import (
    ACME,
    BUCKET,
    BUS,
    IN_US,
    KEY_ARN,
    OURS,
    PLAN,
    QUEUE,
    THEIRS,
    statements,
)


def values(of: Any) -> list[Any]:
    return of if isinstance(of, list) else [of]


def policies(document: Any) -> Iterator[dict[str, Any]]:
    """Every policy in a template, wherever it stands."""
    if isinstance(document, dict):
        if "Statement" in document:
            yield document
        document = list(document.values())
    if isinstance(document, list):
        for part in document:
            yield from policies(part)


def text_of(document: Any) -> str:
    return json.dumps(document)


def test_the_role_is_the_one_that_we_assume_and_its_sessions_last_an_hour() -> None:
    made = make_template(ACME, PLAN)

    role = made["Resources"]["BillfoldRole"]["Properties"]
    assert list(made["Resources"]) == ["BillfoldRole"]
    assert (role["Path"], role["RoleName"]) == ("/", "billfold-acme")
    assert role["MaxSessionDuration"] == 3600
    assert role["AssumeRolePolicyDocument"] == trust_policy(ACME, OURS)
    assert [policy["PolicyDocument"] for policy in role["Policies"]] == [permission_policy(ACME)]


def test_a_role_of_another_name_is_made_under_that_name() -> None:
    made = make_template(replace(ACME, role_arn=f"arn:aws:iam::{THEIRS}:role/team/finance/read-bills"), PLAN)

    role = made["Resources"]["BillfoldRole"]["Properties"]
    assert (role["Path"], role["RoleName"]) == ("/team/finance/", "read-bills")


def test_the_trust_is_in_our_account_with_the_external_id() -> None:
    assert trust_policy(ACME, OURS) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "BillfoldAssumesTheRole",
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{OURS}:root"},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": "between-acme-and-us"}},
            }
        ],
    }


def test_a_source_identity_is_asked_for_and_may_be_set() -> None:
    trust = statements(trust_policy(replace(ACME, source_identity="billfold-finops"), OURS))

    assert trust["BillfoldAssumesTheRole"]["Condition"]["StringEquals"] == {
        "sts:ExternalId": "between-acme-and-us",
        "sts:SourceIdentity": "billfold-finops",
    }
    assert trust["BillfoldNamesItself"]["Action"] == "sts:SetSourceIdentity"
    assert trust["BillfoldNamesItself"]["Condition"] == {"StringEquals": {"sts:SourceIdentity": "billfold-finops"}}


def test_the_role_may_read_the_folder_and_nothing_else() -> None:
    assert permission_policy(ACME) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "ReadTheFolder",
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:GetObjectVersion"],
                "Resource": "arn:aws:s3:::acme-billing/exports/data/*",
            },
            {
                "Sid": "ListTheFolder",
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": "arn:aws:s3:::acme-billing",
                "Condition": {"StringLike": {"s3:prefix": "exports/data/*"}},
            },
            {
                "Sid": "FindTheBucket",
                "Effect": "Allow",
                "Action": "s3:GetBucketLocation",
                "Resource": "arn:aws:s3:::acme-billing",
            },
        ],
    }


def test_only_the_named_key_decrypts() -> None:
    allowed = statements(permission_policy(replace(ACME, kms_key_arn=KEY_ARN)))

    assert allowed["DecryptTheBills"] == {
        "Sid": "DecryptTheBills",
        "Effect": "Allow",
        "Action": "kms:Decrypt",
        "Resource": KEY_ARN,
    }
    assert "kms" not in text_of(permission_policy(ACME))


def test_a_client_with_a_whole_bucket_may_list_all_of_it() -> None:
    allowed = statements(permission_policy(replace(ACME, prefix="")))

    assert allowed["ReadTheFolder"]["Resource"] == "arn:aws:s3:::acme-billing/*"
    assert "Condition" not in allowed["ListTheFolder"]


@pytest.mark.parametrize(
    ("key", "is_readable"),
    [
        ("exports/data/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json", True),
        ("exports/data/", True),
        ("exports/data-evil/bill.csv.gz", False),
        ("exports/database/bill.csv.gz", False),
        ("exports/data", False),
        ("exports/other/bill.csv.gz", False),
        ("other/exports/data/bill.csv.gz", False),
        ("Exports/data/bill.csv.gz", False),
        ("", False),
    ],
)
def test_folders_that_look_alike_are_not_the_clients(key: str, is_readable: bool) -> None:
    allowed = statements(permission_policy(ACME))

    assert fnmatchcase(f"arn:aws:s3:::{BUCKET}/{key}", allowed["ReadTheFolder"]["Resource"]) is is_readable
    assert fnmatchcase(key, allowed["ListTheFolder"]["Condition"]["StringLike"]["s3:prefix"]) is is_readable
    assert not fnmatchcase(f"arn:aws:s3:::{BUCKET}-evil/{key}", allowed["ReadTheFolder"]["Resource"])


def test_a_wildcard_in_a_folders_name_means_itself() -> None:
    allowed = statements(permission_policy(replace(ACME, prefix="a*b?/$c/")))

    assert allowed["ReadTheFolder"]["Resource"] == "arn:aws:s3:::acme-billing/a${*}b${?}/${$}c/*"
    assert allowed["ListTheFolder"]["Condition"]["StringLike"]["s3:prefix"] == "a${*}b${?}/${$}c/*"


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eu-central-1", "aws")]
)
def test_every_arn_is_of_the_clients_partition(region: str, partition: str) -> None:
    bus = Destination(notify=Notify.EVENTBRIDGE, arn=f"arn:{partition}:events:{region}:{OURS}:event-bus/billfold")
    client = replace(ACME, region=region, role_arn=f"arn:{partition}:iam::{THEIRS}:role/billfold-acme")

    made = text_of(make_template(client, replace(PLAN, destination=bus, is_recorded=True)))

    assert set(re.findall(r"arn:([a-z-]+):", made)) == {partition}


PLANS = [
    (ACME, PLAN),
    (ACME, replace(PLAN, destination=QUEUE)),
    (replace(ACME, kms_key_arn=KEY_ARN, source_identity="billfold"), replace(PLAN, destination=BUS)),
    (IN_US, replace(PLAN, destination=BUS, export=ExportTable.FOCUS)),
    (IN_US, replace(PLAN, export=ExportTable.CUR2)),
    (ACME, replace(PLAN, is_recorded=True)),
]


@pytest.mark.parametrize(("client", "plan"), PLANS)
def test_nothing_is_allowed_by_a_wildcard_that_could_be_named(client: Client, plan: Onboarding) -> None:
    for policy in policies(make_template(client, plan)):
        for statement in policy["Statement"]:
            if statement["Effect"] == "Deny":
                continue
            assert not [action for action in values(statement["Action"]) if "*" in action]
            assert "*" not in values(statement.get("Resource", ""))
            assert statement.get("Principal") != "*"
            if "Principal" in statement:
                assert statement["Condition"], "a stranger has to show something"


@pytest.mark.parametrize(("client", "plan"), PLANS)
def test_the_external_id_stands_in_the_roles_trust_alone(client: Client, plan: Onboarding) -> None:
    made = make_template(client, plan)

    assert text_of(made).count("between-acme-and-us") == 1
    assert "between-acme-and-us" not in "\n".join(next_steps(client, plan, "acme.json"))


def test_plain_iam_is_the_same_two_policies() -> None:
    assert iam_documents(ACME, PLAN) == {
        "trust_policy": trust_policy(ACME, OURS),
        "permission_policy": permission_policy(ACME),
    }


@pytest.mark.parametrize(
    ("client", "plan", "kind", "words"),
    [
        (replace(ACME, account_id=None), PLAN, ConfigurationError, "BILLFOLD_ACCOUNT_ID"),
        (replace(ACME, bucket=None, external_id=None), PLAN, ConfigurationError, "BILLFOLD_EXTERNAL_ID"),
        (replace(ACME, region=None), PLAN, ConfigurationError, "AWS_REGION"),
        (replace(ACME, account_id="444455556666"), PLAN, UsageError, "444455556666"),
        (ACME, replace(PLAN, destination=replace(QUEUE, arn="https://sqs/…")), UsageError, "arn:aws:sqs:"),
        (ACME, replace(PLAN, destination=replace(QUEUE, arn=f"{QUEUE.arn}.fifo")), UsageError, "FIFO"),
        (replace(ACME, region="eu-west-1"), replace(PLAN, destination=QUEUE), UsageError, "its own region"),
        (ACME, replace(PLAN, our_account_id=THEIRS, destination=QUEUE), UsageError, "not in ours"),
        (ACME, replace(PLAN, destination=replace(BUS, arn=QUEUE.arn)), UsageError, "event-bus"),
        (
            ACME,
            replace(PLAN, destination=replace(BUS, arn=BUS.arn.replace("aws:", "aws-cn:", 1))),
            UsageError,
            "partition aws-cn",
        ),
        (ACME, replace(PLAN, export=ExportTable.CUR2), UsageError, "us-east-1"),
        (ACME, replace(PLAN, contents=ExportContents(tags=False)), UsageError, "no export is created"),
        (
            IN_US,
            replace(PLAN, export=ExportTable.FOCUS, contents=ExportContents(iam_principal_data=False)),
            UsageError,
            "--no-iam-principal-data is for CUR 2.0",
        ),
        (
            IN_US,
            replace(PLAN, export=ExportTable.CUR2, contents=ExportContents(resources=False)),
            UsageError,
            "needs resources",
        ),
        (replace(IN_US, prefix=""), replace(PLAN, export=ExportTable.CUR2), UsageError, "--prefix"),
        (replace(IN_US, kms_key_arn=KEY_ARN), replace(PLAN, export=ExportTable.CUR2), UsageError, "--kms-key-arn"),
    ],
)
def test_what_aws_would_refuse_or_a_stranger_would_hear_is_refused(
    client: Client, plan: Onboarding, kind: type[BillfoldError], words: str
) -> None:
    with pytest.raises(kind, match=re.escape(words)):
        make_template(client, plan)


@pytest.mark.parametrize(
    "prefix",
    [
        "{{resolve:ssm:/our/secret}}/",
        "exports/{{resolve:secretsmanager:db:SecretString:password}}/",
        "{{Resolve:ssm-secure:x}}/",
        "exports/{{/",
        "${AWS::AccountId}/",
        "a/${BillfoldRole.Arn}/",
    ],
)
def test_no_template_holds_what_cloudformation_would_replace(prefix: str) -> None:
    """The registry of an earlier version may hold such a folder."""
    client = replace(ACME, prefix=prefix)

    for write in (make_template, iam_documents):
        with pytest.raises(UsageError, match="CloudFormation would replace"):
            write(client, PLAN)


def test_a_literal_folder_with_single_braces_and_dollars_is_fine() -> None:
    document = make_template(replace(ACME, prefix="{a}/$b/"), PLAN)

    assert "{{" not in text_of(document)
