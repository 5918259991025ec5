"""The commands of `billfold token`: who may use the server, and for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from billfold.cli.application import make_group, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.output.columns import name_column, number_column
from billfold.cli.output.grid import add_row, make_table, print_table, show_instant
from billfold.cli.output.screen import Screen, printable
from billfold.cli.output.streams import write_document
from billfold.documents import dump
from billfold.log import Event
from billfold.model import Scope

if TYPE_CHECKING:
    from billfold.store.clients.tokens import Token

token_app = make_group("token", "Manage the tokens of the API and the dashboard.")

_MAX_EXPIRES_DAYS = 3650


@token_app.command(
    "add",
    epilog=(
        "Examples:\n\n"
        "- `billfold token add finops --scope read` (all clients, until it is revoked)\n\n"
        "- `billfold token add acme-pipeline --scope read --scope ingest --client acme --expires-days 90`"
    ),
)
def add_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The token's name in lists and logs.")],
    scopes: Annotated[
        list[Scope],
        typer.Option("--scope", help="What it allows: to read, to request ingestions, or everything. Repeatable."),
    ],
    client: Annotated[
        str | None, typer.Option("--client", metavar="ID", help="Only this client; all of them by default.")
    ] = None,
    expires_days: Annotated[
        int | None,
        typer.Option(
            "--expires-days",
            metavar="N",
            min=1,
            max=_MAX_EXPIRES_DAYS,
            help="It expires after this many days; never by default.",
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Make a token and print it once: only its hash is stored.

    Programs send it as `Authorization: Bearer …`, people sign in to the dashboard with it. `billfold serve` answers
    nothing without a token; the user who owns BILLFOLD_HOME has one there, for this machine only.
    """
    made = start((Event.TOKEN_MADE,)).tokens.add(name, scopes, client=client, expires_days=expires_days)
    if as_json:
        write_document(dump({"tokens": [_document(made.token) | {"token": made.secret}]}))
    else:
        # Only the token goes to standard output: a pipe takes nothing else along.
        Screen(stderr=True).print(printable(f"{name}: token {made.token.token_id}, shown this once:"))
        Screen().print(made.secret)
    return ExitCode.SUCCESS


@token_app.command("list", epilog="Examples: `billfold token list` · `billfold token list --json`")
def list_tokens(as_json: Json = False) -> int:
    """List all tokens, revoked and expired ones too: what each allows, its state, and when it was last used."""
    rows = start().tokens.list()
    if as_json:
        write_document(dump({"tokens": [_document(row) for row in rows]}))
    else:
        show_tokens(Screen(), rows)
    return ExitCode.SUCCESS


@token_app.command("revoke", epilog="Examples: `billfold token revoke acme-pipeline` · `billfold token revoke 3`")
def revoke_token(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id or its name, from `billfold token list`.")],
    as_json: Json = False,
) -> int:
    """Revoke a token: within two seconds no server accepts it. This cannot be undone."""
    revoked = start((Event.TOKEN_REVOKED,)).tokens.revoke(token)
    if as_json:
        write_document(dump({"tokens": [_document(revoked)]}))
    else:
        Screen().print(printable(f"{revoked.name}: token {revoked.token_id} is revoked"))
    return ExitCode.SUCCESS


def _document(token: Token) -> dict[str, Any]:
    return {
        "token_id": token.token_id,
        "name": token.name,
        "scopes": list(token.scopes),
        "client": token.client_id,
        "state": _state(token),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
    }


def _state(token: Token) -> str:
    return "revoked" if token.revoked_at else "expired" if token.is_expired else "in force"


def show_tokens(console: Console, rows: Sequence[Token]) -> None:
    """The tokens, without their secrets."""
    table = make_table(
        number_column("Id"),
        name_column("Name"),
        name_column("Scopes"),
        name_column("Client"),
        name_column("State"),
        name_column("Made (UTC)", spare=2),
        name_column("Expires (UTC)"),
        name_column("Last used (UTC)", spare=1),
    )
    for row in rows:
        add_row(
            table,
            str(row.token_id),
            row.name,
            ", ".join(row.scopes),
            row.client_id or "all",
            _state(row),
            show_instant(row.created_at),
            show_instant(row.expires_at),
            show_instant(row.last_used_at),
        )
    print_table(console, table, nothing="no tokens")
