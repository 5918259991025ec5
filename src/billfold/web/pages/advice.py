"""What to do about a failure, by its error code: one or two sentences for whoever looks at a failed delivery."""

from __future__ import annotations

from collections.abc import Mapping

from billfold import errors

# Codes of the tree in `errors.py`.
ADVICE: Mapping[str, str] = {
    "billfold_error": "Read the message. If it does not say what to do, report it with the delivery's id.",
    "configuration": "A setting is wrong or missing: correct what the message names, then ingest again.",
    "usage": "Something was asked for that does not exist, or belongs to another client: correct the command.",
    "unauthorized": "The server knows no such token: make one with `billfold token add`.",
    "forbidden": "The token lacks the scope, or is for another client: make one that has it with `billfold token add`.",
    "message": "Look at the message in the dead-letter queue (`billfold dlq list`): it may come from somebody else.",
    "source": "AWS does not give the object. Read the message; an archived object has to be restored first.",
    "access_denied": (
        "The role, the bucket or the key refuses us. Let doctor examine the client: it names the right that is missing."
    ),
    "source_not_found": "There is no such bucket, key or folder. Check the spelling and its case.",
    "source_unavailable": "AWS was slow or could not be reached. It comes in when it is tried again.",
    "torn_delivery": "AWS was writing the next delivery meanwhile. Wait for its manifest: that one will come in.",
    "source_limit": "A file is larger than a limit allows. Raise it if that is meant: the message names it.",
    "spool_full": "The disk of the spool had no room. Free some space, or set BILLFOLD_SPOOL to a larger disk.",
    "input": "The file cannot be a complete bill. Read the message, and wait for the next delivery.",
    "manifest": "The manifest cannot be read, or names files that are not there. Wait for the next delivery.",
    "unknown_format": "The file is no billing export of AWS. Check which export writes to this folder.",
    "missing_column": "The export lacks a column that money or identity depends on. Choose it in the export.",
    "malformed_file": "The file is cut off or damaged. Wait for the next delivery, which AWS writes anew.",
    "invalid_value": "A value that counts cannot be what it stands for. Wait for the next delivery.",
    "store": "PostgreSQL refused a statement. Read the message and the server's log, and check DATABASE_URL.",
    "store_unavailable": "PostgreSQL did not answer. Check the server; the delivery comes in when it is tried again.",
    "store_full": "PostgreSQL's disk is full. Free or add space there, then ingest this delivery again.",
    "store_limit": "A limit of PostgreSQL's ended it, such as statement_timeout. Raise the one that the message names.",
    "schema_version": "Database and Billfold do not fit together: run `billfold migrate`, or upgrade Billfold.",
    "query": "The query of `billfold sql` is wrong or too slow: correct it, or raise the limit.",
    "run_conflict": "Another worker was at the same statement. Try again when it has finished.",
    "reconciliation": (
        "Rows or money do not agree with the source, so nothing was published. Report it with the delivery's id."
    ),
    "held": (
        "It would leave too little of the bill, so the old one stands. Look at the export, then wait for the next"
        " delivery, or release this one."
    ),
    "internal": "A defect of Billfold's. Report it with the traceback from the log and the delivery's id.",
    "interrupted": "A signal ended its command, or its worker died. Ingest it again, unless a newer delivery is in.",
}
_UNKNOWN = "Read the message. The code is from another version of Billfold than this one."


def advise(error_code: str | None) -> str:
    """What to do about a failure with this code; nothing where there is none."""
    return ADVICE.get(error_code, _UNKNOWN) if error_code else ""


def is_retryable(error_code: str | None) -> bool:
    """Whether the same attempt can succeed later."""
    return any(kind.retryable for kind in list_errors() if kind.error_code == error_code)


def list_errors(root: type[errors.BillfoldError] = errors.BillfoldError) -> list[type[errors.BillfoldError]]:
    """Every class of the tree."""
    return [root, *(kind for child in root.__subclasses__() for kind in list_errors(child))]
