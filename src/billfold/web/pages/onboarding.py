"""The page of a client's onboarding: the commands step by step, and the files for the client to deploy."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from billfold.app import Billfold
from billfold.app.values import Onboarding
from billfold.errors import ConfigurationError, UsageError
from billfold.model import ExportTable, Notify, TimeGranularity
from billfold.web.access import AdminAccess, ReadAccess, Scope
from billfold.web.dependencies import OurBillfold
from billfold.web.forms.known_ids import KNOWN_IDS
from billfold.web.forms.onboarding_query import CONTENTS, OnboardingQuery, read_onboarding_query
from billfold.web.pages.client_steps import path_of
from billfold.web.pages.clients import ClientId, find_client
from billfold.web.pages.rendering import render

_NOTIFY_CHOICES = [
    ("", "None: on a schedule only"),
    (Notify.EVENTBRIDGE, "EventBridge, to our event bus"),
    (Notify.SQS, "S3, to our queue"),
]
_EXPORT_CHOICES = [("", "It has one")] + [(table, f"Create one: {table}") for table in ExportTable]
_GRANULARITY_CHOICES = [("" if each is TimeGranularity.HOURLY else each, each) for each in TimeGranularity]

OnboardingQueryOf = Annotated[OnboardingQuery, Depends(read_onboarding_query)]

router = APIRouter(include_in_schema=False, dependencies=[KNOWN_IDS])


@router.get("/clients/{client_id}/onboarding")
def show_onboarding(
    request: Request,
    billfold: OurBillfold,
    access: ReadAccess,
    client_id: ClientId,
    query: OnboardingQueryOf,
) -> Response:
    """Options and commands; an invalid option is explained on the page."""
    described, surround = find_client(billfold, access, client_id)
    steps: list[tuple[str, str]] = []
    problem = None
    try:
        plan = query.plan(billfold.settings)
        # This raises for an invalid plan, before anybody downloads the template.
        _make(billfold, client_id, plan)
        commands = billfold.clients.onboarding_steps(plan, client=client_id, file=f"{client_id}.json")
        steps = [_split_step(step) for step in commands]
    except (ConfigurationError, UsageError) as error:
        problem = error
    context: dict[str, Any] = {
        "client": described,
        "path": path_of(client_id),
        "query": query,
        "steps": steps,
        "problem": problem,
        "notify_choices": _NOTIFY_CHOICES,
        "export_choices": _EXPORT_CHOICES,
        "granularity_choices": _GRANULARITY_CHOICES,
        "contents": CONTENTS if query.export == ExportTable.CUR2 else {},
        "may_download": access.allows(Scope.ADMIN),
    }
    return render(request, "onboarding.html", frame=surround, **context)


@router.get("/clients/{client_id}/onboarding/template.json")
def send_template(
    billfold: OurBillfold, access: AdminAccess, client_id: ClientId, query: OnboardingQueryOf
) -> Response:
    """The CloudFormation template, for tokens that may see the external id."""
    find_client(billfold, access, client_id)
    return _attach(_make(billfold, client_id, query.plan(billfold.settings)), f"{client_id}.json")


@router.get("/clients/{client_id}/onboarding/iam.json")
def send_policies(
    billfold: OurBillfold, access: AdminAccess, client_id: ClientId, query: OnboardingQueryOf
) -> Response:
    """The IAM policies, for tokens that may see the external id."""
    find_client(billfold, access, client_id)
    policies = _make(billfold, client_id, query.plan(billfold.settings), iam_only=True)
    return _attach(policies, f"{client_id}-iam.json")


def _make(billfold: Billfold, client_id: str, plan: Onboarding, *, iam_only: bool = False) -> dict[str, Any]:
    """The template, or the IAM policies."""
    try:
        billfold.clients.prepare_onboarding(client_id)
    except UsageError as error:
        # Its message lists the other clients, which a token of one client must not see.
        raise UsageError(
            f"client {client_id} is not registered, and no settings describe it",
            advice="register it with `billfold client add`",
        ) from error
    _, document = billfold.clients.onboard(plan, client=client_id, iam_only=iam_only)
    return document


def _split_step(step: str) -> tuple[str, str]:
    """A step with its kind: text or command."""
    return ("text", step.removeprefix("# ")) if step.startswith("# ") else ("command", step)


def _attach(document: dict[str, Any], name: str) -> Response:
    """The document as a file. It holds the external id, so no cache may keep it."""
    return Response(
        json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )
