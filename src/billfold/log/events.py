"""Every event that Billfold logs: its levels, its fields and what it means. docs/log-events.md is made from this list.

Names, levels and fields are a contract: the metric filters of `deploy/cloudformation/alarms.yaml` read them, and so may
an operator's own.
"""

from __future__ import annotations

from enum import StrEnum

# The fields of all events while a delivery, a message of the queue or a client of the schedule is processed.
CONTEXT_FIELDS = frozenset({"client", "delivery_id", "statement", "run_id", "message_id", "key"})

# Among an event's fields: one for each state of a delivery, with the number of statements that ended in it.
STATE_COUNTS = "…"

_Declared = tuple[str, str, str, str, str]


def _event(name: str, levels: str, fields: str, meaning: str, *, metrics: str = "") -> _Declared:
    """An event with its levels, its fields beside the context, and the metrics of CloudWatch that count it."""
    return name, levels, fields, meaning, metrics


def _info(name: str, fields: str, meaning: str, *, metrics: str = "") -> _Declared:
    return name, "info", fields, meaning, metrics


def _warning(name: str, fields: str, meaning: str, *, metrics: str = "") -> _Declared:
    return name, "warning", fields, meaning, metrics


def _error(name: str, fields: str, meaning: str, *, metrics: str = "") -> _Declared:
    return name, "error", fields, meaning, metrics


