"""The values that all folders share: clients, deliveries and their files, outcomes, and states."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import md5
from pathlib import Path
from typing import Literal
from uuid import UUID

from billfold.errors import BillfoldError
from billfold.period import BillingPeriod


class RunStatus(StrEnum):
    """The life of a run: pending -> running -> success | failed; skipped if its delivery was already ingested."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"


class DeliveryState(StrEnum):
    """The life of a delivery; `published` is final, and the statement says which delivery is current."""

    PENDING = "pending"
    RUNNING = "running"
    PUBLISHED = "published"
    SUPERSEDED = "superseded"
    HELD = "held"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


class PublicationKind(StrEnum):
    """What changed a statement's current bill. An adoption empties the statement of a file that a manifest names."""

    DELIVERY = "delivery"
    ROLLBACK = "rollback"
    UNDO = "undo"
    ADOPTION = "adoption"
    REMAP = "remap"
    SWITCH = "switch"


class Scope(StrEnum):
    """What a token allows. Each scope is granted separately; `admin` includes the two others."""

    READ = "read"
    INGEST = "ingest"
    ADMIN = "admin"


class TriggerSource(StrEnum):
    """What requested an ingestion."""

    CLI = "cli"
    API = "api"
    SQS = "sqs"
    EVENTBRIDGE = "eventbridge"
    SCHEDULE = "schedule"


class JobKind(StrEnum):
    """What a job does: ingest an object, look through a client's folder for what is not current, or run doctor."""

    INGEST = "ingest"
    VISIT = "visit"
    DOCTOR = "doctor"


class JobState(StrEnum):
    """Where a job of the queue is; the row of one that is done goes."""

    WAITING = "waiting"
    RUNNING = "running"
    DEAD = "dead"


class ProbeState(StrEnum):
    """The result of a probe: unknown if doctor has no right to see, skipped if it does not apply."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class CheckState(StrEnum):
    """Whether a check found anything that an operator should look at."""

    PASSED = "passed"
    WARNED = "warned"


class Relation(StrEnum):
    """How two statements of one client and month relate: only parts are both counted."""

    PARTS = "parts"
    OVERLAP = "overlap"
    DUPLICATES = "duplicates"


class Notify(StrEnum):
    """The AWS service that reports new objects."""

    SQS = "sqs"
    EVENTBRIDGE = "eventbridge"
    NONE = "none"


class ExportTable(StrEnum):
    """The tables of AWS Data Exports that `billfold onboard` can create."""

    CUR2 = "cur2"
    FOCUS = "focus"


class TimeGranularity(StrEnum):
    """The longest period of one line item (AWS: TIME_GRANULARITY)."""

    HOURLY = "hourly"
    DAILY = "daily"
    MONTHLY = "monthly"


class ExportFormat(StrEnum):
    """The family of columns of a file, detected in its content, never in its name."""

    LEGACY_CUR = "legacy-cur"
    CUR2 = "cur-2.0"
    FOCUS = "focus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A tenant whose bills are ingested: the one that the settings describe, or one of the registry.

    `account_id` (12 digits), if known, is sent as ExpectedBucketOwner. `prefix` is empty or ends with a slash: objects
    outside of it are not the client's, even in its bucket. All workers together ingest at most `max_deliveries` at a
    time; `max_file_bytes` is None if the settings decide.
    """

    client_id: str
    role_arn: str | None = None
    role_session_name: str = "billfold"
    external_id: str | None = field(default=None, repr=False)
    region: str | None = None
    bucket: str | None = None
    prefix: str = ""
    account_id: str | None = None
    currency: str = "USD"
    source_identity: str | None = None
    kms_key_arn: str | None = None
    max_deliveries: int = 2
    max_file_bytes: int | None = None
    refresh_hours: int = 24
    is_registered: bool = False
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe of doctor: what it found and, if something is wrong, the exact fix.

    `area` is machine, database or aws; `client_id` is None for probes that concern all clients.
    """

    name: str
    state: ProbeState
    found: str
    fix: str = ""
    area: str = "aws"
    client_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceObject:
    """One version of one object, as a listing or a HEAD describes it. `etag` is opaque and has no quotes."""

    bucket: str
    key: str
    etag: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutFile:
    """A file beside bills that is not a bill, and what it is, as messages call it."""

    key: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One refresh of one statement: the files its manifest names, each pinned by its ETag.

    `export_path` identifies the export inside its bucket (`exports/acme-cur2`), `export_name` is what AWS calls it.
    A standalone file is its own delivery: no manifest, its key as export path and name.
    `period` is None if only the content has it, unless a caller named it (`is_month_named`).
    `time_fault` says why a local file's time cannot be true: `delivered_at` is then the time when it was found.
    """

    bucket: str
    export_path: str
    export_name: str
    period: BillingPeriod | None
    files: tuple[SourceObject, ...]
    delivered_at: datetime
    manifest: SourceObject | None = None
    execution_id: str | None = None
    is_month_named: bool = False
    time_fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledFile:
    """A source object on the local disk, byte for byte, with the SHA-256 of its bytes."""

    source: SourceObject
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackedFile:
    """A spooled file, ready to parse: its content decides the kind; `path` is the spooled file if that is not packed.

    `packed_sha256` is of the bytes as delivered, `size_bytes` of the file at `path`.
    """

    source: SourceObject
    path: Path
    kind: Literal["csv", "parquet"]
    packed_sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """The outcome of one file in one delivery: a row of `billing_delivery_files` and its run."""

    ingestion_run_id: UUID
    source_s3_key: str
    status: RunStatus
    rows_read: int = 0
    rows_inserted: int = 0
    rows_skipped: int = 0
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOutcome:
    """How the ingestion of one delivery ended. Money is exact, by currency; rows are line items.

    `delivery_id` is None if the source has no delivery. `reason` says why a delivery is superseded, held, rolled
    back or left pending. `exit_error` is the error of a failed delivery, and of a held one.
    """

    delivery_id: UUID | None
    client_id: str
    export_name: str
    billing_period: str | None
    state: DeliveryState
    rows_read: int = 0
    rows_added: int = 0
    rows_removed: int = 0
    rows_unchanged: int = 0
    source_cost: dict[str, Decimal] = field(default_factory=dict)
    billed_cost: dict[str, Decimal] = field(default_factory=dict)
    runs: tuple[RunOutcome, ...] = ()
    findings: tuple[str, ...] = ()
    reason: str | None = None
    duration_seconds: float = 0.0
    exit_error: BillfoldError | None = None


