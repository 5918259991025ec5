"""The exit code of a command: one number for each kind of failure."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Scripts rely on these numbers. `meaning` is for the help, `more` is what the documents add to it."""

    meaning: str
    more: str

    def __new__(cls, value: int, meaning: str = "", more: str = "") -> ExitCode:
        """A member with its explanation."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.more = more
        return member

    SUCCESS = (
        0,
        "done",
        "For `ingest` and `backfill`: every delivery is published, skipped, superseded, rolled back earlier, or left"
        " pending by `--since`.",
    )
    INTERNAL = 1, "a defect in Billfold: its traceback is in the log"
    USAGE = 2, "the command line or a setting is wrong"
    SOURCE = 3, "the source does not exist, denies access or is too large"
    INPUT = 4, "the input is not a complete bill"
    STORE = 5, "PostgreSQL rejects a statement or a connection"
    TRY_AGAIN = 6, "the same command can succeed later"
    RECONCILIATION = (
        7,
        "rows or money do not agree: nothing was published",
        "For `verify`: a published bill is wrong. For `validate`: a must-rule of FOCUS is broken.",
    )
    HELD = 8, "a delivery is held and waits for `billfold release`"
    HUNG_UP = 129, "ended by SIGHUP: the terminal was closed"
    INTERRUPTED = 130, "ended by SIGINT: Ctrl-C"
    TERMINATED = 143, "ended by SIGTERM"


# If several failures occur, the first of these decides: the one that needs a person most. Trying again helps only if
# it helps all of them.
PRECEDENCE = (
    ExitCode.INTERNAL,
    ExitCode.RECONCILIATION,
    ExitCode.STORE,
    ExitCode.USAGE,
    ExitCode.INPUT,
    ExitCode.SOURCE,
    ExitCode.HELD,
    ExitCode.TRY_AGAIN,
)
