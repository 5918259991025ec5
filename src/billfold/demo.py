"""The demo: generated bills of two clients in a local AWS, ingested into an embedded PostgreSQL of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from billfold.app import Billfold
from billfold.aws import LocalAws
from billfold.model import Client, DeliveryOutcome
from billfold.period import BillingPeriod, parse_period
from billfold.settings import Settings
from billfold.store.home import claim_home
from billfold.transform.sample_bill import SampleBill, write_sample_bill

REGION = "us-east-1"
OUR_ACCOUNT_ID = "999988887777"
PERIODS = ("2026-04", "2026-05")
EXPORT_NAME = "cost-and-usage"

OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoClient:
    """A client of the demo: its payer account, and the external id that its role requires."""

    client_id: str
    account_id: str
    external_id: str
    seed: int

    @property
    def bucket(self) -> str:
        return f"{self.client_id}-billing-exports"

    def with_role(self, role_arn: str) -> Client:
        """The client with this role, as `ingest` takes it."""
        return Client(
            client_id=self.client_id,
            role_arn=role_arn,
            external_id=self.external_id,
            region=REGION,
            bucket=self.bucket,
            prefix="exports/",
            account_id=self.account_id,
        )


CLIENTS = (
    DemoClient(client_id="acme", account_id="111122223333", external_id="acme-4d7c1f", seed=1),
    DemoClient(client_id="globex", account_id="444455556666", external_id="globex-90be2a", seed=2),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo ingested, how long that took, and the object to query it with while the demo is open."""

    outcomes: tuple[DeliveryOutcome, ...]
    ingest_seconds: float
    billfold: Billfold


@contextmanager
def open_demo(settings: Settings, *, line_items: int, on_step: OnStep) -> Iterator[DemoResult]:
    """Run the demo; its AWS and its PostgreSQL live as long as the context.

    The demo has a home of its own below BILLFOLD_HOME and never uses DATABASE_URL. `line_items` is the size of each of
    the four bills; `on_step` is called with the name of each step.
    """
    home = settings.home / "demo"
    claim_home(settings.home)
    on_step("starting a local AWS (S3 and STS)")
    with LocalAws(REGION) as aws, _environment(aws.environment()):
        own = settings.model_copy(
            update={
                "home": home,
                "spool": home / "spool",
                "database_url": None,
                "region": REGION,
                "endpoint_url": aws.endpoint_url,
            }
        )
        with Billfold(own) as billfold:
            on_step("starting the embedded PostgreSQL")
            assert billfold.database.is_embedded
            outcomes: list[DeliveryOutcome] = []
            seconds = 0.0
            for client in CLIENTS:
                _deliver(aws, own, client, line_items=line_items, on_step=on_step)
                role_arn = aws.create_role(f"billfold-{client.client_id}", OUR_ACCOUNT_ID, client.external_id)
                on_step(f"ingesting {client.client_id} as {role_arn}")
                started = time.monotonic()
                outcomes += billfold.ingest(f"s3://{client.bucket}/exports/", client=client.with_role(role_arn))
                seconds += time.monotonic() - started
            yield DemoResult(outcomes=tuple(outcomes), ingest_seconds=seconds, billfold=billfold)


def _deliver(aws: LocalAws, settings: Settings, client: DemoClient, *, line_items: int, on_step: OnStep) -> None:
    """Write the client's bills into its bucket, data files before manifests, as AWS does.

    Generated files are kept in the demo's home, so that a second run delivers the same ones.
    """
    root = settings.home / "buckets" / str(line_items) / client.bucket
    for period in map(_period, PERIODS):
        bill = SampleBill(
            payer_account_id=client.account_id,
            period=period,
            line_item_count=line_items,
            export_name=EXPORT_NAME,
            bucket=client.bucket,
            seed=client.seed * 1000 + period.starts_on.month,
        )
        if not bill.manifest_path(root).exists():
            on_step(f"generating {line_items:,} line items of {client.client_id} for {period}")
            write_sample_bill(bill, root)
    aws.create_bucket(client.bucket)
    aws.upload_folder(client.bucket, root)


def _period(text: str) -> BillingPeriod:
    period = parse_period(text)
    assert period is not None
    return period


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set the demo's AWS credentials in the environment while it runs, because boto3 reads them there."""
    before = dict(os.environ)
    os.environ.update(variables)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
