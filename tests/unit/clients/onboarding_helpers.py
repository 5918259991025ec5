"""What the tests of onboarding share: a client and its plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from billfold.clients.onboarding import (
    Destination,
    Onboarding,
)
from billfold.model import Client, Notify

OURS = "999988887777"
THEIRS = "111122223333"
BUCKET = "acme-billing"
KEY_ARN = f"arn:aws:kms:eu-central-1:{THEIRS}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
QUEUE = Destination(notify=Notify.SQS, arn=f"arn:aws:sqs:eu-central-1:{OURS}:billfold")
BUS = Destination(notify=Notify.EVENTBRIDGE, arn=f"arn:aws:events:us-west-2:{OURS}:event-bus/billfold")
PLAN = Onboarding(our_account_id=OURS)
ACME = Client(
    client_id="acme",
    role_arn=f"arn:aws:iam::{THEIRS}:role/billfold-acme",
    external_id="between-acme-and-us",
    region="eu-central-1",
    bucket=BUCKET,
    prefix="exports/data/",
    account_id=THEIRS,
    is_registered=True,
)
IN_US = replace(ACME, region="us-east-1")


def statements(policy: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {statement["Sid"]: statement for statement in policy["Statement"]}
