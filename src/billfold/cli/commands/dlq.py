"""The commands of `billfold dlq`: messages that no worker could handle."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from billfold.cli.application import make_group, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.output.columns import id_column, name_column, text_column
from billfold.cli.output.grid import add_row, make_table, print_table, show_instant
from billfold.cli.output.screen import Screen, printable
from billfold.cli.output.streams import write_document
from billfold.documents import dump
from billfold.errors import UsageError
from billfold.log import Event

if TYPE_CHECKING:
    from billfold.aws.queue import Attribute
    from billfold.jobs.dead_letters import DeadLetter, Queues

_DEFAULT_LIMIT = 1000
_MAX_LIMIT = 100_000
_SHOWN_CHARACTERS = 120

dlq_app = make_group("dlq", "List the messages that no worker could handle, and send them again.")

QueueUrl = Annotated[
    str | None,
    typer.Option("--queue-url", metavar="URL", help="The queue of the worker; BILLFOLD_QUEUE_URL by default."),
]
HowMany = Annotated[
    int,
    typer.Option("--limit", metavar="N", min=1, max=_MAX_LIMIT, help="Read at most this many messages of the queue."),
]


@dlq_app.command("list", epilog="Examples: `billfold dlq list` · `billfold dlq list --json --limit 50`")
def list_letters(queue_url: QueueUrl = None, limit: HowMany = _DEFAULT_LIMIT, as_json: Json = False) -> int:
    """List the dead letters, the oldest first, each with its reason and its object; say if there are more.

    SQS itself moved a message without a reason, because it was received too often. To list messages is to receive them:
    for a few seconds another listing does not see them.
    """
    queues = _open(queue_url)
    from billfold.jobs.dead_letters import list_dead_letters

    listing = list_dead_letters(queues, limit=limit)
    if as_json:
        write_document(dump({"messages": [_document(letter) for letter in listing.letters], "more": listing.has_more}))
    else:
        screen = Screen()
        show_letters(screen, listing.letters)
        if listing.has_more:
            screen.print(_more(limit))
    return ExitCode.SUCCESS


@dlq_app.command("show", epilog="Example: `billfold dlq show 3f2b1c9e-8d41-4f0e-9a53-0c1d2e3f4a5b`")
def show_letter(
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="A message's id from `billfold dlq list`.")],
    queue_url: QueueUrl = None,
    limit: HowMany = _DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """Show one dead letter with its reason, attributes and body."""
    queues = _open(queue_url)
    from billfold.jobs.dead_letters import find_dead_letter

    letter = find_dead_letter(queues, message, limit=limit)
    if as_json:
        attributes = {name: _spell(attribute) for name, attribute in letter.attributes.items()}
        binary = sorted(name for name, attribute in letter.attributes.items() if isinstance(attribute.value, bytes))
        document = {
            **_document(letter),
            "attributes": attributes,
            # Those whose text is Base64.
            "binary_attributes": binary,
            "body": letter.body,
        }
        write_document(dump({"messages": [document]}))
    else:
        screen = Screen()
        for name, value in (_document(letter) | {"sent_at": show_instant(letter.sent_at)}).items():
            screen.print(printable(f"{name:<12} {'-' if value in (None, '') else value}"))
        for name, attribute in letter.attributes.items():
            size = f"{len(attribute.value)} bytes, in Base64 " if isinstance(attribute.value, bytes) else ""
            screen.print(printable(f"attribute {name}: {size}{_spell(attribute)}"))
        screen.print(printable(f"\n{letter.body}"))
    return ExitCode.SUCCESS


@dlq_app.command(
    "redrive",
    epilog=(
        "Examples: `billfold dlq redrive 3f2b1c9e-8d41-4f0e-9a53-0c1d2e3f4a5b` · `billfold dlq redrive --all`\n\n"
        "Exit codes: 0 done; 2 a message does not exist, the others were sent."
    ),
)
def redrive_letters(
    messages: Annotated[
        list[str] | None, typer.Argument(metavar="MESSAGE", help="The ids of the messages; none with `--all`.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All dead letters, until only those are left that failed again meanwhile.")
    ] = False,
    queue_url: QueueUrl = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            max=_MAX_LIMIT,
            help=f"Read at most this many messages of the queue: {_DEFAULT_LIMIT} by default, with --all no limit.",
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Send dead letters to the worker's queue again, once their cause is fixed.

    Each is sent before it is deleted: a crash in between leaves a duplicate, which changes nothing.
    """
    if bool(messages) == everything:
        raise UsageError("name the messages, or give --all", advice="`billfold dlq list` lists them")
    if not everything:
        limit = limit or _DEFAULT_LIMIT
    queues = _open(queue_url)
    from billfold.jobs.dead_letters import missing_error, redrive

    screen = Screen()
    sent: list[dict[str, Any]] = []

    def note(letter: DeadLetter) -> None:
        if as_json:
            sent.append(_document(letter))
        else:
            screen.print(printable(f"{letter.message_id}: sent again"))

    redriven = redrive(queues, None if everything else messages, limit=limit, on_sent=note)
    missing = missing_error(redriven.missing_ids, limit if redriven.has_more else None)
    if as_json:
        document: dict[str, Any] = {"messages": sent, "more": redriven.has_more}
        if redriven.missing_ids:
            document["error"] = {"code": missing.error_code, "message": str(missing)}
        write_document(dump(document))
        return ExitCode.USAGE if redriven.missing_ids else ExitCode.SUCCESS
    if not redriven.sent_count:
        screen.print("nothing was sent", style="dim")
    if redriven.missing_ids:
        raise missing
    if redriven.has_more:
        screen.print(_more(limit))
    return ExitCode.SUCCESS


def _open(queue_url: str | None) -> Queues:
    settings = start((Event.MESSAGE_REDRIVEN,)).settings
    from billfold.jobs.dead_letters import open_queues
    from billfold.jobs.queue_url import choose_queue_url

    return open_queues(choose_queue_url(settings, queue_url, purpose="dlq"), settings)


def _more(limit: int | None) -> str:
    assert limit is not None, "without a limit everything is read"
    return f"read {limit:,} messages, and the queue has more: raise --limit"


def _spell(attribute: Attribute) -> str:
    value = attribute.value
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _document(letter: DeadLetter) -> dict[str, Any]:
    return {
        "message_id": letter.message_id,
        "sent_at": letter.sent_at,
        "reason": letter.reason,
        "error_code": letter.error_code,
        "client": letter.client,
        "bucket": letter.bucket,
        "key": letter.key,
        "object_count": letter.object_count,
    }


def show_letters(console: Console, letters: Sequence[DeadLetter]) -> None:
    """The dead letters, their reasons cut to one line or two: `dlq show` has all of it."""
    table = make_table(
        id_column("Message"),
        name_column("Sent (UTC)"),
        name_column("Error"),
        name_column("About"),
        text_column("Reason"),
    )
    for letter in letters:
        reason = letter.reason or "received too often"
        cut = f"{reason[:_SHOWN_CHARACTERS]}…" if len(reason) > _SHOWN_CHARACTERS else reason
        add_row(table, letter.message_id, show_instant(letter.sent_at), letter.error_code, _about(letter), cut)
    print_table(console, table, nothing="no dead letters")


def _about(letter: DeadLetter) -> str | None:
    if letter.key is None:
        return letter.client
    owner = f"s3://{letter.bucket}/" if letter.bucket else f"{letter.client}: " if letter.client else ""
    more = f" (+{letter.object_count - 1})" if letter.object_count > 1 else ""
    return f"{owner}{letter.key}{more}"
