"""The fields of log events: the type of each in JSON, and what it is. docs/log-events.md is made from this list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its JSON type in words, and what it is."""

    type: str
    meaning: str


_TEXT = "text"
_NUMBER = "whole number"
_FLAG = "true or false"
_SECONDS = "seconds"
_OBJECT = "object"
_TEXTS = "list of text"
_OBJECTS = "list of objects"

EVERY_EVENT: Mapping[str, Field] = {
    "timestamp": Field(_TEXT, "when, in ISO 8601 and UTC, to the microsecond"),
    "level": Field(_TEXT, "`debug`, `info`, `warning` or `error`"),
    "event": Field(_TEXT, "its name in the list below"),
}

FIELDS: Mapping[str, Field] = {
    "account": Field(_TEXT, "the AWS account that sent an event"),
    "action": Field(_TEXT, "the call to the queue: delete, hide, send or describe"),
    "address": Field(_TEXT, "the caller's address; of IPv6 the network"),
    "adopted_files": Field(_TEXTS, "files that a bill took over when it became current again"),
    "advice": Field(_TEXT, "what to do"),
    "asked_by": Field(_TEXT, "who requested it: `api`, `eventbridge` or `schedule`"),
    "attempt": Field(_NUMBER, "the number of the attempt that failed, from 1"),
    "billed_cost": Field(_OBJECT, "exact decimals as text by currency"),
    "bucket": Field(_TEXT, "a bucket's name, or the address of a local folder"),
    "cause": Field(_TEXT, "`busy`, `database`, `untried` or `failure`"),
    "charges": Field(_NUMBER, "charges"),
    "choice": Field(_TEXT, "how two statements relate: `parts` or `duplicates`; null if their content decides again"),
    "client": Field(_TEXT, "the client's id"),
    "client_count": Field(_NUMBER, "number of clients, of which only some may be named"),
    "clients": Field(f"{_NUMBER}, or {_TEXTS}", "the number of known clients (`schedule_finished`), else their ids"),
    "concurrency": Field(_NUMBER, "threads of a worker"),
    "cost": Field(_OBJECT, "exact decimals as text by currency"),
    "current_delivery_id": Field(_TEXT, "the delivery that is current now"),
    "dead": Field(_NUMBER, "jobs and messages that a worker gave up"),
    "delay_seconds": Field(_SECONDS, "time until the next attempt"),
    "delivery_id": Field(_TEXT, "the delivery"),
    "detail": Field(_TEXT, "what a check found, in words"),
    "done": Field(_NUMBER, "jobs and messages that a worker finished"),
    "drain": Field(_FLAG, "whether a worker ends when the queue is empty"),
    "duration_seconds": Field(_SECONDS, "duration of the attempt or the request"),
    "error": Field(_TEXT, "what went wrong, in one line with its advice"),
    "error_code": Field(_TEXT, "an [error code](errors.md#error-codes)"),
    "exception": Field(_OBJECTS, "the traceback"),
    "fields": Field(_TEXTS, "names of a client's fields that changed"),
    "figure": Field(_TEXT, "the kind of figure: `money`, `percent`, a chart"),
    "files": Field(_NUMBER, "number of files that are not bills"),
    "folder": Field(_TEXT, "a folder in the spool"),
    "host": Field(_TEXT, "the server's host; of a rejected request the host that it names"),
    "hours": Field(_NUMBER, "the client's refresh interval"),
    "instead": Field(_TEXT, "the delivery that was ingested because it is now at the requested key"),
    "job_id": Field(_NUMBER, "the job in `billfold jobs`"),
    "key": Field(_TEXT, "the key of an object"),
    "keys": Field(_TEXTS, "the first keys"),
    "kinds": Field(_OBJECT, "number of files of each kind"),
    "last_delivered_at": Field(_TEXT, "AWS's time of the newest delivery that did not fail, ISO 8601"),
    "late_since": Field(_TEXT, "when the client became late, ISO 8601"),
    "manifest": Field(_TEXT, "the key of a manifest"),
    "mapping_version": Field(_NUMBER, "the version of the rules that mapped the charges"),
    "meant": Field(_TEXT, "the setting whose name is most similar"),
    "message_id": Field(_TEXT, "SQS's id of the message"),
    "method": Field(_TEXT, "method of the request"),
    "name": Field(_TEXT, "name of the check, the token or the variable"),
    "names": Field(f"{_TEXT}, or {_TEXTS}", "the bucket that a manifest names; names of attributes"),
    "oldest_seconds": Field(_SECONDS, "how long the oldest job has been in the queue"),
    "origin": Field(_TEXT, "the page's origin; empty if only Sec-Fetch-Site names it"),
    "path": Field(_TEXT, "a file's path, or a request's route without its query, which may contain a token"),
    "port": Field(_NUMBER, "the server's port"),
    "prefix": Field(_TEXT, "the client's folder"),
    "queue": Field(_TEXT, "the queue's URL"),
    "reason": Field(_TEXT, "why, in words"),
    "received": Field(_NUMBER, "messages that a worker received"),
    "retryable": Field(_FLAG, "whether the same attempt can succeed later"),
    "rows": Field(_NUMBER, "what a check counts; line items of a removed client"),
    "rows_added": Field(_NUMBER, "line items"),
    "rows_read": Field(_NUMBER, "line items"),
    "rows_removed": Field(_NUMBER, "line items"),
    "rows_unchanged": Field(_NUMBER, "line items"),
    "run_id": Field(_TEXTS, "the runs of the delivery's files"),
    "running": Field(_NUMBER, "jobs that are being worked on"),
    "scopes": Field(_TEXTS, "scopes of a token"),
    "seconds": Field(_SECONDS, "time until running work is ended; time that a request or an answer may take"),
    "state": Field(_TEXT, "a delivery's state; of a visit `done` or `failed`"),
    "statement": Field(_TEXT, "the export's name and the billing period, such as `acme 2026-05`"),
    "statement_id": Field(_NUMBER, "the statement"),
    "statements": Field(f"{_NUMBER}, or {_TEXTS}", "number of statements, or two of them"),
    "status": Field(_NUMBER, "HTTP status of the answer"),
    "taken_count": Field(_NUMBER, "number of times it was started since it was requested"),
    "text": Field(_TEXT, "the finding"),
    "token_file": Field(_TEXT, "path of the home's token"),
    "token_id": Field(_NUMBER, "the token; null if there is none, or if it is the home's"),
    "unfinished": Field(_NUMBER, "jobs that were still running when the time to end was over"),
    "visible_again_in_seconds": Field(_SECONDS, "time until others see the message"),
    "visited": Field(_NUMBER, "clients whose visit ended since the last pass"),
    "visiting": Field(_NUMBER, "clients whose visit, or a delivery that it found, has not ended yet"),
    "waiting": Field(_NUMBER, "statements that are not current; jobs that wait (`jobs_counted`)"),
    "waiting_bytes": Field(_NUMBER, "bytes of an answer that wait to be read"),
}
