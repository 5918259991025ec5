"""What is told of a client by the options of `billfold client add` and `billfold client change`.

An option that is not given leaves a field to its default, or as it is; '' takes an optional one away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from billfold.clients import registry as clients

RoleArn = Annotated[
    str | None,
    typer.Option(
        "--role-arn", metavar="ARN", help="The read-only role; by default, and with '', the one of `billfold onboard`."
    ),
]
Region = Annotated[
    str | None,
    typer.Option("--region", metavar="REGION", help="The bucket's region; by default, and with '', AWS_REGION."),
]
KmsKeyArn = Annotated[
    str | None,
    typer.Option(
        "--kms-key-arn", metavar="ARN", help="The bucket's own key, no other is used; '' where it has none any more."
    ),
]
SourceIdentity = Annotated[
    str | None,
    typer.Option(
        "--source-identity", metavar="NAME", help="What sessions call themselves in CloudTrail; '' for no name."
    ),
]
Currency = Annotated[
    str | None,
    typer.Option(
        "--currency",
        metavar="CODE",
        help="Of bills without a currency, from the next one on; a new client has BILLFOLD_CURRENCY by default.",
    ),
]
MaxDeliveries = Annotated[
    int | None,
    typer.Option(
        "--max-deliveries",
        metavar="N",
        help="Ingested at a time by all workers together; a new client has 2 by default.",
    ),
]
MaxFileBytes = Annotated[
    str | None,
    typer.Option(
        "--max-file-bytes",
        metavar="N",
        help="The largest object fetched; by default, and with '', BILLFOLD_MAX_FILE_BYTES.",
    ),
]
RefreshHours = Annotated[
    int | None,
    typer.Option(
        "--refresh-hours", metavar="N", help="How often AWS is expected to deliver; a new client has 24 by default."
    ),
]


def pick_fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of a command's arguments, its `locals()`, those of the options above: the fields that may change of a client."""
    return {name: arguments[name] for name in clients.CHANGEABLE}
