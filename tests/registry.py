"""Clients of the registry, each with a bucket, a role and bills in a local AWS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from billfold import clients
from billfold.aws import LocalAws
from billfold.model import Client
from billfold.settings import Settings
from billfold.store.database import Database
from tests.bills.line_items import described, write_bill

OUR_ACCOUNT = "999988887777"
# The account that moto plays: it owns every role and bucket.
ACCOUNT = "123456789012"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A database of clients beside the local AWS in which their buckets are; `folder` is for what is uploaded."""

    aws: LocalAws
    database: Database
    settings: Settings
    folder: Path

    @classmethod
    def make(cls, aws: LocalAws, database: Database, settings: Settings, folder: Path) -> Self:
        """A registry without clients, whose buckets are in the local AWS."""
        changes = {"endpoint_url": aws.endpoint_url, "region": aws.region, "retry_base_delay_ms": 0, "threads": 2}
        return cls(aws=aws, database=database, settings=settings.model_copy(update=changes), folder=folder)

    def add(self, client_id: str, *, prefix: str = "exports/", **values: Any) -> Client:
        """Register a client whose role trusts us with its external id, and make its bucket."""
        fields = {"client_id": client_id, "bucket": f"{client_id}-bills", "prefix": prefix, "account_id": ACCOUNT}
        client = clients.register(self.database, self.settings, {**fields, **values})
        assert client.bucket
        self.aws.create_bucket(client.bucket)
        self.aws.create_role(clients.role_name(client_id), OUR_ACCOUNT, client.external_id)
        return client

    def deliver(self, client: Client, *costs: str, revision: int = 1, **options: str) -> list[str]:
        """Write one delivery of line items of these costs into the client's bucket; returns the keys."""
        root = self.folder / client.client_id
        assert client.bucket
        write_bill(root, described(*costs), revision=revision, bucket=client.bucket, **options)
        return self.aws.upload_folder(client.bucket, root)