class CostBasis(StrEnum):
    """The cost columns of AWS that a statement is billed by, chosen once per export and period.

    Without net costs, discounts that only the rows' discount columns name are added to the gross costs, as AWS writes
    them below 0, or subtracted if an export writes them above 0.
    """

    GROSS = "gross"
    NET = "net"
    GROSS_PLUS_DISCOUNTS = "gross plus discounts"
    GROSS_MINUS_DISCOUNTS = "gross minus discounts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """The sum of covered usage and negations of Savings Plans that does not cancel out, per payer and currency."""

    billing_account_id: str
    billing_currency: str
    cost: Decimal

    @property
    def row_hash(self) -> UUID:
        """The canonical hash of a line item that has only a payer and a currency."""
        parts = (
            ("bill_payer_account_id", self.billing_account_id),
            ("line_item_currency_code", self.billing_currency),
        )
        text = "".join(f"{len(part.encode())}:{part}" for pair in parts for part in pair)
        return UUID(md5(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Line items of a statement without a charge: the reason, their number, and their cost on the statement's basis."""

    reason: str
    currency: str
    row_count: int
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Rows and exact money by currency of one side of the reconciliation.

    `gross` and `net` are AWS's unblended and net unblended cost of all line items (FOCUS: BilledCost as gross),
    `billed` is the cost on the statement's basis less what was left out: what the charges must add up to.
    """

    row_count: int = 0
    charge_count: int = 0
    gross: dict[str, Decimal] = field(default_factory=dict)
    net: dict[str, Decimal] = field(default_factory=dict)
    billed: dict[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discounts:
    """The discounts of a bill in one currency, in money.

    `named` is in the rows' discount columns, as the export writes it, `line_items` in line items of their own. Of the
    discounts that are billed, `raising` raise a cost, and `on_commitments` are on rows whose EffectiveCost is not their
    cost. `off_parts` is the difference between total discounts and the sums of their parts, in rows that have both.
    """

    named: Decimal
    line_items: Decimal
    raising: Decimal
    on_commitments: Decimal
    off_parts: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The money of a delivery's line items, summed by PostgreSQL from their texts, and counts for its findings.

    `unproved` is, by currency, the difference between net costs and gross costs less the discounts that the export
    names; `discounts` are by currency, if there are any; `undiscounted` is the cost without credits, refunds and
    discounts.
    """

    totals: Totals
    residuals: tuple[Residual, ...]
    left_out: tuple[LeftOut, ...]
    unknown_types: dict[str, int]
    covered_rows_without_share: int
    overdrawn_rows: int
    rows_billed_as_effective: int
    unproved: dict[str, Decimal]
    discounts: dict[str, Discounts]
    rows_with_unreadable_discounts: int
    undiscounted: dict[str, Decimal]
    split_rows_with_a_cost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyColumns:
    """The source headers of cost, net cost and currency; several if a bill's files differ."""

    gross: tuple[str, ...]
    net: tuple[str, ...]
    currency: tuple[str, ...]
