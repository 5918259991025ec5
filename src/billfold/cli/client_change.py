"""The command `billfold client change`: what may change of a client that is registered."""

from __future__ import annotations

from typing import Annotated

import typer

from billfold import clients
from billfold.cli.application import open_store, start
from billfold.cli.clients import ClientId, client_app, describe_client
from billfold.cli.documents import dump
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.screen import Screen, printable, write_document


@client_app.command(
    "change",
    epilog=(
        "Examples:\n\n"
        "- `billfold client change acme --region eu-west-1 --refresh-hours 48`\n\n"
        "- `billfold client change acme --kms-key-arn ''` takes the key away."
    ),
)
def change_client(
    client: ClientId,
    role_arn: Annotated[
        str | None,
        typer.Option("--role-arn", metavar="ARN", help="The read-only role; '' for the one of `billfold onboard`."),
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="REGION", help="The bucket's region; '' for AWS_REGION.")
    ] = None,
    kms_key: Annotated[
        str | None, typer.Option("--kms-key-arn", metavar="ARN", help="The bucket's own key; '' where it has none.")
    ] = None,
    source_identity: Annotated[
        str | None,
        typer.Option("--source-identity", metavar="NAME", help="What sessions call themselves; '' for no name."),
    ] = None,
    currency: Annotated[
        str | None,
        typer.Option("--currency", metavar="CODE", help="Of bills without a currency, from the next one on."),
    ] = None,
    max_deliveries: Annotated[
        int | None,
        typer.Option("--max-deliveries", metavar="N", help="Ingested at a time by all workers together."),
    ] = None,
    max_file_bytes: Annotated[
        str | None,
        typer.Option(
            "--max-file-bytes", metavar="N", help="The largest object fetched; '' for BILLFOLD_MAX_FILE_BYTES."
        ),
    ] = None,
    refresh_hours: Annotated[
        int | None, typer.Option("--refresh-hours", metavar="N", help="How often AWS is expected to deliver.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Change a registered client. What is not named stays; bucket, folder and account always do.

    Another role or key may need a new onboarding template.
    """
    settings = start(("client_changed",))
    changed = clients.change(
        open_store(settings),
        settings,
        client,
        {
            "role_arn": role_arn,
            "region": region,
            "kms_key_arn": kms_key,
            "source_identity": source_identity,
            "currency": currency,
            "max_deliveries": max_deliveries,
            "max_file_bytes": max_file_bytes,
            "refresh_hours": refresh_hours,
        },
    )
    if as_json:
        write_document(dump({"clients": [describe_client(changed)]}))
    else:
        Screen().print(printable(f"{client}: changed; `billfold client show {client}` tells it"))
    return ExitCode.SUCCESS
