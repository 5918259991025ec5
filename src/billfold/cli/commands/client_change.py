"""The command `billfold client change`: what can change about a registered client."""

from __future__ import annotations

from billfold.cli.application import start
from billfold.cli.commands.client import ClientId, client_app
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
from billfold.cli.exits import ExitCode
from billfold.cli.options import Json
from billfold.cli.output.screen import Screen, printable
from billfold.cli.output.streams import write_document
from billfold.documents import describe_client, dump
from billfold.log import Event


@client_app.command(
    "change",
    epilog=(
        "Examples:\n\n"
        "- `billfold client change acme --region eu-west-1 --refresh-hours 48`\n\n"
        "- `billfold client change acme --kms-key-arn ''` removes the key."
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
    """Change a registered client. What you leave out stays; bucket, folder and account cannot change.

    Another role or key may need a new onboarding template.
    """
    fields = pick_fields(locals())
    changed = start((Event.CLIENT_CHANGED,)).clients.change(client, **fields)
    if as_json:
        write_document(dump({"clients": [describe_client(changed)]}))
    else:
        Screen().print(printable(f"{client}: changed; `billfold client show {client}` shows it"))
    return ExitCode.SUCCESS
