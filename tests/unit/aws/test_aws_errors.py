"""Every error of boto3 that a read can meet becomes one of ours, with one line for the operator."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as aws

from billfold.aws.aws_errors import translated
from billfold.errors import (
    AccessDeniedError,
    BillfoldError,
    ConfigurationError,
    SourceError,
    SourceNotFoundError,
    SourceUnavailableError,
    TornDeliveryError,
)

PLACE = "s3://bills/exports/a.csv.gz"


def answer(code: str, status: int, *, message: str = "", headers: dict[str, str] | None = None, **more: str) -> Any:
    response: Any = {
        "Error": {"Code": code, "Message": message, **more},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
    }
    return aws.ClientError(response, "GetObject")


def translation(error: Exception, account_id: str | None = None) -> BillfoldError:
    with (
        pytest.raises(BillfoldError) as caught,
        translated(PLACE, permission="s3:GetObject", account_id=account_id),
    ):
        raise error
    assert "\n" not in str(caught.value)
    assert PLACE in str(caught.value)
    assert caught.value.__cause__ is error
    return caught.value


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answer("NoSuchKey", 404), SourceNotFoundError),
        (answer("404", 404), SourceNotFoundError),
        (answer("NoSuchBucket", 404), SourceNotFoundError),
        (answer("AccessDenied", 403), AccessDeniedError),
        (answer("403", 403), AccessDeniedError),
        (answer("ExpiredToken", 400), SourceUnavailableError),
        (answer("AWS.SimpleQueueService.NonExistentQueue", 400), SourceNotFoundError),
        (answer("RequestThrottled", 403), SourceUnavailableError),
        (answer("InvalidAccessKeyId", 403), AccessDeniedError),
        (answer("SignatureDoesNotMatch", 403), AccessDeniedError),
        (answer("PreconditionFailed", 412), TornDeliveryError),
        (answer("412", 412), TornDeliveryError),
        (answer("SlowDown", 503), SourceUnavailableError),
        (answer("InternalError", 500), SourceUnavailableError),
        (answer("500", 500), SourceUnavailableError),
        (answer("Throttling", 400), SourceUnavailableError),
        (answer("PermanentRedirect", 301), ConfigurationError),
        (answer("RequestTimeTooSkewed", 403), ConfigurationError),
        (answer("InvalidObjectState", 403), SourceError),
        (answer("Surprise", 400), SourceError),
        (aws.EndpointConnectionError(endpoint_url="https://s3"), SourceUnavailableError),
        (aws.ConnectTimeoutError(endpoint_url="https://s3"), SourceUnavailableError),
        (aws.ReadTimeoutError(endpoint_url="https://s3"), SourceUnavailableError),
        (aws.ConnectionClosedError(endpoint_url="https://s3"), SourceUnavailableError),
        (aws.ResponseStreamingError(error="reset"), SourceUnavailableError),
        (aws.IncompleteReadError(actual_bytes=1, expected_bytes=2), SourceUnavailableError),
        (aws.NoCredentialsError(), ConfigurationError),
        (aws.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), ConfigurationError),
        (aws.ProfileNotFound(profile="acme"), ConfigurationError),
        (aws.UnauthorizedSSOTokenError(), ConfigurationError),
        (aws.ParamValidationError(report="bad\nvery bad"), SourceError),
    ],
)
def test_an_error_of_boto3_becomes_one_of_ours(error: Exception, expected: type[BillfoldError]) -> None:
    assert type(translation(error)) is expected


def test_a_refusal_names_the_missing_permission_and_the_expected_owner() -> None:
    text = str(translation(answer("AccessDenied", 403), account_id="111122223333"))

    assert "s3:GetObject" in text
    assert "account 111122223333" in text


def test_a_refusal_by_the_key_of_the_bucket_names_that_permission() -> None:
    refusal = answer("AccessDenied", 403, message="not authorized to perform: kms:Decrypt on resource: arn:aws:kms:x")

    assert "kms:Decrypt" in str(translation(refusal))


@pytest.mark.parametrize(
    "error",
    [
        answer("301", 301, headers={"x-amz-bucket-region": "eu-west-3"}),
        answer("AuthorizationHeaderMalformed", 400, Region="eu-west-3"),
    ],
)
def test_a_bucket_in_another_region_names_that_region(error: Exception) -> None:
    assert "set AWS_REGION to eu-west-3" in str(translation(error))
