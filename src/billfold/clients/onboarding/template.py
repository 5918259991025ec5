"""What a client deploys in its own account: a role that reads its bills, and how new bills are reported."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from billfold.aws.session_policy import spell_literally
from billfold.clients.onboarding import events as bucket_events
from billfold.clients.onboarding import export as data_export
from billfold.clients.onboarding import trail as access_trail
from billfold.clients.onboarding.events import Destination
from billfold.clients.onboarding.export import EVERYTHING, ExportContents
from billfold.errors import ConfigurationError, UsageError
from billfold.model import Client, ExportTable, Notify
from billfold.settings import has_template_syntax

_POLICY_VERSION = "2012-10-17"
_ROLE_ARN = re.compile(r"arn:(aws[a-z-]*):iam::(\d{12}):role(/(?:.*/)?)([^/]+)", re.ASCII)
# A role that is assumed by a role has sessions of at most an hour, even if it allows more (AWS: "role chaining").
_SESSION_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarding:
    """What the template contains: trust in our account, events for `destination`, and a new export if wanted.

    `contents` are those of the export. With `is_recorded` the client also gets a trail, which records every object that
    is read.
    """

    our_account_id: str
    destination: Destination | None = None
    export: ExportTable | None = None
    contents: ExportContents = EVERYTHING
    is_recorded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Role:
    partition: str
    account_id: str
    path: str
    name: str


def make_template(client: Client, plan: Onboarding) -> dict[str, Any]:
    """The client's CloudFormation template, with its external id. It has no parameters.

    It is deployed in the bucket's account and region. Raises ConfigurationError for an incomplete client, and
    UsageError for what AWS would reject or what would reveal the client's objects to another account.
    """
    _check(client, plan)
    role = _role_of(client)
    resources: dict[str, Any] = {
        "BillfoldRole": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "RoleName": role.name,
                "Path": role.path,
                "Description": "Lets Billfold read the billing exports, and nothing else",
                "MaxSessionDuration": _SESSION_SECONDS,
                "AssumeRolePolicyDocument": trust_policy(client, plan.our_account_id),
                "Policies": [{"PolicyName": "billfold-read", "PolicyDocument": permission_policy(client)}],
            },
        }
    }
    if plan.export:
        notification = bucket_events.of_new_bucket(client, plan.destination)
        resources |= data_export.resources(client, plan.export, plan.contents, notification)
    if plan.destination and plan.destination.notify is Notify.EVENTBRIDGE:
        resources |= bucket_events.rule(client, plan.destination.arn)
    if plan.is_recorded:
        resources |= access_trail.resources(client)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Lets Billfold read the billing exports of {client.client_id}",
        "Resources": resources,
        "Outputs": {"RoleArn": {"Value": {"Fn::GetAtt": ["BillfoldRole", "Arn"]}}},
    }


def iam_documents(client: Client, plan: Onboarding) -> dict[str, Any]:
    """The role's two policies, for a client that creates its roles in another way; raises as `make_template` does."""
    _check(client, plan)
    return {
        "trust_policy": trust_policy(client, plan.our_account_id),
        "permission_policy": permission_policy(client),
    }


def trust_policy(client: Client, our_account_id: str) -> dict[str, Any]:
    """Who may assume the role: our account, with the external id and, if one is set, the source identity."""
    principal = {"AWS": f"arn:{_role_of(client).partition}:iam::{our_account_id}:root"}
    identity = {"sts:SourceIdentity": client.source_identity} if client.source_identity else {}
    assume = {
        "Sid": "BillfoldAssumesTheRole",
        "Effect": "Allow",
        "Principal": principal,
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": client.external_id, **identity}},
    }
    if not identity:
        return {"Version": _POLICY_VERSION, "Statement": [assume]}
    # A separate statement: AWS evaluates setting the identity separately, without an external id.
    name = {
        "Sid": "BillfoldNamesItself",
        "Effect": "Allow",
        "Principal": principal,
        "Action": "sts:SetSourceIdentity",
        "Condition": {"StringEquals": identity},
    }
    return {"Version": _POLICY_VERSION, "Statement": [assume, name]}


