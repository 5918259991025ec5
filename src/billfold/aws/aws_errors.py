"""Translates errors of boto3 into Billfold's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore import exceptions as aws

from billfold.errors import (
    AccessDeniedError,
    BillfoldError,
    ConfigurationError,
    SourceError,
    SourceNotFoundError,
    SourceUnavailableError,
    TornDeliveryError,
)

_NOT_FOUND = frozenset(
    {
        "404",
        "AWS.SimpleQueueService.NonExistentQueue",
        "NoSuchKey",
        "NoSuchVersion",
        "NotFound",
        "QueueDoesNotExist",
    }
)
_BUSY = frozenset(
    {
        "BandwidthLimitExceeded",
        "InternalError",
        "KMS.ThrottlingException",
        "KmsThrottled",
        "OperationAborted",
        "OverLimit",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_WRONG_REGION = frozenset({"301", "307", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_REFUSED_KEYS = frozenset(
    {"InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException"}
)
_NO_CREDENTIALS = (
    aws.ConfigNotFound,
    aws.ConfigParseError,
    aws.CredentialRetrievalError,
    aws.InvalidConfigError,
    aws.NoCredentialsError,
    aws.NoRegionError,
    aws.PartialCredentialsError,
    aws.ProfileNotFound,
    aws.SSOError,
    aws.TokenRetrievalError,
)
_UNREACHABLE = (
    aws.ConnectionError,
    aws.FlexibleChecksumError,
    aws.HTTPClientError,
    aws.IncompleteReadError,
    aws.ReadTimeoutError,
    aws.ResponseStreamingError,
)


@contextmanager
def translated(place: str, *, permission: str, account_id: str | None = None) -> Iterator[None]:
    """Translate any error of boto3: `place` is what was requested, `permission` what the request needs.

    `account_id` is the account that the bucket is expected to belong to.
    """
    try:
        yield
    except aws.ClientError as error:
        raise _translate(error, place, permission, account_id) from error
    except _UNREACHABLE as error:
        raise SourceUnavailableError(f"{place} does not answer: {error}") from error
    except _NO_CREDENTIALS as error:
        raise ConfigurationError(
            f"No AWS credentials found for {place}: {_line(error)}",
            advice="set AWS_PROFILE or AWS_ACCESS_KEY_ID, or run where AWS provides a role",
        ) from error
    except aws.BotoCoreError as error:
        raise SourceError(f"{place} cannot be requested: {_line(error)}") from error


def code_of(error: aws.ClientError) -> str:
    """The code that AWS gave, such as `NoSuchKey`; a HEAD has no body, its code is the HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: aws.ClientError) -> int:
    """The HTTP status of the answer; 0 without one."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _translate(error: aws.ClientError, place: str, permission: str, account_id: str | None) -> BillfoldError:
    code, status = code_of(error), status_of(error)
    if code in ("PreconditionFailed", "412") or status == 412:
        return TornDeliveryError(
            f"{place} changed while its delivery was being read", advice="the next attempt reads the new one"
        )
    if code == "NoSuchBucket":
        return SourceNotFoundError(f"the bucket of {place} does not exist")
    if code in _NOT_FOUND:
        return SourceNotFoundError(f"{place} does not exist")
    if code in _WRONG_REGION or status == 301:
        return _wrong_region(error, place)
    if code in _BUSY or status >= 500 or status == 429:
        return SourceUnavailableError(f"{place} does not answer now: {code}")
    if code in _EXPIRED:
        # The next attempt assumes the role again; credentials that are not renewed would fail every time.
        return SourceUnavailableError(f"{place}: the AWS session has expired", advice="sign in again if it is your own")
    if code in _REFUSED_KEYS:
        return AccessDeniedError(
            f"{place}: AWS does not recognize these credentials ({code})", advice="check the access key"
        )
    if code == "RequestTimeTooSkewed":
        return ConfigurationError(f"{place}: this machine's clock differs from AWS's", advice="set the clock")
    if code == "InvalidObjectState":
        return SourceError(f"{place} is archived", advice="restore it from its storage class first")
    if status == 403 or "AccessDenied" in code:
        return _denied(error, place, permission, account_id)
    return SourceError(f"{place} cannot be read: {code} {_line(error)}".rstrip())


def _denied(error: aws.ClientError, place: str, permission: str, account_id: str | None) -> AccessDeniedError:
    owner = f" or is not owned by account {account_id}" if account_id else ""
    needed = "kms:Decrypt on the bucket's key" if "kms:" in str(error).lower() else permission
    remark = " (without s3:ListBucket, a missing key looks the same)" if permission.startswith("s3:") else ""
    return AccessDeniedError(f"access to {place} is denied{owner}", advice=f"the role needs {needed}{remark}")


def _wrong_region(error: aws.ClientError, place: str) -> ConfigurationError:
    response: Any = error.response
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or response.get("Error", {}).get("Region")
    advice = f"set AWS_REGION to {region}" if region else "set AWS_REGION to the bucket's region"
    return ConfigurationError(f"{place} is in another region", advice=advice)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
