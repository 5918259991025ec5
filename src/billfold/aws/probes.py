"""Doctor's probes of STS and SQS: who is Billfold, and can only Billfold assume the client's role?"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import boto3
from botocore.exceptions import ClientError

from billfold.aws.aws_errors import code_of, translated
from billfold.aws.credentials import (
    SESSION_SECONDS,
    Clock,
    aws_client,
    open_given_session,
    open_own_session,
    role_request,
    utc_now,
)
from billfold.aws.queue import open_queue
from billfold.errors import BillfoldError
from billfold.model import Client, Probe, ProbeState
from billfold.settings import Settings

# AWS refuses requests whose signature is five minutes off (AWS: "Signature Version 4").
MAX_SKEW_SECONDS = 300
WARN_SKEW_SECONDS = 60
# Messages come again while the database is away, and in Lambda while their jobs wait.
MIN_RECEIVE_COUNT = 100
# The shortest session of STS: these sessions make one request.
_SHORT_SESSION_SECONDS = 900
# The policy of a session that should have been refused.
_NOTHING = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}, separators=(",", ":")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFindings:
    """The findings about a client's role; `wide` is a session with all rights of the role, if it could be assumed.

    `is_open` says whether the client's bucket can be probed.
    """

    probes: tuple[Probe, ...]
    is_open: bool
    wide: boto3.Session | None = None


def probe_identity(settings: Settings, clock: Clock = utc_now) -> tuple[tuple[Probe, ...], str]:
    """Probes of Billfold's own credentials and of this machine's clock, and Billfold's ARN; empty if AWS knows none."""
    try:
        with translated("our own credentials", permission="sts:GetCallerIdentity"):
            sts = aws_client(open_own_session(settings.region), "sts", settings)
            answer = sts.get_caller_identity()
    except BillfoldError as error:
        probe = failed("credentials", error, "set AWS_PROFILE or AWS_ACCESS_KEY_ID, or run where AWS provides a role")
        cause = error.__cause__
        headers = _headers(cause.response) if isinstance(cause, ClientError) else {}
        return (probe, _probe_clock(headers, clock)), ""
    arn = str(answer["Arn"])
    state = ProbeState.WARNING if arn.endswith(":root") else ProbeState.OK
    fix = "use a role: the root user cannot assume roles" if state is ProbeState.WARNING else ""
    identity = Probe(name="credentials", state=state, found=f"signed in as {arn}", fix=fix)
    return (identity, _probe_clock(_headers(answer), clock)), arn


def probe_role(client: Client, settings: Settings, our_arn: str) -> RoleFindings:
    """Whether the role can be assumed for an hour, and only with the client's external id."""
    if client.role_arn is None:
        found = "no role is set: Billfold's own credentials read the bucket"
        names = ("role", "session length", "wrong external id", "absent external id")
        return RoleFindings(
            probes=tuple(Probe(name=name, state=ProbeState.SKIPPED, found=found) for name in names), is_open=True
        )
    role = _Role(client, settings, our_arn)
    try:
        answer = role.assume(role_request(client, client.bucket))
    except BillfoldError as error:
        return RoleFindings(probes=role.refused(error), is_open=False)
    probes = [role.let_in(answer), role.probe_length(answer)]
    if client.external_id:
        probes += [role.probe_wrong_id(secrets.token_urlsafe(24)), role.probe_wrong_id(None)]
    else:
        probes += role.without_external_id()
    return RoleFindings(probes=tuple(probes), is_open=True, wide=role.open_wide())


def probe_queue(settings: Settings) -> Probe:
    """Whether the worker's queue can be read, and where messages go that cannot be processed."""
    if settings.queue_url is None:
        return Probe(name="queue", state=ProbeState.SKIPPED, found="BILLFOLD_QUEUE_URL is not set: no worker runs here")
    try:
        queue = open_queue(settings.queue_url, settings)
        state = queue.describe()
        dead = queue.open_dead_letters()
        dead_count = dead.describe().waiting_count if dead else 0
    except BillfoldError as error:
        return failed(
            "queue",
            error,
            "allow sqs:GetQueueAttributes, sqs:GetQueueUrl, sqs:ReceiveMessage,"
            " sqs:DeleteMessage, sqs:ChangeMessageVisibility and sqs:SendMessage on it and its dead-letter queue",
        )
    found = f"{state.arn}: {state.waiting_count} messages waiting, {state.hidden_count} in progress"
    if dead is None:
        return Probe(
            name="queue",
            state=ProbeState.FAILED,
            found=f"{found}; it has no dead-letter queue",
            fix=f"give it a redrive policy with maxReceiveCount {MIN_RECEIVE_COUNT} or more, as deploy/ does",
        )
    if (state.max_receive_count or 0) < MIN_RECEIVE_COUNT:
        return Probe(
            name="queue",
            state=ProbeState.FAILED,
            found=f"{found}; SQS treats a message as dead after {state.max_receive_count} receives",
            fix=f"set maxReceiveCount to {MIN_RECEIVE_COUNT} or more: messages that wait can be received many times",
        )
    if dead_count:
        return Probe(
            name="queue",
            state=ProbeState.WARNING,
            found=f"{found}; {dead_count} dead letters",
            fix="billfold dlq list",
        )
    return Probe(name="queue", state=ProbeState.OK, found=f"{found}; no dead letters")


def failed(name: str, error: BillfoldError, fix: str) -> Probe:
    """A probe that ended with an error; a temporary error leaves the result open."""
    state = ProbeState.UNKNOWN if error.retryable else ProbeState.FAILED
    return Probe(name=name, state=state, found=error.message, fix="try again" if error.retryable else fix)


