"""The command `billfold onboard`: what a client deploys, so that we may read its bills."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from billfold.cli.application import app, open_store, start
from billfold.cli.exits import ExitCode
from billfold.cli.output.screen import Screen, printable, write_document
from billfold.clients import registry as clients
from billfold.clients.onboarding import Destination, ExportContents
from billfold.errors import ConfigurationError, UsageError
from billfold.log import Event
from billfold.model import ExportTable, Notify, TimeGranularity
from billfold.settings import Settings

# How the template is called in the advice where it went to standard output.
_UNNAMED = "template.json"


@app.command(
    epilog=(
        "Examples:\n\n"
        "- `billfold onboard --client acme --output acme.json`\n\n"
        "- `billfold onboard --client acme --event-bus-arn arn:aws:events:eu-central-1:999988887777:event-bus/billfold"
        " > acme.json`\n\n"
        "- `billfold onboard --client acme --create-export cur2 --no-iam-principal-data` (without who called)\n\n"
        "- `billfold onboard --client acme --iam-json` (the role's two policies, for Terraform or by hand)\n\n"
        "Standard output holds the JSON alone, external id included: give it to the client and to nobody else. What is"
        " to be done with it is told on standard error."
    )
)
def onboard(
    client: Annotated[
        str | None,
        typer.Option("--client", metavar="ID", help="Prepare this client's account; BILLFOLD_CLIENT by default."),
    ] = None,
    our_account: Annotated[
        str | None,
        typer.Option(
            "--our-account", metavar="ID", help="The account whose roles may read; BILLFOLD_OUR_ACCOUNT_ID by default."
        ),
    ] = None,
    notify: Annotated[
        Notify | None,
        typer.Option(
            "--notify", help="How we are told of new objects; by default what `--queue-arn` or `--event-bus-arn` says."
        ),
    ] = None,
    queue_arn: Annotated[
        str | None,
        typer.Option("--queue-arn", metavar="ARN", help="Our queue, in the bucket's region, that S3 notifies."),
    ] = None,
    event_bus_arn: Annotated[
        str | None,
        typer.Option("--event-bus-arn", metavar="ARN", help="Our event bus, in any region, that a rule passes on to."),
    ] = None,
    create_export: Annotated[
        ExportTable | None,
        typer.Option(
            "--create-export", help="Also make a bucket and a Data Export: CUR 2.0 or FOCUS 1.2, in us-east-1 alone."
        ),
    ] = None,
    time_granularity: Annotated[
        TimeGranularity,
        typer.Option(
            "--time-granularity", help="How long one line item of that export is: split costs need hours to be exact."
        ),
    ] = TimeGranularity.HOURLY,
    resources: Annotated[
        bool, typer.Option("--resources/--no-resources", help="Whether its CUR 2.0 names each resource.")
    ] = True,
    split_cost_allocation_data: Annotated[
        bool,
        typer.Option(
            "--split-cost-allocation-data/--no-split-cost-allocation-data",
            help="Whether its CUR 2.0 splits instances among the ECS tasks and Kubernetes pods that share them.",
        ),
    ] = True,
    capacity_reservation_data: Annotated[
        bool,
        typer.Option(
            "--capacity-reservation-data/--no-capacity-reservation-data",
            help="Whether its CUR 2.0 names the capacity reservation of each instance.",
        ),
    ] = True,
    iam_principal_data: Annotated[
        bool,
        typer.Option(
            "--iam-principal-data/--no-iam-principal-data",
            help="Whether its CUR 2.0 names the IAM principal that made each call, as AWS does for Amazon Bedrock.",
        ),
    ] = True,
    tags: Annotated[
        bool,
        typer.Option(
            "--tags/--no-tags",
            help="Whether its CUR 2.0 has the tags of resources, accounts, users and principals; else those of"
            " resources alone.",
        ),
    ] = True,
    trail: Annotated[
        bool,
        typer.Option(
            "--trail",
            help="Also make a CloudTrail trail of who reads the folder: AWS tells the client's account alone.",
        ),
    ] = False,
    iam_json: Annotated[
        bool, typer.Option("--iam-json", help="Print the role's trust and permissions as plain IAM JSON instead.")
    ] = False,
    new_external_id: Annotated[
        bool,
        typer.Option(
            "--new-external-id",
            help="First give the client another external id: its role refuses us until it has deployed this template.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write to this file, for your eyes only, and not to the screen."),
    ] = None,
) -> int:
    """Write the CloudFormation template that a client deploys in its account.

    It makes a role that may read the client's folder and nothing else, and that trusts our account together with the
    client's external id; where asked for, also the way in which we are told of new objects, and the export itself.
    """
    # boto3 takes a second to load: only this command needs what is beside it.
    from billfold.clients import onboarding

    settings = start((Event.EXTERNAL_ID_RENEWED,))
    account_id = _our_account(settings, our_account)
    destination = _destination(notify, queue_arn, event_bus_arn)
    contents = ExportContents(
        time_granularity=time_granularity,
        resources=resources,
        split_cost_allocation_data=split_cost_allocation_data,
        capacity_reservation_data=capacity_reservation_data,
        iam_principal_data=iam_principal_data,
        tags=tags,
    )
    plan = onboarding.Onboarding(
        our_account_id=account_id, destination=destination, export=create_export, contents=contents, is_recorded=trail
    )
    database = open_store(settings)
    found = clients.find_for_onboarding(database, settings, client)
    write = onboarding.iam_documents if iam_json else onboarding.make_template
    document = write(found, plan)
    if new_external_id:
        # Only now that a template can be made: a mistaken option must not lock us out.
        found = clients.renew_external_id(database, found.client_id)
        document = write(found, plan)
    _write(document, output)
    told = Screen(stderr=True)
    if iam_json:
        told.print(printable(f"# The role: {found.role_arn}, with sessions of an hour"))
    else:
        for step in onboarding.next_steps(found, plan, str(output or _UNNAMED)):
            told.print(printable(step))
    return ExitCode.SUCCESS


def _our_account(settings: Settings, given: str | None) -> str:
    account_id = given or settings.our_account_id
    if account_id is None:
        raise ConfigurationError(
            "BILLFOLD_OUR_ACCOUNT_ID is not set: the role has to trust an account",
            advice="set it to the 12 digits of the account that Billfold runs in, or give --our-account",
        )
    if re.fullmatch("[0-9]{12}", account_id) is None:
        raise UsageError(f"--our-account is {account_id[:200]!r}: expected 12 digits")
    return account_id


def _destination(notify: Notify | None, queue_arn: str | None, event_bus_arn: str | None) -> Destination | None:
    """The one destination that the options name."""
    given = {Notify.SQS: ("--queue-arn", queue_arn), Notify.EVENTBRIDGE: ("--event-bus-arn", event_bus_arn)}
    named = [kind for kind, (_, arn) in given.items() if arn]
    if notify is None and len(named) > 1:
        raise UsageError("--queue-arn and --event-bus-arn are both given", advice="--notify says which of them counts")
    kind = notify or (named[0] if named else Notify.NONE)
    if kind is Notify.NONE:
        if named:
            raise UsageError(f"--notify none needs no {given[named[0]][0]}")
        return None
    option, arn = given[kind]
    if not arn:
        raise UsageError(f"--notify {kind} needs {option}")
    return Destination(notify=kind, arn=arn)


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
