"""Every setting of Billfold by its name, with its default, its bounds and what it is for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, SettingsConfigDict

from billfold.model import Client
from billfold.settings.client_fields import client_setting
from billfold.settings.fields import (
    DATABASE_EXPECTED,
    AccountId,
    BucketName,
    ClientId,
    Currency,
    DatabaseUrl,
    EndpointUrl,
    EventsSecret,
    ExternalId,
    Folder,
    HostNames,
    KmsKeyArn,
    Networks,
    Prefix,
    Region,
    RoleArn,
    SessionName,
    as_number,
    lowered,
    setting,
    size,
    whole,
)

ENV_FILE = ".env"
_MEBIBYTE = 2**20
_GIBIBYTE = 2**30


class Settings(BaseSettings):
    """What the operator decides. Sizes are bytes unless the name says otherwise; an empty value counts as unset."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        case_sensitive=True,
        extra="ignore",
        frozen=True,
        str_strip_whitespace=True,
        validate_default=True,
    )

    region: Region | None = client_setting("region")
    role_arn: RoleArn | None = client_setting("role_arn")
    role_session_name: SessionName = setting(
        "AWS_ASSUME_ROLE_SESSION_NAME",
        "The session's name, as the client's CloudTrail shows it.",
        expected="2 to 64 letters, digits or _+=,.@-",
        default="billfold",
    )
    bucket: BucketName | None = client_setting("bucket")
    prefix: Prefix = client_setting("prefix")
    endpoint_url: EndpointUrl | None = setting(
        "AWS_ENDPOINT_URL",
        "Another address for all AWS services, such as a local AWS. Buckets are then addressed by path.",
        expected="http://host:port or https://host",
        default=None,
        examples=["http://127.0.0.1:5000"],
    )
    retry_max_attempts: int = whole(
        "INGEST_RETRY_MAX_ATTEMPTS",
        "The number of attempts at a delivery before its run fails.",
        default=3,
        min=1,
        max=20,
    )
    retry_base_delay_ms: int = whole(
        "INGEST_RETRY_BASE_DELAY_MS",
        "The wait before the second attempt, in milliseconds. Each further wait is longer.",
        default=500,
        min=0,
        max=60_000,
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lowered)] = setting(
        "LOG_LEVEL",
        "The lowest level of events that are logged.",
        expected="debug, info, warning or error",
        default="info",
    )
    log_format: Annotated[Literal["auto", "json", "human"], BeforeValidator(lowered)] = setting(
        "BILLFOLD_LOG_FORMAT",
        "The format of events on standard error; auto is human on a terminal and JSON elsewhere.",
        expected="auto, json or human",
        default="auto",
    )
    database_url: DatabaseUrl | None = setting(
        "DATABASE_URL",
        "The PostgreSQL database (16 or later). Without it Billfold runs its own under BILLFOLD_HOME.",
        expected=DATABASE_EXPECTED,
        secret=True,
        default=None,
        examples=["postgresql://billfold@db.internal:5432/billing"],
    )
    reader_database_url: DatabaseUrl | None = setting(
        "BILLFOLD_READER_DATABASE_URL",
        "The same database with a role that can only read: for the dashboard, the API and `billfold sql`.",
        expected=DATABASE_EXPECTED,
        secret=True,
        default=None,
        examples=["postgresql://billfold_reader@db.internal:5432/billing"],
    )
    postgres_version: Annotated[Literal[16, 18], BeforeValidator(as_number)] = setting(
        "BILLFOLD_POSTGRES_VERSION",
        "The version of the embedded PostgreSQL.",
        expected="16 or 18",
        default=16,
    )
    home: Folder = setting(
        "BILLFOLD_HOME",
        "The folder of everything that Billfold stores on this machine: by default `~/.billfold`, for root"
        " `/var/lib/billfold` unless its `~/.billfold` already contains a database.",
        expected="a folder",
        default_factory=lambda: _default_home(),
    )
    client: ClientId = client_setting("client_id")
    external_id: ExternalId | None = setting(
        "BILLFOLD_EXTERNAL_ID",
        "The external id that the role's trust policy requires.",
        expected="2 to 1224 letters, digits or _+=,.@:/-",
        secret=True,
        default=None,
    )
    account_id: AccountId | None = client_setting("account_id")
    our_account_id: AccountId | None = setting(
        "BILLFOLD_OUR_ACCOUNT_ID",
        "The account that Billfold runs in. `billfold onboard` writes it into the role's trust policy.",
        expected="12 digits",
        default=None,
        examples=["999988887777"],
    )
    source_identity: SessionName | None = client_setting("source_identity")
    kms_key_arn: KmsKeyArn | None = client_setting("kms_key_arn")
    max_deliveries: int = client_setting("max_deliveries")
    refresh_hours: int = client_setting("refresh_hours")
    currency: Currency = client_setting("currency")
    max_file_bytes: int = client_setting("max_file_bytes")
    max_unpacked_bytes: int = size(
        "BILLFOLD_MAX_UNPACKED_BYTES",
        "The largest file after unpacking, and the largest text of the rows of a Parquet file.",
        default=200 * _GIBIBYTE,
    )
    min_free_bytes: int = size(
        "BILLFOLD_MIN_FREE_BYTES", "Space that is kept free on the spool's disk.", default=_GIBIBYTE, min=0
    )
    max_manifest_bytes: int = size(
        "BILLFOLD_MAX_MANIFEST_BYTES", "The largest manifest that is read.", default=16 * _MEBIBYTE
    )
    spool: Folder = setting(
        "BILLFOLD_SPOOL",
        "The folder for fetched files while they are processed; BILLFOLD_HOME/spool by default.",
        expected="a folder",
        default_factory=lambda data: data["home"] / "spool",
    )
    memory_limit_mb: int = whole(
        "BILLFOLD_MEMORY_LIMIT_MB",
        "DuckDB's memory, in megabytes. Larger work spills to the spool's disk.",
        default=700,
        min=256,
        max=1_000_000,
    )
    threads: int = setting(
        "BILLFOLD_THREADS",
        "DuckDB's threads: the number of processors, at most 8, by default.",
        expected="a whole number from 1 to 256",
        default_factory=lambda: min(os.cpu_count() or 1, 8),
        ge=1,
        le=256,
    )
    claim_wait_seconds: int = whole(
        "BILLFOLD_CLAIM_WAIT_SECONDS",
        "How long to wait for a statement that another worker holds.",
        default=30,
        min=0,
        max=3600,
    )
    lock_timeout_seconds: int = whole(
        "BILLFOLD_LOCK_TIMEOUT_SECONDS",
        "How long an SQL statement waits for a lock.",
        default=10,
        min=1,
        max=3600,
    )
    hold_below_percent: int = whole(
        "BILLFOLD_HOLD_BELOW_PERCENT",
        "A delivery that leaves less than this percentage of a statement's rows, or of its cost without credits,"
        " refunds and discounts, is held until `billfold release`; 0 holds none.",
        default=50,
        min=0,
        max=100,
    )
    events_secret: EventsSecret | None = setting(
        "BILLFOLD_EVENTS_SECRET",
        "The secret that an API destination of EventBridge sends to `billfold serve` in the header X-Billfold-Secret.",
        expected="16 to 512 letters, digits or other visible ASCII characters",
        secret=True,
        default=None,
    )
    allowed_hosts: HostNames = setting(
        "BILLFOLD_ALLOWED_HOSTS",
        "The host names of `billfold serve` besides localhost and its own address, separated by commas.",
        expected="host names or addresses without ports, separated by commas",
        default="",
        examples=["billfold.internal,billing.acme.example"],
    )
    trusted_proxies: Networks = setting(
        "BILLFOLD_TRUSTED_PROXIES",
        "The addresses of proxies whose X-Forwarded-For and X-Forwarded-Proto `billfold serve` trusts.",
        expected="addresses or networks such as 10.0.0.0/8, separated by commas",
        default="127.0.0.1,::1",
        examples=["10.0.0.0/24"],
    )
    max_request_bytes: int = size(
        "BILLFOLD_MAX_REQUEST_BYTES", "The largest request that `billfold serve` accepts.", default=_MEBIBYTE
    )
    request_seconds: int = whole(
        "BILLFOLD_REQUEST_SECONDS",
        "The time for a whole request to arrive, and for a caller to keep reading an answer, before `billfold serve`"
        " closes the connection.",
        default=30,
        min=1,
        max=3600,
    )
    requests_per_minute: int = whole(
        "BILLFOLD_REQUESTS_PER_MINUTE",
        "The maximum number of requests to `billfold serve` in a minute, per token, or per address without one; 0 sets"
        " no limit.",
        default=600,
        min=0,
        max=1_000_000,
    )
    serve_concurrency: int = whole(
        "BILLFOLD_SERVE_CONCURRENCY",
        "The maximum number of jobs that `billfold serve` works on at a time; 0 leaves all but doctor runs to others.",
        default=1,
        min=0,
        max=64,
    )
    queue_url: EndpointUrl | None = setting(
        "BILLFOLD_QUEUE_URL",
        "The SQS queue that `billfold worker` receives its messages from.",
        expected="https://sqs.<region>.amazonaws.com/<account>/<name>",
        default=None,
        examples=["https://sqs.eu-central-1.amazonaws.com/999988887777/billfold-events"],
    )
    dead_letter_queue_url: EndpointUrl | None = setting(
        "BILLFOLD_DEAD_LETTER_QUEUE_URL",
        "Where the Lambda handler sends messages that can never succeed. A worker reads its queue's redrive policy.",
        expected="https://sqs.<region>.amazonaws.com/<account>/<name>",
        default=None,
        examples=["https://sqs.eu-central-1.amazonaws.com/999988887777/billfold-dead-letters"],
    )
    message_attempts: int = whole(
        "BILLFOLD_MESSAGE_ATTEMPTS",
        "The number of attempts at a job before it is dead. Waiting for others does not count.",
        default=10,
        min=1,
        max=1000,
    )
    message_retry_seconds: int = whole(
        "BILLFOLD_MESSAGE_RETRY_SECONDS",
        "How long a job waits after its first failure. Each further wait is twice as long, up to 15 minutes.",
        default=10,
        min=0,
        max=900,
    )
    visibility_seconds: int = whole(
        "BILLFOLD_VISIBILITY_SECONDS",
        "How long SQS hides a message while a worker writes its jobs. If the worker dies, it comes again after that.",
        default=60,
        min=3,
        max=43_200,
    )
    shutdown_seconds: int = whole(
        "BILLFOLD_SHUTDOWN_SECONDS",
        "How long a worker, a schedule or a server lets running deliveries continue after a signal to end.",
        default=25,
        min=0,
        max=3600,
    )
    keep_history_days: int | None = setting(
        "BILLFOLD_KEEP_HISTORY_DAYS",
        "How long `billfold prune` keeps withdrawn rows and charges. Without it they are kept for ever.",
        expected="a whole number of days, 1 or more",
        default=None,
        ge=1,
        le=36_500,
        examples=["400"],
    )
    sql_timeout_seconds: int = whole(
        "BILLFOLD_SQL_TIMEOUT_SECONDS",
        "How long a query of `billfold sql` may run.",
        default=60,
        min=1,
        max=86_400,
    )
    sql_max_rows: int = whole(
        "BILLFOLD_SQL_MAX_ROWS",
        "The maximum number of rows that `billfold sql` prints.",
        default=100_000,
        min=1,
        max=100_000_000,
    )

    def __init__(self, **values: Any) -> None:
        """In Python a setting is given by its attribute's name: `Settings(home=…)`. No variable has such a name."""
        aliases = {name: field.validation_alias for name, field in type(self).model_fields.items()}
        super().__init__(**{str(aliases.get(name, name)): value for name, value in values.items()})

    @property
    def described_client_id(self) -> str | None:
        """The client whose bucket the settings name; None if they name none, even if earlier settings left rows."""
        return self.client if self.bucket else None

    @property
    def allowed_host_names(self) -> frozenset[str]:
        """The names and addresses of `allowed_hosts`, in lower case."""
        return frozenset(name for each in self.allowed_hosts.split(",") if (name := each.strip().lower()))

    def default_client(self) -> Client:
        """The single client that these settings describe."""
        return Client(
            client_id=self.client,
            role_arn=self.role_arn,
            role_session_name=self.role_session_name,
            external_id=self.external_id,
            region=self.region,
            bucket=self.bucket,
            prefix=self.prefix,
            account_id=self.account_id,
            currency=self.currency,
            source_identity=self.source_identity,
            kms_key_arn=self.kms_key_arn,
            max_deliveries=self.max_deliveries,
            refresh_hours=self.refresh_hours,
        )


def _default_home() -> Path:
    """For root PostgreSQL runs as another user, who usually cannot enter root's own folder."""
    home = Path("~/.billfold")
    if os.geteuid() == 0:
        try:
            holds_data = (home.expanduser() / "postgres" / "PG_VERSION").exists()
        except (OSError, RuntimeError):
            holds_data = False
        return home if holds_data else Path("/var/lib/billfold")
    return home
