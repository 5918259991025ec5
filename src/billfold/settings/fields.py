"""The kinds of values that settings accept, and how a field of the settings is declared."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

_BUCKET_NAME = r"(?!\d+\.\d+\.\d+\.\d+$)(?!xn--)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})", re.ASCII)
_CONNINFO = r"(?:\s*\w+\s*=\s*(?:'(?:[^'\\]|\\.)*'|[^\s'=]*)(?=\s|$))+\s*"


def is_bucket_name(text: str) -> bool:
    """Whether S3 could have a general purpose bucket of this name (AWS: "Bucket naming rules")."""
    return re.fullmatch(_BUCKET_NAME, text, re.ASCII) is not None


def setting(name: str, description: str, *, expected: str, secret: bool = False, **more: Any) -> Any:
    """A field read from the variable `name`; `expected` completes "AWS_REGION is 'x': expected …".

    The value of a secret is never shown, neither in an error nor in the representation of the settings.
    """
    extra: dict[str, Any] = {"expected": expected, "secret": secret}
    return Field(validation_alias=name, description=description, repr=not secret, json_schema_extra=extra, **more)


def whole(name: str, description: str, *, default: int, min: int, max: int) -> Any:
    """A whole number between two limits, both included."""
    expected = f"a whole number from {min} to {max}"
    return setting(name, description, expected=expected, default=default, ge=min, le=max)


def size(name: str, description: str, *, default: int, min: int = 1) -> Any:
    """A number of bytes."""
    return setting(name, description, expected=f"a number of bytes, {min} or more", default=default, ge=min)


def accepted_by(accepts: Callable[[str], bool]) -> AfterValidator:
    """A validator that rejects the texts for which `accepts` is false or raises ValueError."""

    def validate(text: str) -> str:
        if not accepts(text):
            raise ValueError("not accepted")
        return text

    return AfterValidator(validate)


def matching(pattern: str) -> AfterValidator:
    """A validator that requires the whole text to match, with ASCII letters and digits only."""
    expression = re.compile(pattern, re.ASCII)
    return accepted_by(lambda text: expression.fullmatch(text) is not None)


def as_folder(prefix: str) -> str:
    """The folder of a bucket that a prefix means: empty for the whole bucket, else with one slash at its end.

    A slash at its start is part of it: S3 compares keys letter by letter.
    """
    folder = prefix.rstrip("/")
    return f"{folder}/" if folder else ""


def has_template_syntax(text: str) -> bool:
    """Whether CloudFormation would read the text as more than its letters.

    `{{resolve:…}}` is replaced by a secret or a parameter of the account that deploys the template, and `${…}` by what
    Fn::Sub finds (AWS: "Get values stored in other services using dynamic references", "Fn::Sub"). The first two
    characters of either are enough to reject it: CloudFormation has added services and functions before (I).
    """
    return "{{" in text or "${" in text


def _as_prefix(text: str) -> str:
    if has_template_syntax(text):
        raise ValueError("not accepted")
    return as_folder(text)


def lowered(value: object) -> object:
    """The same text in lower case; other values stay as they are."""
    return value.lower() if isinstance(value, str) else value


def as_number(value: object) -> object:
    """The number that a text of digits means, for fields that choose among numbers."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError("the home directory is unknown") from error


def _is_database_url(text: str) -> bool:
    if "://" not in text:
        return re.fullmatch(_CONNINFO, text) is not None
    parts = urlsplit(text)
    # Reading a port that is not a number raises ValueError, which rejects the value too.
    return parts.scheme in ("postgres", "postgresql") and (parts.port is None or parts.port > 0)


def _is_endpoint(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def _is_host(text: str) -> bool:
    return _HOST_NAME.fullmatch(text) is not None or (_is_network(text) and "/" not in text)


def _is_network(text: str) -> bool:
    # A text that is neither an address nor a network raises ValueError, which rejects it.
    return ipaddress.ip_network(text).num_addresses > 0


AccountId = Annotated[str, matching(r"[0-9]{12}")]
KmsKeyArn = Annotated[str, matching(r"arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,128}")]
BucketName = Annotated[str, accepted_by(is_bucket_name)]
ClientId = Annotated[str, matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")]
Currency = Annotated[str, matching(r"[A-Z]{3}")]
DatabaseUrl = Annotated[str, accepted_by(_is_database_url)]
EndpointUrl = Annotated[str, accepted_by(_is_endpoint)]
EventsSecret = Annotated[str, matching(r"[!-~]{16,512}")]
ExternalId = Annotated[str, matching(r"[\w+=,.@:/-]{2,1224}")]
Folder = Annotated[Path, AfterValidator(_absolute)]
HostNames = Annotated[str, accepted_by(lambda text: all(map(_is_host, _parts(text))))]
Networks = Annotated[str, accepted_by(lambda text: all(map(_is_network, _parts(text))))]
Prefix = Annotated[str, AfterValidator(_as_prefix)]
Region = Annotated[str, matching(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")]
RoleArn = Annotated[str, matching(r"arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,576}")]
SessionName = Annotated[str, matching(r"[\w+=,.@-]{2,64}")]

PREFIX_EXPECTED = "a folder such as exports/, without {{ or ${, which CloudFormation would replace"
DATABASE_EXPECTED = "postgresql://user:password@host:5432/database, or libpq's host=… dbname=…"
