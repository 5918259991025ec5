"""The command `billfold client change`: what may change of a client that is registered."""

from __future__ import annotations

from billfold.cli.application import open_store, start
from billfold.cli.commands.client_options import (
    Currency,
    KmsKeyArn,
    MaxDeliveries,
    MaxFileBytes,
    RefreshHours,
    Region,
    RoleArn,
    SourceIdentity,
    pick_fields,
)
from billfold.cli.commands.clients import ClientId, client_app
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.output.screen import Screen, printable, write_document
from billfold.clients import registry as clients
from billfold.documents import describe_client, dump
from billfold.log import Event


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
    """Change a registered client. What is not named stays; bucket, folder and account always do.

    Another role or key may need a new onboarding template.
    """
    fields = pick_fields(locals())
    settings = start((Event.CLIENT_CHANGED,))
    changed = clients.change(open_store(settings), settings, client, fields)
    if as_json:
        write_document(dump({"clients": [describe_client(changed)]}))
    else:
        Screen().print(printable(f"{client}: changed; `billfold client show {client}` tells it"))
    return ExitCode.SUCCESS
