"""A session that acts as a client: with its role if one is set, and credentials that renew themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, RefreshableCredentials
from botocore.exceptions import ClientError
from botocore.loaders import Loader

from billfold.aws.aws_errors import code_of, translated
from billfold.aws.session_policy import session_policy
from billfold.errors import AccessDeniedError
from billfold.model import Client
from billfold.settings import Settings

# A role assumed by a role gets an hour at most (AWS: "role chaining"), and no bill needs more at once.
SESSION_SECONDS = 3600
# STS only has regional endpoints; without a known region, any of them works.
_DEFAULT_REGION = "us-east-1"
_CONNECT_TIMEOUT_SECONDS = 10
_READ_TIMEOUT_SECONDS = 60
_RETRY_ATTEMPTS = 3

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current moment, in UTC."""
    return datetime.now(UTC)


def open_session(
    client: Client, settings: Settings, clock: Clock = utc_now, *, bucket: str | None = None
) -> boto3.Session:
    """A session that acts as this client only, and can only read `bucket`, the client's by default.

    With a role the first AssumeRole happens when the session makes its first AWS client, and each further one well
    before the credentials expire (botocore: 15 minutes). Raises AccessDeniedError if the role cannot be assumed.
    """
    with translated("the AWS configuration", permission="none"):
        ambient = open_own_session(client.region or settings.region)
        if client.role_arn is None:
            return ambient
        core = _new_core()
        provider = _RoleProvider(client, settings, ambient, clock, bucket or client.bucket)
        core.register_component("credential_provider", CredentialResolver(providers=[provider]))
        return boto3.Session(botocore_session=core, region_name=ambient.region_name)


def open_own_session(region: str | None) -> boto3.Session:
    """A session with Billfold's own credentials, as boto3 finds them."""
    return boto3.Session(botocore_session=_new_core(), region_name=region)


def open_given_session(credentials: Mapping[str, Any], region: str | None) -> boto3.Session:
    """A session with the credentials that AssumeRole returned; it expires with them."""
    return boto3.Session(
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
        botocore_session=_new_core(),
        region_name=region,
    )


def aws_client(session: boto3.Session, service: Any, settings: Settings, *, timeout_seconds: int | None = None) -> Any:
    """The session's client of one AWS service, with the configured timeouts, retries and endpoint.

    With `timeout_seconds`, each call is made once and fails after that time.
    """
    config = Config(
        connect_timeout=timeout_seconds or _CONNECT_TIMEOUT_SECONDS,
        read_timeout=timeout_seconds or _READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 1 if timeout_seconds else _RETRY_ATTEMPTS},
        # Another endpoint rarely has buckets as subdomains.
        s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
    )
    region = session.region_name or _DEFAULT_REGION
    with translated(f"AWS {service}", permission="none"):
        return session.client(service, region_name=region, endpoint_url=settings.endpoint_url, config=config)


def role_request(client: Client, bucket: str | None) -> dict[str, Any]:
    """The parameters of AssumeRole for a session that acts as the client and can only read `bucket`."""
    request: dict[str, Any] = {
        "RoleArn": client.role_arn,
        "RoleSessionName": client.role_session_name,
        "DurationSeconds": SESSION_SECONDS,
    }
    if client.external_id:
        request["ExternalId"] = client.external_id
    if client.source_identity:
        request["SourceIdentity"] = client.source_identity
    if bucket:
        request["Policy"] = session_policy(client, bucket)
    return request


class _SharedLoader(Loader):
    """botocore's description of AWS services, read once: each session would need a quarter of a second."""

    @property
    def search_paths(self) -> list[str]:
        # Each boto3 session adds its own folder to the list, and there are many sessions here.
        return list(super().search_paths)


@cache
def _shared_loader() -> Loader:
    # As botocore makes its own; the sessions only share what they never change.
    return _SharedLoader(extra_search_paths=[])


def _new_core() -> botocore.session.Session:
    core = botocore.session.Session()
    core.register_component("data_loader", _shared_loader())
    return core


class _RoleProvider(CredentialProvider):
    """Gives boto3 the credentials of a client's role."""

    METHOD = "billfold-assume-role"

    def __init__(
        self, client: Client, settings: Settings, ambient: boto3.Session, clock: Clock, bucket: str | None
    ) -> None:
        super().__init__()
        self._bucket = bucket
        self._client = client
        self._settings = settings
        self._ambient = ambient
        self._clock = clock

    def load(self) -> RefreshableCredentials:
        credentials = self._assume()
        return RefreshableCredentials(
            credentials["access_key"],
            credentials["secret_key"],
            credentials["token"],
            datetime.fromisoformat(credentials["expiry_time"]),
            refresh_using=self._assume,
            method=self.METHOD,
            time_fetcher=self._clock,
        )

    def _assume(self) -> dict[str, str]:
        role_arn = self._client.role_arn
        request = role_request(self._client, self._bucket)
        with translated(f"role {role_arn}", permission="sts:AssumeRole"):
            try:
                answer = aws_client(self._ambient, "sts", self._settings).assume_role(**request)
            except ClientError as error:
                if code_of(error) == "AccessDenied":
                    raise _refused(self._client) from error
                raise
        credentials = answer["Credentials"]
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": credentials["Expiration"].isoformat(),
        }


def _refused(client: Client) -> AccessDeniedError:
    """One error for every reason: AWS does not say which one it was."""
    external_id = "with this external id" if client.external_id else "without an external id"
    return AccessDeniedError(
        f"role {client.role_arn} cannot be assumed {external_id}",
        advice="check the role's ARN and the external id, that the role's trust policy names this account, and that"
        " your own credentials allow sts:AssumeRole",
    )