class _Role:
    """One client's role, probed with Billfold's own credentials."""

    def __init__(self, client: Client, settings: Settings, our_arn: str) -> None:
        self._client = client
        self._settings = settings
        self._our_arn = our_arn
        self._sts = aws_client(open_own_session(client.region or settings.region), "sts", settings)

    def assume(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        with translated(f"role {self._client.role_arn}", permission="sts:AssumeRole"):
            answer: Mapping[str, Any] = self._sts.assume_role(**request)
        return answer

    def refused(self, error: BillfoldError) -> tuple[Probe, ...]:
        """The role cannot be assumed: nothing shows what it refuses to others."""
        if "MaxSessionDuration" in str(error):
            length = failed(
                "session length",
                error,
                f"aws iam update-role --role-name {self._name()} --max-session-duration {SESSION_SECONDS}",
            )
            role = Probe(name="role", state=ProbeState.UNKNOWN, found="it refuses a one-hour session")
        else:
            role = failed("role", error, self._trust())
            length = Probe(name="session length", state=ProbeState.SKIPPED, found="the role cannot be assumed")
        others = (
            Probe(name=name, state=ProbeState.SKIPPED, found="the role cannot be assumed with the right one either")
            for name in ("wrong external id", "absent external id")
        )
        return (role, length, *others)

    def let_in(self, answer: Mapping[str, Any]) -> Probe:
        return Probe(name="role", state=ProbeState.OK, found=f"assumed as {answer['AssumedRoleUser']['Arn']}")

    def probe_length(self, answer: Mapping[str, Any]) -> Probe:
        seconds = (answer["Credentials"]["Expiration"] - utc_now()).total_seconds()
        # The difference of the clocks counts too.
        if seconds < SESSION_SECONDS - MAX_SKEW_SECONDS:
            return Probe(
                name="session length",
                state=ProbeState.WARNING,
                found=f"a session ends after {seconds / 60:.0f} minutes; {SESSION_SECONDS // 60} were requested",
                fix="check the clock and the role's maximum session duration",
            )
        return Probe(name="session length", state=ProbeState.OK, found=f"{SESSION_SECONDS // 60} minutes, as requested")

    def probe_wrong_id(self, external_id: str | None) -> Probe:
        """Try as an attacker would who tricked Billfold into assuming the role; this session may do nothing."""
        name = "wrong external id" if external_id else "absent external id"
        request = role_request(self._client, None)
        request |= {"DurationSeconds": _SHORT_SESSION_SECONDS, "Policy": _NOTHING}
        del request["ExternalId"]
        if external_id:
            request["ExternalId"] = external_id
        try:
            self.assume(request)
        except BillfoldError as error:
            if isinstance(error.__cause__, ClientError) and code_of(error.__cause__) == "AccessDenied":
                return Probe(name=name, state=ProbeState.OK, found="is refused")
            return Probe(name=name, state=ProbeState.UNKNOWN, found=error.message, fix="try again")
        return Probe(
            name=name,
            state=ProbeState.FAILED,
            found="the role can be assumed: anyone who makes Billfold use its ARN can read this bill (confused deputy)",
            fix=f'add "Condition": {{"StringEquals": {{"sts:ExternalId": …}}}} to the trust policy of'
            f" {self._client.role_arn}; `billfold onboard --client {self._client.client_id}` writes it",
        )

    def without_external_id(self) -> list[Probe]:
        found = "no external id is set: anyone who knows the role's ARN can make Billfold assume it (confused deputy)"
        fix = "set one: BILLFOLD_EXTERNAL_ID here, sts:ExternalId in the role's trust policy"
        return [
            Probe(name="wrong external id", state=ProbeState.SKIPPED, found="no external id is set"),
            Probe(name="absent external id", state=ProbeState.WARNING, found=found, fix=fix),
        ]

    def open_wide(self) -> boto3.Session | None:
        """A short session without Billfold's session policy, to see what the role itself allows."""
        try:
            answer = self.assume(role_request(self._client, None) | {"DurationSeconds": _SHORT_SESSION_SECONDS})
        except BillfoldError:
            return None
        return open_given_session(answer["Credentials"], self._client.region or self._settings.region)

    def _trust(self) -> str:
        identity = " and sts:SetSourceIdentity" if self._client.source_identity else ""
        return (
            f"the trust policy of {self._client.role_arn} must allow sts:AssumeRole{identity} to"
            f" {self._our_arn or 'this account'} with the external id of `billfold onboard --client"
            f" {self._client.client_id}`, and Billfold's own policy sts:AssumeRole{identity} on the role"
        )

    def _name(self) -> str:
        return (self._client.role_arn or "").rpartition("/")[2]


def _headers(answer: Any) -> Mapping[str, str]:
    headers: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def _probe_clock(headers: Mapping[str, str], clock: Clock) -> Probe:
    try:
        skew = (clock() - parsedate_to_datetime(headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError):
        return Probe(name="clock", state=ProbeState.UNKNOWN, found="AWS sent no time", area="machine")
    if abs(skew) <= WARN_SKEW_SECONDS:
        return Probe(name="clock", state=ProbeState.OK, found=f"{abs(skew):.0f} s off AWS's", area="machine")
    state = ProbeState.FAILED if abs(skew) > MAX_SKEW_SECONDS else ProbeState.WARNING
    found = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} AWS's; AWS refuses {MAX_SKEW_SECONDS} s"
    return Probe(name="clock", state=state, found=found, fix="set the clock, by NTP for example", area="machine")
