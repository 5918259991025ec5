"""The commands of `billfold owner`: who owns which account."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from billfold.cli.application import make_group, start
from billfold.cli.exits import ExitCode
from billfold.cli.options import Csv, Json, OneClient
from billfold.cli.output.columns import name_column, number_column
from billfold.cli.output.csv_output import refuse_both, write_csv
from billfold.cli.output.grid import add_row, make_table, print_table, show_instant, show_money
from billfold.cli.output.screen import Screen, printable
from billfold.cli.output.streams import write_document
from billfold.documents import dump, report_document, shortest
from billfold.errors import AccessDeniedError, SourceError, SourceLimitError, SourceNotFoundError
from billfold.selection import check_texts

if TYPE_CHECKING:
    from billfold.reports.owners import OwnerRow, UnownedRow
    from billfold.store.clients.owners import OwnersWritten

# More than a hundred times the accounts of the largest organisations.
MAX_FILE_BYTES = 64 * 2**20

owner_app = make_group("owner", "Manage the owners of accounts, for `billfold costs --by owner`.")

AccountId = Annotated[str, typer.Argument(metavar="ACCOUNT", help="An AWS account's id: 12 digits.")]
TheClient = Annotated[
    str | None, typer.Option("--client", metavar="ID", help="Act as this client; BILLFOLD_CLIENT by default.")
]


@owner_app.command(
    "set",
    epilog=(
        'Examples: `billfold owner set 444455556666 "Team Payments"` ·'
        " `billfold owner set 444455556666 payments --name payments-prod`"
    ),
)
def set_owner(
    account: AccountId,
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="A team, a person, a cost centre.")],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Your name for the account; `''` removes it. Default: unchanged."),
    ] = None,
    client: TheClient = None,
) -> int:
    """Set an account's owner; costs show it at once, also those of earlier months.

    The account does not need to have costs yet.
    """
    written = start().owners.set(account, owner, name=name, client=client)
    state = "as before" if written.unchanged_count else "set"
    Screen().print(printable(f"{account}: {owner.strip()} ({state})"))
    return ExitCode.SUCCESS


@owner_app.command(
    "list",
    epilog=(
        "Examples: `billfold owner list` · `billfold owner list --missing` ·"
        " `billfold owner list --client acme --csv > owners.csv`, which `billfold owner import` reads"
    ),
)
def list_owners(
    client: OneClient = None,
    missing: Annotated[
        bool,
        typer.Option(
            "--missing", help="Only accounts that have costs and no owner, with their cost of the latest month."
        ),
    ] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> int:
    """List the accounts with their owners, or the accounts without one.

    With `--missing` the cost is the billed cost of the latest month in which the account has any.
    """
    refuse_both(as_json, as_csv)
    check_texts("--client", [client or ""])
    owners = start().owners
    if missing:
        _write_unowned(owners.list_missing(client), as_json=as_json, as_csv=as_csv)
    else:
        _write_owners(owners.list(client), as_json=as_json, as_csv=as_csv)
    return ExitCode.SUCCESS


@owner_app.command(
    "import",
    epilog=(
        "Examples: `billfold owner import owners.csv` · `billfold owner import --replace - < owners.csv`\n\n"
        "Exit codes: 0 done; 3 no such file; 4 a line is wrong: nothing was written."
    ),
)
def import_owners(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="CSV in UTF-8 with the header `account_id,owner` or `account_id,owner,account_name`; `-`: standard"
            " input.",
        ),
    ],
    client: TheClient = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Accounts of the client that the file does not list lose their owner.")
    ] = False,
) -> int:
    """Set the owners that a CSV file lists: all of them, or none if a line is wrong.

    Other accounts keep theirs. Importing the same file again changes nothing. Without the column account_name, names
    stay.
    """
    billfold = start()
    written = billfold.owners.import_csv(
        _read(file),
        file="standard input" if file == "-" else printable(file),
        replace=replace,
        client=client,
    )
    Screen().print(printable(f"{client or billfold.settings.client}: {_spell(written)}"))
    return ExitCode.SUCCESS


@owner_app.command("remove", epilog="Example: `billfold owner remove 444455556666`")
def remove_owner(account: AccountId, client: TheClient = None) -> int:
    """Remove an account's owner: its costs then have none."""
    owner = start().owners.remove(account, client=client)
    Screen().print(printable(f"{account}: no longer has an owner (was {owner})"))
    return ExitCode.SUCCESS


def _read(file: str) -> bytes:
    """The file's bytes; raises SourceError where it cannot be read, or is larger than any list of accounts."""
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"there is no file {file}") from error
    except PermissionError as error:
        raise AccessDeniedError(f"{file} may not be read") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise SourceLimitError(f"{file} is larger than {MAX_FILE_BYTES} bytes: that is not a list of accounts")
    return content


def _spell(written: OwnersWritten) -> str:
    return (
        f"{written.added_count:,} added, {written.changed_count:,} changed, {written.unchanged_count:,} unchanged,"
        f" {written.removed_count:,} removed"
    )


def _write_owners(rows: Sequence[OwnerRow], *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        write_document(dump(report_document("owners", rows)))
    elif as_csv:
        lines = ((row.account_id, row.owner, row.account_name or "", row.client_id) for row in rows)
        write_csv(["account_id", "owner", "account_name", "client"], lines)
    else:
        show_owners(Screen(), rows)


def _write_unowned(rows: Sequence[UnownedRow], *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        write_document(dump(report_document("accounts", rows)))
    elif as_csv:
        lines = (
            (row.account_id, row.account_name or "", row.client_id, row.billing_period, row.currency, money)
            for row, money in ((row, shortest(row.cost)) for row in rows)
        )
        write_csv(["account_id", "account_name", "client", "billing_period", "currency", "cost"], lines)
    else:
        show_unowned(Screen(), rows)


def show_owners(console: Console, rows: Sequence[OwnerRow]) -> None:
    """The accounts with their owners."""
    table = make_table(
        name_column("Client"),
        name_column("Account"),
        name_column("Owner"),
        name_column("Name"),
        name_column("Updated (UTC)", spare=1),
    )
    for row in rows:
        add_row(table, row.client_id, row.account_id, row.owner, row.account_name, show_instant(row.updated_at))
    print_table(console, table, nothing="no owners")


def show_unowned(console: Console, rows: Sequence[UnownedRow]) -> None:
    """The accounts without an owner, and what they cost."""
    table = make_table(
        name_column("Client"),
        name_column("Account"),
        name_column("Name"),
        name_column("Period"),
        name_column("Currency"),
        number_column("Billed"),
    )
    for row in rows:
        money = show_money(row.cost, row.currency)
        add_row(table, row.client_id, row.account_id or "-", row.account_name, row.billing_period, row.currency, money)
    print_table(console, table, nothing="every account with costs has an owner")
