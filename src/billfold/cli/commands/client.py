"""The commands of `billfold client`: whose bills are ingested, and from where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from billfold.cli.application import make_group, start
from billfold.cli.commands.client_options import (
    AccountId,
    Bucket,
    Currency,
    KmsKeyArn,
    MaxDeliveries,
    MaxFileBytes,
    Prefix,
    RefreshHours,
    Region,
    RoleArn,
    SourceIdentity,
    pick_fields,
)
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.output.columns import name_column
from billfold.cli.output.grid import add_row, make_table, print_table, show_instant
from billfold.cli.output.screen import Screen, printable
from billfold.cli.output.streams import write_document
from billfold.documents import client_document, describe_client, dump
from billfold.log import Event
from billfold.model import Client

if TYPE_CHECKING:
    from billfold.reports.freshness import ClientFreshness

client_app = make_group("client", "Manage the clients whose bills are ingested.")

ClientId = Annotated[str, typer.Argument(metavar="ID", help="The client's id.")]


@client_app.command(
    "add",
    epilog=(
        "Examples:\n\n"
        "- `billfold client add acme --bucket acme-billing --prefix exports/ --account-id 111122223333"
        " --region eu-central-1`\n\n"
        "- `billfold onboard --client acme > acme.json` then prints the template that the client deploys."
    ),
)
def add_client(
    client: ClientId,
    bucket: Bucket,
    account_id: AccountId,
    prefix: Prefix = "",
    role_arn: RoleArn = None,
    region: Region = None,
    kms_key_arn: KmsKeyArn = None,
    source_identity: SourceIdentity = None,
    currency: Currency = None,
    max_deliveries: MaxDeliveries = None,
    max_file_bytes: MaxFileBytes = None,
    refresh_hours: RefreshHours = None,
    as_json: Json = False,
) -> int:
    """Register a client with a new random external id, which only its onboarding template contains.

    A folder of a bucket belongs to one client: a folder that overlaps with another client's is rejected.
    """
    fields: dict[str, Any] = pick_fields(locals())
    clients = start((Event.CLIENT_REGISTERED,)).clients
    registered = clients.add(client, bucket=bucket, account_id=account_id, prefix=prefix, **fields)
    if as_json:
        write_document(dump({"clients": [describe_client(registered)]}))
    else:
        screen = Screen()
        screen.print(printable(f"{client}: s3://{registered.bucket}/{registered.prefix} as {registered.role_arn}"))
        screen.print(printable(f"Next: billfold onboard --client {client}"))
    return ExitCode.SUCCESS


@client_app.command("list", epilog="Examples: `billfold client list` · `billfold client list --json`")
def list_clients(as_json: Json = False) -> int:
    """List the clients: the registered ones, and those that earlier settings described."""
    clients = start().clients
    rows = clients.list()
    fresh = {row.client_id: row for row in clients.freshness()}
    if as_json:
        write_document(dump({"clients": [client_document(row, fresh.get(row.client_id)) for row in rows]}))
    else:
        show_clients(Screen(), rows, fresh)
    return ExitCode.SUCCESS


@client_app.command("show", epilog="Example: `billfold client show acme`")
def show_client(client: ClientId, as_json: Json = False) -> int:
    """Show one client with its whole configuration except the external id."""
    clients = start().clients
    row = clients.find(client)
    [fresh] = clients.freshness(client) or [None]
    document = client_document(row, fresh)
    if as_json:
        write_document(dump({"clients": [document]}))
    else:
        screen = Screen()
        for name, value in document.items():
            text = show_instant(value) if isinstance(value, datetime) else value
            screen.print(printable(f"{name:<17} {'-' if text in (None, '') else text}"))
    return ExitCode.SUCCESS


@client_app.command("enable", epilog="Example: `billfold client enable acme`")
def enable_client(client: ClientId) -> int:
    """Ingest the client's bills again."""
    start((Event.CLIENT_ENABLED,)).clients.enable(client)
    Screen().print(printable(f"{client}: enabled"))
    return ExitCode.SUCCESS


@client_app.command("disable", epilog="Example: `billfold client disable acme`")
def disable_client(client: ClientId) -> int:
    """Stop ingesting the client's bills; the published ones stay, and its costs are shown as before."""
    start((Event.CLIENT_DISABLED,)).clients.disable(client)
    Screen().print(printable(f"{client}: disabled"))
    return ExitCode.SUCCESS


@client_app.command("remove", epilog="Examples: `billfold client remove acme` · `billfold client remove acme --purge`")
def remove_client(
    client: ClientId,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete its bills, its history and its owners too. This cannot be undone.")
    ] = False,
) -> int:
    """Remove a client. One with bills or owners is removed only with `--purge`, which deletes them all."""
    holdings = start((Event.CLIENT_REMOVED,)).clients.remove(client, purge=purge)
    Screen().print(
        printable(
            f"{client}: removed, with {holdings.statement_count:,} statements of {holdings.row_count:,} line items"
        )
    )
    return ExitCode.SUCCESS


def show_clients(console: Console, rows: Sequence[Client], fresh: Mapping[str, ClientFreshness]) -> None:
    """The clients with where their bills lie, and who is late."""
    table = make_table(
        name_column("Client"),
        name_column("Bucket and folder"),
        name_column("Account", spare=1),
        name_column("Role", spare=2),
        name_column("State"),
        name_column("Late since (UTC)"),
    )
    for row in rows:
        place = f"s3://{row.bucket}/{row.prefix}" if row.bucket else None
        state = "from settings" if not row.is_registered else "enabled" if row.enabled else "disabled"
        late_since = fresh[row.client_id].late_since if row.client_id in fresh else None
        add_row(table, row.client_id, place, row.account_id, row.role_arn, state, show_instant(late_since))
    print_table(console, table, nothing="no clients")