def permission_policy(client: Client) -> dict[str, Any]:
    """What the role may do: read the client's folder of its bucket, and decrypt with the bucket's key if it has one."""
    bucket = f"arn:{_role_of(client).partition}:s3:::{client.bucket}"
    folder = f"{spell_literally(client.prefix)}*"
    read = {
        "Sid": "ReadTheFolder",
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:GetObjectVersion"],
        "Resource": f"{bucket}/{folder}",
    }
    listing: dict[str, Any] = {
        "Sid": "ListTheFolder",
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": bucket,
    }
    if client.prefix:
        listing["Condition"] = {"StringLike": {"s3:prefix": folder}}
    find = {"Sid": "FindTheBucket", "Effect": "Allow", "Action": "s3:GetBucketLocation", "Resource": bucket}
    decrypt = {"Sid": "DecryptTheBills", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": client.kms_key_arn}
    statements = [read, listing, find, *([decrypt] if client.kms_key_arn else [])]
    return {"Version": _POLICY_VERSION, "Statement": statements}


def next_steps(client: Client, plan: Onboarding, file: str) -> Sequence[str]:
    """The steps to deploy the template in `file`, and who takes them: comments and commands, in order."""
    stack = re.sub(r"[^A-Za-z0-9-]", "-", f"billfold-{client.client_id}")
    steps: list[str] = []
    if plan.destination:
        allowed = f"{client.account_id} to ClientAccountIds"
        if plan.destination.notify is Notify.SQS:
            allowed += f" and arn:{_role_of(client).partition}:s3:::{client.bucket} to ClientBucketArns"
        steps.append(f"# First, by us: add {allowed} of deploy/cloudformation/messaging.yaml.")
    role = _role_of(client)
    if not f"{role.path}{role.name}".startswith("/billfold-"):
        steps.append(
            f"# First, by us: add {client.role_arn} to ActForClients, twice, in deploy/cloudformation/worker.yaml: our"
            " own roles may assume only role/billfold-…, without a path."
        )
    steps += [
        *(data_export.preparations(plan.export, plan.contents) if plan.export else ()),
        f"# In account {client.account_id}, by its administrator:",
        f"aws cloudformation deploy --region {client.region} --stack-name {stack}"
        f" --template-file {shlex.quote(file)} --capabilities CAPABILITY_NAMED_IAM",
    ]
    if client.kms_key_arn:
        steps.append(f"# The policy of {client.kms_key_arn} must let the role decrypt, or leave it to IAM.")
    if plan.destination and not plan.export:
        bucket = f"--bucket {client.bucket} --expected-bucket-owner {client.account_id} --region {client.region}"
        notification = json.dumps(bucket_events.of_existing_bucket(client, plan.destination))
        steps += [
            "# CloudFormation changes only buckets that it created. The second command replaces everything that the"
            " first one prints: add that to it.",
            f"aws s3api get-bucket-notification-configuration {bucket}",
            f"aws s3api put-bucket-notification-configuration {bucket}"
            f" --notification-configuration {shlex.quote(notification)}",
        ]
    return [*steps, "# Then, by us:", f"billfold doctor --client {client.client_id}"]


def _role_of(client: Client) -> _Role:
    found = _ROLE_ARN.fullmatch(client.role_arn or "")
    assert found, "settings and registry accept only ARNs of roles"
    return _Role(partition=found[1], account_id=found[2], path=found[3], name=found[4])


def _check(client: Client, plan: Onboarding) -> None:
    needed = {
        "account": (client.account_id, "BILLFOLD_ACCOUNT_ID"),
        "bucket": (client.bucket, "AWS_BILLING_BUCKET"),
        "external id": (client.external_id, "BILLFOLD_EXTERNAL_ID"),
        "region": (client.region, "AWS_REGION"),
    }
    missing = [f"client {client.client_id} has no {name}: set {v}" for name, (value, v) in needed.items() if not value]
    if missing:
        raise ConfigurationError("\n".join(missing))
    # Settings and registry reject such texts; a client that an earlier version registered may still have one.
    for field in fields(client):
        value = getattr(client, field.name)
        if isinstance(value, str) and has_template_syntax(value):
            name = field.name.replace("_", " ")
            raise UsageError(
                f"the {name} of client {client.client_id} is {value[:200]!r}: CloudFormation would replace what begins"
                " with {{ or ${",
                advice="register the client with a folder that has neither",
            )
    role = _role_of(client)
    if role.account_id != client.account_id:
        raise UsageError(f"{client.role_arn} is in account {role.account_id}, the bucket in {client.account_id}")
    data_export.check_contents(plan.export, plan.contents)
    if plan.destination:
        bucket_events.check(client, plan.destination, plan.our_account_id)
