"""The page of a client's onboarding: the steps with their commands, and what the client is given to deploy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from billfold.clients import registry as clients
from billfold.clients.onboarding import template as onboarding
from billfold.clients.onboarding.events import Destination
from billfold.clients.onboarding.export import ExportContents
from billfold.clients.onboarding.template import Onboarding
from billfold.errors import ConfigurationError, UsageError
from billfold.model import Client, ExportTable, Notify, TimeGranularity
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.access import AdminAccess, ReadAccess, Scope
from billfold.web.api.responses import Text
from billfold.web.pages.clients import ClientId, find_client, path_of
from billfold.web.pages.rendering import render

# Each content of a CUR 2.0 export that an address can leave out, and its label.
_CONTENTS = {
    "resources": "Resource ids",
    "split_cost_allocation_data": "Split cost allocation data",
    "capacity_reservation_data": "Capacity reservations",
    "iam_principal_data": "IAM principals",
    "tags": "All tags in one column",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanQuery:
    """An address's query about what the client is asked for: the options of `billfold onboard`."""

    notify: str
    arn: str
    export: str
    trail: str
    time_granularity: str
    # Of each of _CONTENTS, "no" where it is left out.
    contents: Mapping[str, str]

    def plan(self, settings: Settings) -> Onboarding:
        """What is asked for. Raises UsageError for what cannot be, ConfigurationError without our own account."""
        if settings.our_account_id is None:
            raise ConfigurationError(
                "BILLFOLD_OUR_ACCOUNT_ID is not set: the role has to trust an account",
                advice="set it to the 12 digits of the account that Billfold runs in",
            )
        if self.notify not in ("", *Notify) or self.export not in ("", *ExportTable):
            raise UsageError("there is no such way of telling us, or no such export")
        if self.time_granularity not in ("", *TimeGranularity) or {*self.contents.values()} - {"", "no"}:
            raise UsageError(
                f"time_granularity is {self.time_granularity!r} and the contents are {dict(self.contents)}",
                advice="time_granularity is hourly, daily or monthly; each content is empty or 'no'",
            )
        notify = Notify(self.notify or Notify.NONE)
        return Onboarding(
            our_account_id=settings.our_account_id,
            destination=None if notify is Notify.NONE else Destination(notify=notify, arn=self.arn.strip()),
            export=ExportTable(self.export) if self.export else None,
            contents=ExportContents(
                time_granularity=TimeGranularity(self.time_granularity or TimeGranularity.HOURLY),
                **{name: not value for name, value in self.contents.items()},
            ),
            is_recorded=bool(self.trail),
        )

    def parameters(self) -> dict[str, Any]:
        """The query as it was given, without the contents that are left as they are."""
        plain = {"notify": self.notify, "arn": self.arn, "export": self.export, "trail": self.trail}
        chosen = {"time_granularity": self.time_granularity, **self.contents}
        return plain | {name: value for name, value in chosen.items() if value}


def read_plan_query(
    notify: Text = "",
    arn: Text = "",
    export: Text = "",
    trail: Text = "",
    time_granularity: Text = "",
    resources: Text = "",
    split_cost_allocation_data: Text = "",
    capacity_reservation_data: Text = "",
    iam_principal_data: Text = "",
    tags: Text = "",
) -> PlanQuery:
    """The query of an address."""
    return PlanQuery(
        notify=notify,
        arn=arn,
        export=export,
        trail=trail,
        time_granularity=time_granularity,
        contents={
            "resources": resources,
            "split_cost_allocation_data": split_cost_allocation_data,
            "capacity_reservation_data": capacity_reservation_data,
            "iam_principal_data": iam_principal_data,
            "tags": tags,
        },
    )


PlanQueryOf = Annotated[PlanQuery, Depends(read_plan_query)]


def make_router(settings: Settings, database: Database) -> APIRouter:
    """`/clients/{id}/onboarding` and, for whoever may see the external id, the two files that hold it."""
    router = APIRouter(include_in_schema=False)

    @router.get("/clients/{client_id}/onboarding")
    def show_onboarding(request: Request, access: ReadAccess, client_id: ClientId, query: PlanQueryOf) -> Response:
        told, surround = find_client(settings, database, access, client_id)
        steps: list[tuple[str, str]] = []
        problem = None
        try:
            client, plan = _prepare(client_id, query)
            # Whatever is wrong with the plan is told here, before anybody downloads it.
            onboarding.template(client, plan)
            steps = [_spell(step) for step in onboarding.next_steps(client, plan, f"{client_id}.json")]
        except (ConfigurationError, UsageError) as error:
            problem = error
        context: dict[str, Any] = {
            "client": told,
            "path": path_of(client_id),
            "query": query,
            "steps": steps,
            "problem": problem,
            "notify_choices": [
                ("", "Not at all: the schedule looks"),
                (Notify.EVENTBRIDGE, "EventBridge, to our event bus"),
                (Notify.SQS, "S3, to our queue"),
            ],
            "export_choices": [("", "It has one")] + [(table, f"Make one: {table}") for table in ExportTable],
            "granularity_choices": [("" if each is TimeGranularity.HOURLY else each, each) for each in TimeGranularity],
            "contents": _CONTENTS if query.export == ExportTable.CUR2 else {},
            "may_download": access.allows(Scope.ADMIN),
        }
        return render(request, "onboarding.html", frame=surround, **context)

    @router.get("/clients/{client_id}/onboarding/template.json")
    def send_template(access: AdminAccess, client_id: ClientId, query: PlanQueryOf) -> Response:
        find_client(settings, database, access, client_id)
        return _attach(onboarding.template(*_prepare(client_id, query)), f"{client_id}.json")

    @router.get("/clients/{client_id}/onboarding/iam.json")
    def send_policies(access: AdminAccess, client_id: ClientId, query: PlanQueryOf) -> Response:
        find_client(settings, database, access, client_id)
        return _attach(onboarding.iam_documents(*_prepare(client_id, query)), f"{client_id}-iam.json")

    def _prepare(client_id: str, query: PlanQuery) -> tuple[Client, Onboarding]:
        plan = query.plan(settings)
        try:
            return clients.find_for_onboarding(database, settings, client_id), plan
        except UsageError as error:
            # It names the clients that there are, which is not for a token of one of them.
            raise UsageError(
                f"client {client_id} is not registered, and no settings describe it",
                advice="`billfold client add` registers it",
            ) from error

    return router


def _spell(step: str) -> tuple[str, str]:
    """A step as what it is: a sentence, or a command."""
    return ("text", step.removeprefix("# ")) if step.startswith("# ") else ("command", step)


def _attach(document: dict[str, Any], name: str) -> Response:
    """The document as a file. It holds the external id: nothing on the way may keep it."""
    return Response(
        json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )
