"""Fill the local AWS of `make try-out`: a client with bucket, role and bills, and a queue with their events.

It runs before server, worker and schedule; the worker then ingests the bills. Prints the token to sign in with.
Running it again starts with an empty AWS, keeps the database, and creates another token.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from billfold import clients
from billfold.aws import LocalAws
from billfold.clients import tokens
from billfold.errors import BillfoldError, UsageError
from billfold.log import configure_logging
from billfold.model import Client, Scope
from billfold.period import parse_period
from billfold.settings import Settings, load_settings, require
from billfold.store.database import Database, open_database
from billfold.store.migrate import prepare
from billfold.transform.sample_bill import SampleBill, write_sample_bill

CLIENT_ID = "acme"
BUCKET = "acme-billing-exports"
# moto's account: it owns every role and bucket.
ACCOUNT_ID = "123456789012"
REGION = "us-east-1"
PERIODS = ("2026-04", "2026-05")
LINE_ITEMS = 10_000
TOKEN_NAME = "try-out"


def main() -> None:
    """Prepare everything, or end with one line that says what is wrong."""
    try:
        settings = load_settings()
        configure_logging(settings)
        require(settings, "AWS_ENDPOINT_URL", "BILLFOLD_OUR_ACCOUNT_ID", "BILLFOLD_QUEUE_URL", purpose="the try-out")
        database = open_database(settings)
        prepare(database)
        fill(settings, database)
        print(f"Sign in at http://127.0.0.1:8080/ with {make_token(database)}")
    except BillfoldError as error:
        sys.exit(f"error: {error}")


def fill(settings: Settings, database: Database) -> None:
    """Create everything in AWS, the events of the bills last."""
    assert settings.endpoint_url
    assert settings.our_account_id
    assert settings.queue_url
    aws = LocalAws(REGION, endpoint_url=settings.endpoint_url)
    aws.reset()
    client = find_client(settings, database)
    aws.create_role(clients.role_name(CLIENT_ID), settings.our_account_id, client.external_id)
    aws.create_bucket(BUCKET)
    notify_queue(aws, settings.queue_url.rpartition("/")[2])
    with tempfile.TemporaryDirectory() as folder:
        for period in map(parse_period, PERIODS):
            assert period
            bill = SampleBill(
                payer_account_id=ACCOUNT_ID,
                period=period,
                line_item_count=LINE_ITEMS,
                export_name="cost-and-usage",
                bucket=BUCKET,
                seed=period.starts_on.month,
            )
            write_sample_bill(bill, Path(folder))
        keys = aws.upload_folder(BUCKET, Path(folder))
    print(f"{CLIENT_ID}: {len(keys)} objects in s3://{BUCKET}/, {LINE_ITEMS:,} line items a month")


def find_client(settings: Settings, database: Database) -> Client:
    """The client as an earlier run registered it, or a new one."""
    known = {client.client_id: client for client in clients.list_clients(database)}
    return known.get(CLIENT_ID) or clients.register(
        database,
        settings,
        {
            "client_id": CLIENT_ID,
            "bucket": BUCKET,
            "prefix": "exports/",
            "account_id": ACCOUNT_ID,
            "region": REGION,
        },
    )


def notify_queue(aws: LocalAws, name: str) -> None:
    """Create the queue with its dead-letter queue, and let the bucket announce every new object on it."""
    sqs = aws.client("sqs")

    def make_queue(called: str, **attributes: str) -> str:
        url = sqs.create_queue(QueueName=called, Attributes=attributes)["QueueUrl"]
        return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])

    redrive = {"deadLetterTargetArn": make_queue(f"{name}-dead"), "maxReceiveCount": 1000}
    arn = make_queue(name, RedrivePolicy=json.dumps(redrive))
    aws.client("s3").put_bucket_notification_configuration(
        Bucket=BUCKET,
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )


def make_token(database: Database) -> str:
    """A new token that may do everything; that of an earlier run is revoked, as its secret cannot be shown again."""
    try:
        tokens.revoke(database, TOKEN_NAME)
    except UsageError:
        pass  # This is the first run.
    return tokens.make(database, TOKEN_NAME, [Scope.ADMIN]).secret


if __name__ == "__main__":
    main()
