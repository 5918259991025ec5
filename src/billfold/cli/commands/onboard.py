"""`billfold onboard`: what a client deploys, so that we can read its bills."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.output.screen import Screen, printable
from billfold.cli.output.streams import write_document
from billfold.errors import UsageError
from billfold.log import Event
from billfold.model import ExportTable, Notify, TimeGranularity

# What the advice calls the template when it went to standard output.
_UNNAMED = "template.json"

_Client = Annotated[
    str | None,
    typer.Option("--client", metavar="ID", help="Prepare this client's account; BILLFOLD_CLIENT by default."),
]
_OurAccount = Annotated[
    str | None,
    typer.Option(
        "--our-account", metavar="ID", help="The account whose roles may read; BILLFOLD_OUR_ACCOUNT_ID by default."
    ),
]
_Notify = Annotated[
    Notify | None,
    typer.Option("--notify", help="How we learn of new objects; by default from `--queue-arn` or `--event-bus-arn`."),
]
_QueueArn = Annotated[
    str | None,
    typer.Option("--queue-arn", metavar="ARN", help="Our queue that S3 notifies, in the bucket's region."),
]
_EventBusArn = Annotated[
    str | None,
    typer.Option("--event-bus-arn", metavar="ARN", help="Our event bus that a rule forwards to, in any region."),
]
_CreateExport = Annotated[
    ExportTable | None,
    typer.Option(
        "--create-export", help="Also create a bucket and a Data Export: CUR 2.0 or FOCUS 1.2, only in us-east-1."
    ),
]
_TimeGranularity = Annotated[
    TimeGranularity,
    typer.Option(
        "--time-granularity", help="The time span of a line item of that export: exact split costs need hours."
    ),
]
_Resources = Annotated[bool, typer.Option("--resources/--no-resources", help="Whether its CUR 2.0 has resource ids.")]
_SplitCosts = Annotated[
    bool,
    typer.Option(
        "--split-cost-allocation-data/--no-split-cost-allocation-data",
        help="Whether its CUR 2.0 splits instances among the ECS tasks and Kubernetes pods that share them.",
    ),
]
_CapacityReservations = Annotated[
    bool,
    typer.Option(
        "--capacity-reservation-data/--no-capacity-reservation-data",
        help="Whether its CUR 2.0 has the capacity reservation of each instance.",
    ),
]
_IamPrincipals = Annotated[
    bool,
    typer.Option(
        "--iam-principal-data/--no-iam-principal-data",
        help="Whether its CUR 2.0 has the IAM principal of each call, as AWS records it for Amazon Bedrock.",
    ),
]
_Tags = Annotated[
    bool,
    typer.Option(
        "--tags/--no-tags",
        help="Whether its CUR 2.0 has the tags of resources, accounts, users and principals, or only of resources.",
    ),
]
_Trail = Annotated[
    bool,
    typer.Option(
        "--trail", help="Also create a CloudTrail trail of who reads the folder, in the client's account alone."
    ),
]
_IamJson = Annotated[
    bool, typer.Option("--iam-json", help="Print the role's trust and permissions as plain IAM JSON instead.")
]
_NewExternalId = Annotated[
    bool,
    typer.Option(
        "--new-external-id",
        help="First give the client another external id: its role rejects us until it deploys this template.",
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", help="Write to this file, which only you can read, not to the screen."),
]


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold onboard --client acme --output acme.json`\n\n"
        "- `billfold onboard --client acme --event-bus-arn arn:aws:events:eu-central-1:999988887777:event-bus/billfold"
        " > acme.json`\n\n"
        "- `billfold onboard --client acme --create-export cur2 --no-iam-principal-data` (without who called)\n\n"
        "- `billfold onboard --client acme --iam-json` (the role's two policies, for Terraform or by hand)\n\n"
        "Standard output has only the JSON, external id included: give it to the client and to nobody else. Standard"
        " error says what to do with it."
    )
)
def onboard(
    client: _Client = None,
    our_account: _OurAccount = None,
    notify: _Notify = None,
    queue_arn: _QueueArn = None,
    event_bus_arn: _EventBusArn = None,
    create_export: _CreateExport = None,
    time_granularity: _TimeGranularity = TimeGranularity.HOURLY,
    resources: _Resources = True,
    split_cost_allocation_data: _SplitCosts = True,
    capacity_reservation_data: _CapacityReservations = True,
    iam_principal_data: _IamPrincipals = True,
    tags: _Tags = True,
    trail: _Trail = False,
    iam_json: _IamJson = False,
    new_external_id: _NewExternalId = False,
    output: _Output = None,
) -> int:
    """Write the CloudFormation template that a client deploys in its account.

    It creates a role that can read the client's folder and nothing else, and that trusts our account together with the
    client's external id; on request also the notifications of new objects, and the export itself.
    """
    clients = start((Event.EXTERNAL_ID_RENEWED,)).clients
    plan = clients.plan_onboarding(
        our_account=our_account,
        notify=notify,
        queue_arn=queue_arn,
        event_bus_arn=event_bus_arn,
        create_export=create_export,
        time_granularity=time_granularity,
        resources=resources,
        split_cost_allocation_data=split_cost_allocation_data,
        capacity_reservation_data=capacity_reservation_data,
        iam_principal_data=iam_principal_data,
        tags=tags,
        trail=trail,
    )
    found, document = clients.onboard(plan, client=client, iam_only=iam_json, new_external_id=new_external_id)
    _write(document, output)
    advice = Screen(stderr=True)
    if iam_json:
        advice.print(printable(f"# The role: {found.role_arn}, with sessions of an hour"))
    else:
        for step in clients.onboarding_steps(plan, client=found, file=str(output or _UNNAMED)):
            advice.print(printable(step))
    return ExitCode.SUCCESS


def _write(document: dict[str, Any], output: Path | None) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if output is None:
        write_document(text)
        return
    try:
        # The external id is between the client and us.
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            # A file that was there already keeps its mode otherwise.
            os.fchmod(descriptor, 0o600)
            file.write(text)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from error
