"""The steps of a client's onboarding, as its page lists them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from billfold.app.values import DoctorRun
from billfold.model import ProbeState


class StepState(StrEnum):
    """Whether a step is done."""

    DONE = "done"
    TO_DO = "to do"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a client's onboarding; `text` and `command` say how to do it. The command is for our own shell."""

    title: str
    state: StepState
    text: str
    command: str = ""
    path: str = ""
    link: str = ""


def path_of(client_id: str) -> str:
    """The path of a client's page."""
    return f"/clients/{quote(client_id, safe='')}"


def list_steps(client: dict[str, Any], run: DoctorRun | None) -> list[Step]:
    """The steps until a client's bills arrive without anybody's help, in order."""
    name, path = client["client"], path_of(client["client"])
    is_delivered = client["last_delivered_at"] is not None
    doctor_state = _judge(run)
    role = Step(
        title="The client grants access",
        state=_done(is_delivered or doctor_state is StepState.DONE),
        text="Its administrator deploys our template: it creates a role that can only read this folder.",
        path=f"{path}/onboarding",
        link="Template and commands",
    )
    return [
        *([role] if client["role_arn"] else []),
        Step(
            title="Doctor finds no problem",
            state=doctor_state,
            text="Doctor tries every permission that an ingest needs, and shows how to fix what is missing.",
            command=f"billfold doctor --client {name}",
            path=f"{path}/doctor",
            link="See the results" if run else "Run doctor",
        ),
        Step(
            title="The first delivery is in",
            state=_done(is_delivered),
            text="Ingest what is in the bucket. AWS makes the first delivery of a new export within a day.",
            command=f"billfold backfill --client {name}",
        ),
        Step(
            title="The client is enabled",
            state=_done(client["enabled"]),
            text="Billfold ingests nothing for a disabled client and keeps its bills.",
            command=f"billfold client enable {name}",
        ),
    ]


def _done(is_done: bool) -> StepState:
    return StepState.DONE if is_done else StepState.TO_DO


def _judge(run: DoctorRun | None) -> StepState:
    """Whether a complete doctor run found no failure of the client itself."""
    of_client = [probe.state for probe in run.probes if probe.client_id] if run else []
    if run is None or run.ended_at is None or run.is_cut_off or not of_client:
        return StepState.UNKNOWN
    return _done(ProbeState.FAILED not in of_client)
