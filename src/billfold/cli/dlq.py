"""The commands of `billfold dlq`: the messages that could not be dealt with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from billfold.cli.application import app, start
from billfold.cli.documents import dump
from billfold.cli.exits import ExitCode
from billfold.cli.grid import add_row, make_table, print_table, show_instant
from billfold.cli.options import Json
from billfold.cli.screen import Screen, printable, write_document
from billfold.config import require
from billfold.errors import UsageError

if TYPE_CHECKING:
    from billfold.dead_letters import DeadLetter, Queues

_DEFAULT_LIMIT = 1000
_MAX_LIMIT = 100_000
_SHOWN_CHARACTERS = 120

dlq_app = typer.Typer(
    rich_markup_mode="markdown", context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True
)
app.add_typer(dlq_app, name="dlq", help="Look at the messages that could not be dealt with, and send them once more.")

QueueUrl = Annotated[
    str | None,
    typer.Option("--queue-url", metavar="URL", help="The queue of the worker; BILLFOLD_QUEUE_URL by default."),
]
HowMany = Annotated[
    int,
    typer.Option("--limit", metavar="N", min=1, max=_MAX_LIMIT, help="Look at so many messages of the queue at most."),
]


@dlq_app.command("list", epilog="Examples: `billfold dlq list` · `billfold dlq list --json --limit 50`")
def list_letters(queue_url: QueueUrl = None, limit: HowMany = _DEFAULT_LIMIT, as_json: Json = False) -> int:
    """List the dead letters, the oldest first, each with its reason and what it is about.

    A message without a reason was received too often, and no worker lived to say why. To look at them means to receive
    them: for a few seconds another listing does not see them.
    """
    queues = _open(queue_url)
    from billfold.dead_letters import list_dead_letters

    letters = list_dead_letters(queues, limit=limit)
    if as_json:
        write_document(dump({"messages": [_document(letter) for letter in letters]}))
    else:
        _show_letters(Screen(), letters)
    return ExitCode.SUCCESS


@dlq_app.command("show", epilog="Example: `billfold dlq show 3f2b1c9e-8d41-4f0e-9a53-0c1d2e3f4a5b`")
def show_letter(
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="A message's id, as `billfold dlq list` shows it.")],
    queue_url: QueueUrl = None,
    limit: HowMany = _DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """Show one dead letter with its whole reason, attributes and body."""
    queues = _open(queue_url)
    from billfold.dead_letters import find_dead_letter

    letter = find_dead_letter(queues, message, limit=limit)
    document = {**_document(letter), "attributes": dict(letter.attributes), "body": letter.body}
    if as_json:
        write_document(dump({"messages": [document]}))
    else:
        screen = Screen()
        for name, value in (_document(letter) | {"sent_at": show_instant(letter.sent_at)}).items():
            screen.print(printable(f"{name:<12} {'-' if value in (None, '') else value}"))
        for name, value in letter.attributes.items():
            screen.print(printable(f"attribute {name}: {value}"))
        screen.print(printable(f"\n{letter.body}"))
    return ExitCode.SUCCESS


@dlq_app.command(
    "redrive",
    epilog=(
        "Examples: `billfold dlq redrive 3f2b1c9e-8d41-4f0e-9a53-0c1d2e3f4a5b` · `billfold dlq redrive --all`\n\n"
        "Exit codes: 0 done; 2 a named message is not there, the others were sent."
    ),
)
def redrive_letters(
    messages: Annotated[
        list[str] | None, typer.Argument(metavar="MESSAGE", help="The ids of the messages; none with `--all`.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters that are there now.")] = False,
    queue_url: QueueUrl = None,
    limit: HowMany = _DEFAULT_LIMIT,
    as_json: Json = False,
) -> int:
    """Send dead letters to the worker's queue once more, after what was wrong with them is mended.

    Each is sent before it is deleted: a crash in between leaves a duplicate, which changes nothing.
    """
    if bool(messages) == everything:
        raise UsageError("name the messages, or give --all", advice="`billfold dlq list` lists them")
    queues = _open(queue_url)
    from billfold.dead_letters import redrive

    redriven = redrive(queues, None if everything else messages, limit=limit)
    if as_json:
        document: dict[str, Any] = {"messages": [_document(letter) for letter in redriven.sent]}
        if redriven.missing_ids:
            document["error"] = {"code": UsageError.error_code, "message": _missing(redriven.missing_ids)}
        write_document(dump(document))
    else:
        screen = Screen()
        for letter in redriven.sent:
            screen.print(printable(f"{letter.message_id}: sent once more"))
        if not redriven.sent:
            screen.print("nothing was sent", style="dim")
    if redriven.missing_ids:
        if as_json:
            return ExitCode.USAGE
        raise UsageError(_missing(redriven.missing_ids), advice="`billfold dlq list` lists them")
    return ExitCode.SUCCESS


def _open(queue_url: str | None) -> Queues:
    settings = start(("message_redriven",))
    if queue_url is None:
        require(settings, "BILLFOLD_QUEUE_URL", purpose="dlq")
    url = queue_url or settings.queue_url
    assert url
    # boto3 takes a second to load: only commands that ask AWS pay for that.
    from billfold.dead_letters import open_queues

    return open_queues(url, settings)


def _missing(message_ids: Sequence[str]) -> str:
    return f"no dead letter (any more): {', '.join(message_ids)}"


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


def _show_letters(console: Console, letters: Sequence[DeadLetter]) -> None:
    table = make_table(console, "|Message", "|Sent (UTC)", "|Error", "About", "Reason")
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
