"""Jobs of the queue in any state, as receivers and workers leave them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from psycopg.sql import SQL, Identifier, Placeholder

from billfold.model import JobState
from billfold.store.database import Database, connect

BODY = '{"secret": "body-of-the-message"}'
ATTRIBUTES = '{"secret": {"type": "String", "value": "attribute-of-the-message"}}'


def ago(**span: float) -> datetime:
    """The moment this long before now."""
    return datetime.now(UTC) - timedelta(**span)


def put_job(database: Database, key: str, state: JobState = JobState.WAITING, /, **columns: Any) -> int:
    """Write a job, of acme unless told otherwise; its id."""
    of_state: dict[JobState, dict[str, Any]] = {
        JobState.WAITING: {},
        JobState.RUNNING: {"worker_id": uuid4(), "worker": "mars 42", "began_at": ago(), "due_at": None},
        JobState.DEAD: {"ended_at": ago(), "due_at": None},
    }
    usual = {"client_id": "acme", "bucket": "acme-bills", "key": key, "work": key, "trigger_source": "api"}
    values = {**usual, "state": state, **of_state[state], **columns}
    query = SQL("INSERT INTO billing_jobs ({}) VALUES ({}) RETURNING job_id").format(
        SQL(", ").join(map(Identifier, values)), SQL(", ").join(map(Placeholder, values))
    )
    with connect(database.conninfo) as connection:
        [(job_id,)] = connection.execute(query, values).fetchall()
    assert isinstance(job_id, int)
    return job_id


def put_message(database: Database, key: str, state: JobState = JobState.WAITING, /, **columns: Any) -> int:
    """Write a job that a message of SQS announced, with what nobody may be shown; its id."""
    message = {"message_id": str(uuid4()), "queue_url": "https://sqs/secret-queue", "body": BODY}
    return put_job(database, key, state, **{**message, "attributes": ATTRIBUTES, "trigger_source": "sqs", **columns})


def find_shown_secrets(text: str) -> list[str]:
    """What of a message is in a text that should show nothing of it."""
    return [secret for secret in ("body-of-the-message", "attribute-of-the-message", "secret-queue") if secret in text]
