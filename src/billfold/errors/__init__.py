"""Every way in which Billfold can fail, as one tree.

                                    exit  HTTP
    BillfoldError                      1   500  the root of the tree
    ├── ConfigurationError             2   500  a setting is wrong or missing
    ├── UsageError                     2   400  the command names something that does not exist
    ├── UnauthorizedError              2   401  the request has no valid token
    ├── ForbiddenError                 2   403  the token does not allow this
    ├── MessageError                   4   422  a message of the queue cannot be read
    ├── RunConflictError               6   503  another worker holds the statement
    ├── ReconciliationError            7   500  rows or money do not agree with the source
    ├── DeliveryHeldError              8   409  a delivery would leave too little of its statement's bill
    ├── InterruptionError              6   503  a signal ended the command
    ├── InternalError                  1   500  a defect in Billfold
    ├── InputError                     4   422  bad input of a kind that no other code names
    │   ├── ManifestError              4   422  a manifest cannot be read
    │   ├── UnknownFormatError         4   422  the file is not an AWS billing export
    │   ├── MissingColumnError         4   422  a required column is missing
    │   ├── MalformedFileError         4   422  the file is truncated, ragged or not text
    │   └── InvalidValueError          4   422  a required value is missing or impossible
    ├── SourceError                    3   502  AWS or the file system does not return the object
    │   ├── AccessDeniedError          3   502  the role, the bucket or the key denies access
    │   ├── SourceNotFoundError        3   404  no such bucket, key, file or folder
    │   ├── SourceUnavailableError     6   503  AWS throttled the request, timed out, or closed the connection
    │   ├── TornDeliveryError          6   503  the delivery changed while it was read
    │   ├── SourceLimitError           3   413  an object exceeds a limit
    │   └── SpoolFullError             6   503  the spool's disk is full
    └── StoreError                     5   500  PostgreSQL rejects a statement
        ├── StoreUnavailableError      6   503  PostgreSQL does not answer
        ├── StoreFullError             5   500  PostgreSQL's disk or its quota is full
        ├── StoreLimitError            5   500  a limit of PostgreSQL's administrator ended a statement or a session
        ├── SchemaVersionError         5   500  database and Billfold have different versions
        └── QueryError                 5   400  the query of `billfold sql` is wrong

Exit code 6 and HTTP status 503 mean the same: the error is retryable. Each class carries its code, its advice and both
numbers. The command line, the server, the pages and docs/errors.md are made from them: no other module describes an
error. An error is raised with one line that names the place and what to do.
"""

from billfold.errors.exit_codes import PRECEDENCE, ExitCode
from billfold.errors.input import (
    InputError,
    InvalidValueError,
    MalformedFileError,
    ManifestError,
    MissingColumnError,
    UnknownFormatError,
)
from billfold.errors.root import (
    BillfoldError,
    ConfigurationError,
    DeliveryHeldError,
    ForbiddenError,
    InternalError,
    InterruptionError,
    MessageError,
    ReconciliationError,
    RunConflictError,
    UnauthorizedError,
    UsageError,
    as_internal,
)
from billfold.errors.source import (
    AccessDeniedError,
    SourceError,
    SourceLimitError,
    SourceNotFoundError,
    SourceUnavailableError,
    SpoolFullError,
    TornDeliveryError,
)
from billfold.errors.store import (
    QueryError,
    SchemaVersionError,
    StoreError,
    StoreFullError,
    StoreLimitError,
    StoreUnavailableError,
)

__all__ = [
    "PRECEDENCE",
    "AccessDeniedError",
    "BillfoldError",
    "ConfigurationError",
    "DeliveryHeldError",
    "ExitCode",
    "ForbiddenError",
    "InputError",
    "InternalError",
    "InterruptionError",
    "InvalidValueError",
    "MalformedFileError",
    "ManifestError",
    "MessageError",
    "MissingColumnError",
    "QueryError",
    "ReconciliationError",
    "RunConflictError",
    "SchemaVersionError",
    "SourceError",
    "SourceLimitError",
    "SourceNotFoundError",
    "SourceUnavailableError",
    "SpoolFullError",
    "StoreError",
    "StoreFullError",
    "StoreLimitError",
    "StoreUnavailableError",
    "TornDeliveryError",
    "UnauthorizedError",
    "UnknownFormatError",
    "UsageError",
    "advise",
    "as_internal",
    "exit_code_of",
    "is_retryable",
    "list_errors",
]


def list_errors(root: type[BillfoldError] = BillfoldError) -> list[type[BillfoldError]]:
    """Every class of the tree below `root` and itself, in the order of the drawing."""
    return [root, *(kind for child in root.__subclasses__() for kind in list_errors(child))]


def advise(error_code: str | None) -> str:
    """What to do about an error with this code; an empty text for none."""
    if not error_code:
        return ""
    advice = {kind.error_code: kind.general_advice for kind in list_errors()}
    return advice.get(error_code, "Read the message. Another version of Billfold recorded this error code.")


def exit_code_of(error_code: str) -> ExitCode:
    """The exit code of a command that met an error with this code."""
    codes = {kind.error_code: kind.exit_code for kind in list_errors()}
    return codes.get(error_code, ExitCode.INTERNAL)


def is_retryable(error_code: str | None) -> bool:
    """Whether the same attempt can succeed later; false for a code that this version does not know."""
    return any(kind.retryable for kind in list_errors() if kind.error_code == error_code)