class Event(StrEnum):
    """The name of an event, as the first argument of a logger: `log.info(Event.CLIENT_ENABLED, client="acme")`."""

    levels: frozenset[str]
    declared_fields: tuple[str, ...]
    metrics: frozenset[str]
    meaning: str

    def __new__(cls, name: str, levels: str = "", fields: str = "", meaning: str = "", metrics: str = "") -> Event:
        """A member that equals its name and carries its declaration."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.levels = frozenset(levels.split())
        member.declared_fields = tuple(fields.split())
        member.metrics = frozenset(metrics.split())
        member.meaning = meaning
        return member

    @property
    def fields(self) -> frozenset[str]:
        """The names of its fields."""
        return frozenset(self.declared_fields)

    ANSWER_NOT_READ = _warning(
        "answer_not_read", "waiting_bytes seconds", "A caller does not read its answer; it is disconnected."
    )
    ASKED_ALONE = _warning(
        "asked_alone",
        "",
        "A job without a message starts again after its worker died. This worker starts nothing else until it is done.",
    )
    ASKED_DEAD = _error(
        "asked_dead",
        "reason error_code",
        "A job without a message can never succeed, or failed too often. It is not retried.",
    )
    ASKED_DONE = _info("asked_done", "state instead reason", "A job without a message is done.")
    ASKED_LATER = _event(
        "asked_later",
        "debug warning",
        "cause delay_seconds error_code reason",
        "A job without a message is retried: after a failure or without a database (warning), or when its statement is"
        " free (debug).",
        metrics="Retries",
    )
    ASKED_STARTED = _event(
        "asked_started",
        "debug info",
        "asked_by taken_count",
        "A job without a message starts; debug if it is not the first time, or a visit or a doctor run.",
    )
    ATTEMPT_NOT_ENDED = _warning(
        "attempt_not_ended",
        "error_code error",
        "A stopping worker could not give its jobs back. Other workers free them soon.",
    )
    ATTRIBUTES_LEFT_OUT = _warning(
        "attributes_left_out", "message_id names", "A dead letter has no room for these attributes of its sender."
    )
    BACKFILL_FINISHED = _info(
        "backfill_finished",
        f"statements {STATE_COUNTS}",
        "A backfill ended; `…` are the numbers of statements in each state.",
    )
    BACKFILL_STARTED = _info("backfill_started", "statements waiting", "A backfill has listed the folder.")
    CHECK_WARNED = _warning(
        "check_warned", "statement_id name rows cost detail", "A [check](checks.md) warns about a published bill."
    )
    CHECKS_FAILED = _error(
        "checks_failed",
        "statement_id error exception",
        "The checks of a bill failed. The bill stays published.",
        metrics="ChecksFailed",
    )
    CLIENT_CHANGED = _info("client_changed", "client fields", "`billfold client change`.")
    CLIENT_DISABLED = _info("client_disabled", "client", "`billfold client disable`.")
    CLIENT_ENABLED = _info("client_enabled", "client", "`billfold client enable`.")
    CLIENT_LATE = _warning(
        "client_late",
        "client last_delivered_at late_since hours",
        "A client had no delivery for one and a half refresh intervals. Repeated in every pass of the schedule.",
        metrics="ClientsLate",
    )
    CLIENT_REGISTERED = _info("client_registered", "client bucket prefix", "`billfold client add`.")
    CLIENT_REMOVED = _warning("client_removed", "client statements rows", "`billfold client remove`.")
    DATABASE_AWAY = _warning(
        "database_away",
        "delay_seconds error_code error",
        "PostgreSQL does not answer. The worker takes no messages and no jobs until it does.",
    )
    DATABASE_FOUND = _info("database_found", "", "PostgreSQL answers again.")
    DELIVERY_BUSY = _warning("delivery_busy", "error", "Another worker holds the statement.")
    DELIVERY_EXPIRED = _info(
        "delivery_expired",
        "client delivery_id reason",
        "Data files of a current delivery are gone, for example by a lifecycle rule. Its bill stays.",
    )
    DELIVERY_FAILED = _error(
        "delivery_failed",
        "error_code error retryable",
        "An attempt at a delivery failed; a retry may follow.",
        metrics="DeliveriesFailed",
    )
    DELIVERY_FINISHED = _info(
        "delivery_finished",
        "state rows_read rows_added rows_removed rows_unchanged billed_cost duration_seconds reason",
        "An attempt ended without a failure: published, superseded, held, rolled back earlier or left pending.",
        metrics="DeliveriesFinished DeliverySeconds DeliveriesHeld",
    )
    DELIVERY_INTERRUPTED = _warning(
        "delivery_interrupted",
        "client statement state",
        "A signal ended the command during a delivery, which is left in this `state`.",
    )
    DELIVERY_RELEASED = _warning(
        "delivery_released",
        "client delivery_id reason token_id",
        "A held delivery is released, by `billfold release` or over HTTP with this token.",
    )
    DELIVERY_ROLLED_BACK = _info(
        "delivery_rolled_back",
        "client delivery_id current_delivery_id rows_added rows_removed adopted_files",
        "`billfold rollback`.",
    )
    EVENT_FOREIGN = _warning("event_foreign", "bucket reason", "An event names a folder of no client.")
    EVENT_IGNORED = _info("event_ignored", "reason", "A message names nothing to ingest.")
    EVENT_REFUSED = _event(
        "event_refused",
        "error warning",
        "client bucket key account reason",
        "An event is forged (error). Or its client is disabled or, over HTTP, its secret is wrong (warning).",
    )
    EXTERNAL_ID_RENEWED = _warning(
        "external_id_renewed", "client", "`billfold onboard --new-external-id`. The id is never logged."
    )
    FAILURE_NOT_RECORDED = _error("failure_not_recorded", "error", "A failure could not be written to the database.")
    FIGURE_FAILED = _error(
        "figure_failed",
        "figure exception",
        "A figure or a chart of a page failed and is shown as a dash. The rest of the page is shown.",
    )
    FILE_LEFT_OUT = _warning("file_left_out", "path reason", "A local folder has a link or an unusable name.")
    FILE_NOT_IN_MANIFEST = _info(
        "file_not_in_manifest", "key manifest", "A data file belongs to no delivery. The current delivery is ingested."
    )
    FILE_VANISHED = _event("file_vanished", "debug", "key", "A file of a local folder is gone before it was read.")
    FILES_LEFT_OUT = _info(
        "files_left_out",
        "bucket files kinds keys",
        "A folder, or an event, has files that are not bills: the number of each kind, and the first keys.",
    )
    FINDING = _warning("finding", "text", "A [finding](findings.md) of a delivery.")
    FOLDER_LEFT_OUT = _warning("folder_left_out", "path reason", "A folder is a link.")
    HOST_REFUSED = _warning("host_refused", "host", "A request names a host that is not allowed.")
    INTERNAL_ERROR = _error(
        "internal_error",
        "exception path bucket key",
        "A defect in Billfold, with its traceback but without local variables. Its delivery failed; others continue.",
        metrics="InternalErrors",
    )
    JOB_FREED = _warning(
        "job_freed",
        "job_id client key",
        "The worker of a job is gone. An attempt that had begun counts as a failure, and the next one is made alone.",
    )
    JOBS_COUNTED = _info(
        "jobs_counted",
        "waiting running oldest_seconds",
        "What is in the queue, once a minute from each worker and server.",
        metrics="JobsRunning JobsWaiting OldestJobSeconds",
    )
    MANIFEST_LEFT_OUT = _warning(
        "manifest_left_out",
        "key reason",
        "A file with the name of a manifest belongs to another program: it lists no billing files.",
    )
    MANIFEST_OF_ANOTHER_BUCKET = _info(
        "manifest_of_another_bucket", "key names bucket", "A manifest names another bucket than its own."
    )
    MESSAGE_ALONE = _warning(
        "message_alone",
        "",
        "A message starts again after its worker died. This worker starts nothing else until it is done.",
    )
    MESSAGE_DEAD = _error(
        "message_dead",
        "client delivery_id reason error_code",
        "A message can never succeed, or failed too often. It moves to the dead-letter queue.",
        metrics="MessagesDead",
    )
    MESSAGE_DONE = _info("message_done", "client delivery_id state reason", "A message is done.")
    MESSAGE_FAILED = _error(
        "message_failed",
        "exception",
        "A message or a job met a defect in Billfold. It is retried.",
        metrics="InternalErrors",
    )
    MESSAGE_LATER = _event(
        "message_later",
        "debug warning",
        "client delivery_id reason cause delay_seconds error_code",
        "A message is retried: after a failure or without a database (warning), or when its statement is free (debug).",
        metrics="Retries",
    )
    MESSAGE_NOT_GIVEN_BACK = _warning(
        "message_not_given_back",
        "message_id error visible_again_in_seconds",
        "A dead letter that was shown stays hidden for a while.",
    )
    MESSAGE_REDRIVEN = _info("message_redriven", "message_id reason", "`billfold dlq redrive`.")
    MESSAGE_STUCK = _error(
        "message_stuck", "reason error_code delay_seconds", "A dead message could not be moved to a dead-letter queue."
    )
    NO_DEAD_LETTER_QUEUE = _warning("no_dead_letter_queue", "queue", "The queue has no redrive policy.")
    OBJECT_LEFT_OUT = _info(
        "object_left_out", "client reason", "An event names an object of a client's folder that is not a bill."
    )
    ORIGIN_REFUSED = _warning("origin_refused", "origin", "A form came from a page of another site.")
    QUEUE_FAILED = _warning("queue_failed", "action error_code error", "The queue rejected a call, or did not answer.")
    RECEIVE_FAILED = _warning(
        "receive_failed", "delay_seconds error_code error", "No messages could be received from the queue."
    )
    REQUEST = _event(
        "request",
        "info debug",
        "method path status duration_seconds token_id",
        "An HTTP request is answered; those for health are debug.",
    )
    REQUEST_TOO_SLOW = _warning(
        "request_too_slow",
        "seconds",
        "A request did not arrive in time. Its connection is closed, with status 408 if it had begun.",
    )
    RETRYING = _warning(
        "retrying", "attempt delay_seconds error", "A step of a delivery failed and is retried.", metrics="Retries"
    )
    ROLLBACK_UNDONE = _info(
        "rollback_undone",
        "client delivery_id current_delivery_id rows_added rows_removed adopted_files",
        "`billfold rollback --undo`.",
    )
    SCHEDULE_CLIENT_FAILED = _error(
        "schedule_client_failed",
        "client error_code error",
        "A client's folder could not be listed.",
        metrics="SchedulesFailed",
    )
    SCHEDULE_CLIENT_FINISHED = _info(
        "schedule_client_finished",
        f"state statements reason {STATE_COUNTS}",
        "A client's folder was searched; `failed` if any of it could not be read. `…` are the numbers of statements"
        " in each state.",
        metrics="SchedulesFailed",
    )
    SCHEDULE_FINISHED = _info(
        "schedule_finished",
        "clients visited visiting",
        "A pass ended, even if no client was due. If this event is missing, no schedule runs and no late client is"
        " reported.",
        metrics="SchedulesFinished",
    )
    SCHEDULE_INTERRUPTED = _error("schedule_interrupted", "error_code error", "The database was lost during a pass.")
    SCHEDULE_UNFINISHED = _warning(
        "schedule_unfinished", "clients", "Jobs of these clients were still running when the time to end was over."
    )
    SERVE_TOKEN_MADE = _info(
        "serve_token_made",
        "path",
        "The first start of `billfold serve` created the home's token. The token is never logged.",
    )
    SERVE_TOKEN_MISSING = _warning(
        "serve_token_missing",
        "error",
        "The home cannot hold a token. Only tokens of `billfold token add` open the server.",
    )
    SERVE_TOKEN_REPLACED = _warning(
        "serve_token_replaced",
        "path reason",
        "The home's token was readable by others, or damaged. A new one replaces it; the old one opens nothing.",
    )
    SERVER_STARTED = _info(
        "server_started",
        "host port token_file",
        "`billfold serve` answers. `token_file` holds the home's token; null if the server has none.",
    )
    SERVER_STOPPED = _info(
        "server_stopped", "unfinished", "The server ended. Others ingest what it was still ingesting."
    )
    SERVER_STOPPING = _info("server_stopping", "seconds", "`billfold serve` received a signal to end.")
    SETTING_UNKNOWN = _warning(
        "setting_unknown",
        "name meant",
        "A variable of the environment begins with `BILLFOLD_` and is not a setting; `meant` is the most similar one.",
    )
    SIGN_IN_REFUSED = _warning("sign_in_refused", "address", "Someone entered a wrong token to sign in.")
    SIGNED_IN = _info("signed_in", "token_id address", "Someone signed in.")
    SOURCE_REFUSED = _error(
        "source_refused",
        "bucket key error_code error retryable",
        "A source leads to no delivery: no such bucket or key, no right to it, or a manifest that cannot be read.",
        metrics="SourcesRefused",
    )
    SPOOL_CLEARED = _info("spool_cleared", "folder", "What a killed process left in the spool is deleted.")
    STATEMENT_REMAPPED = _info(
        "statement_remapped",
        "client statement charges mapping_version",
        "`billfold remap` mapped a statement's charges again.",
    )
    STATEMENT_SWITCHED = _info("statement_switched", "client statement", "`billfold statement count` or `uncount`.")
    STATEMENTS_PAIRED = _info(
        "statements_paired", "client statements choice", "`billfold statement parts`, `duplicates` or `compare`."
    )
    TOKEN_MADE = _info("token_made", "token_id name scopes client", "`billfold token add`. The token is never logged.")
    TOKEN_REFUSED = _warning(
        "token_refused", "address method path", "A request has an unknown, revoked or expired token."
    )
    TOKEN_REVOKED = _info("token_revoked", "token_id name client", "`billfold token revoke`.")
    UNNAMED_NOT_SKIPPED = _warning(
        "unnamed_not_skipped",
        "error_code error",
        "Runs that wait for a manifest keep waiting until the next delivery. This delivery is published.",
    )
    WORKER_CROWDED = _warning(
        "worker_crowded",
        "concurrency clients client_count advice",
        "Each of these clients has as many slots as this worker has threads.",
    )
    WORKER_FINISHED = _info("worker_finished", "received done dead", "A worker ended.")
    WORKER_STARTED = _info("worker_started", "queue concurrency drain", "A worker started.")
    WORKER_STOPPING = _info("worker_stopping", "seconds", "A worker received a signal to end.")
