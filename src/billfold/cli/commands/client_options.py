"""The options of `billfold client add` and `billfold client change`, made from the table of a client's fields.

An option that is not given leaves a field at its default, or as it is; '' clears an optional one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from billfold.settings import CLIENT_FIELDS


def client_option(name: str) -> Any:
    """The option that sets this field of a client."""
    field = CLIENT_FIELDS[name]
    return typer.Option(f"--{name.replace('_', '-')}", metavar=field.metavar, help=field.option)


Bucket = Annotated[str, client_option("bucket")]
AccountId = Annotated[str, client_option("account_id")]
Prefix = Annotated[str, client_option("prefix")]
RoleArn = Annotated[str | None, client_option("role_arn")]
Region = Annotated[str | None, client_option("region")]
KmsKeyArn = Annotated[str | None, client_option("kms_key_arn")]
SourceIdentity = Annotated[str | None, client_option("source_identity")]
Currency = Annotated[str | None, client_option("currency")]
MaxDeliveries = Annotated[int | None, client_option("max_deliveries")]
# '' clears it: it is not only a number.
MaxFileBytes = Annotated[str | None, client_option("max_file_bytes")]
RefreshHours = Annotated[int | None, client_option("refresh_hours")]


def pick_fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of a command's arguments, its `locals()`, the fields that are changeable."""
    return {name: arguments[name] for name, field in CLIENT_FIELDS.items() if field.is_changeable}
