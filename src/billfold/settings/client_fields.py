"""What is configured of a client, in one table: its name, kind, bounds, default, setting and option.

The settings of a single client, the registry, `billfold client add` and `change`, and docs/clients.md are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from billfold.model import Client
from billfold.settings.fields import (
    PREFIX_EXPECTED,
    AccountId,
    BucketName,
    ClientId,
    Currency,
    KmsKeyArn,
    Prefix,
    Region,
    RoleArn,
    SessionName,
    setting,
)

_GIBIBYTE = 2**30
_MODEL_DEFAULTS = {field.name: field.default for field in fields(Client)}
_FROM_MODEL = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientField:
    """A field of `Client`. `accepts` says in words what `kind` accepts; a number is from `min` to `max`.

    `setting` is the variable that holds it for the single client of the settings, `description` its text in
    docs/settings.md; `option` is the text of `--name` in the help of `client add` and `change`. `default` is the
    setting's, by default that of `Client`. Of a registered client only some fields are changeable, and of these some
    can be cleared.
    """

    setting: str
    kind: Any
    accepts: str
    description: str
    option: str
    metavar: str
    example: str | None = None
    default: Any = _FROM_MODEL
    min: int | None = None
    max: int | None = None
    is_changeable: bool = False
    is_clearable: bool = False

    @property
    def expected(self) -> str:
        """What it accepts, bounds included: completes "AWS_REGION is 'x': expected …"."""
        if self.max is not None:
            return f"{self.accepts} from {self.min} to {self.max}"
        return f"{self.accepts}, {self.min} or more" if self.min is not None else self.accepts

    def check(self, value: Any) -> Any:
        """The value as a client holds it; raises pydantic's ValidationError for one that `kind` does not accept."""
        bounded: Any = Annotated[self.kind, Field(ge=self.min, le=self.max)]
        return TypeAdapter(bounded).validate_python(value)


CLIENT_FIELDS: Mapping[str, ClientField] = {
    "client_id": ClientField(
        setting="BILLFOLD_CLIENT",
        kind=ClientId,
        accepts="up to 64 letters, digits, dots, hyphens or underscores",
        description="The client that these settings describe.",
        option="The client's id.",
        metavar="ID",
        default="default",
        example="acme",
    ),
    "bucket": ClientField(
        setting="AWS_BILLING_BUCKET",
        kind=BucketName,
        accepts="a bucket's name without s3://, 3 to 63 lower-case letters, digits, dots or hyphens",
        description="The bucket that AWS writes the billing export to.",
        option="The bucket of the billing exports.",
        metavar="NAME",
        example="acme-billing-exports",
    ),
    "prefix": ClientField(
        setting="AWS_BILLING_PREFIX",
        kind=Prefix,
        accepts=PREFIX_EXPECTED,
        description="The folder of the exports. `backfill` reads every statement in it. A slash at its start is part of"
        " the name.",
        option="The folder of the exports; the whole bucket by default.",
        metavar="FOLDER",
        example="exports/",
    ),
    "account_id": ClientField(
        setting="BILLFOLD_ACCOUNT_ID",
        kind=AccountId,
        accepts="12 digits",
        description="The client's account. A bucket of another account is rejected (ExpectedBucketOwner).",
        option="The account of bucket and role: 12 digits.",
        metavar="ID",
        example="111122223333",
    ),
    "role_arn": ClientField(
        setting="AWS_ASSUME_ROLE_ARN",
        kind=RoleArn,
        accepts="arn:aws:iam::<12 digits>:role/<name>",
        description="The read-only role to assume in the client's account. Without it the ambient credentials read the"
        " bucket.",
        option="The read-only role; by default, and with '', the one of `billfold onboard`.",
        metavar="ARN",
        example="arn:aws:iam::111122223333:role/billfold-read",
        is_changeable=True,
        is_clearable=True,
    ),
    "region": ClientField(
        setting="AWS_REGION",
        kind=Region,
        accepts="a region such as eu-central-1",
        description="The region of the billing bucket and of STS. Without it boto3's own configuration decides.",
        option="The bucket's region; by default, and with '', AWS_REGION.",
        metavar="REGION",
        example="ap-south-1",
        is_changeable=True,
        is_clearable=True,
    ),
    "kms_key_arn": ClientField(
        setting="BILLFOLD_KMS_KEY_ARN",
        kind=KmsKeyArn,
        accepts="arn:aws:kms:<region>:<12 digits>:key/<id>",
        description="The bucket's own key, if it has one: sessions can then decrypt with this key only.",
        option="The bucket's own key, the only one that is used; '' if it has none any more.",
        metavar="ARN",
        example="arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        is_changeable=True,
        is_clearable=True,
    ),
    "source_identity": ClientField(
        setting="BILLFOLD_SOURCE_IDENTITY",
        kind=SessionName,
        accepts="2 to 64 letters, digits or _+=,.@-",
        description="The source identity of the role's sessions, if its trust policy requires one.",
        option="The source identity of sessions, as CloudTrail shows it; '' for none.",
        metavar="NAME",
        example="billfold-finops",
        is_changeable=True,
        is_clearable=True,
    ),
    "currency": ClientField(
        setting="BILLFOLD_CURRENCY",
        kind=Currency,
        accepts="a currency code of three capital letters",
        description="The currency of bills that have no currency column.",
        option="The currency of bills without one, from the next bill on; BILLFOLD_CURRENCY for a new client.",
        metavar="CODE",
        is_changeable=True,
    ),
    "max_deliveries": ClientField(
        setting="BILLFOLD_MAX_DELIVERIES",
        kind=int,
        accepts="a whole number",
        description="The maximum number of this client's deliveries that all workers together ingest at a time.",
        option="The maximum number of deliveries that all workers together ingest at a time;"
        f" {_MODEL_DEFAULTS['max_deliveries']} for a new client.",
        metavar="N",
        min=1,
        max=1000,
        is_changeable=True,
    ),
    "max_file_bytes": ClientField(
        setting="BILLFOLD_MAX_FILE_BYTES",
        kind=int,
        accepts="a number of bytes",
        description="The largest object that is fetched, as delivered.",
        option="The largest object that is fetched; by default, and with '', BILLFOLD_MAX_FILE_BYTES.",
        metavar="N",
        default=20 * _GIBIBYTE,
        min=1,
        is_changeable=True,
        is_clearable=True,
    ),
    "refresh_hours": ClientField(
        setting="BILLFOLD_REFRESH_HOURS",
        kind=int,
        accepts="a whole number of hours",
        description="How often AWS is expected to deliver. `schedule` searches the prefix at the same interval.",
        option=f"How often AWS is expected to deliver, in hours; {_MODEL_DEFAULTS['refresh_hours']} for a new client.",
        metavar="N",
        min=1,
        max=8760,
        is_changeable=True,
    ),
}


def client_setting(name: str) -> Any:
    """The field of Settings that holds this field of the single client."""
    field = CLIENT_FIELDS[name]
    return setting(
        field.setting,
        field.description,
        expected=field.expected,
        default=default_of(name),
        ge=field.min,
        le=field.max,
        examples=[field.example] if field.example else None,
    )


def default_of(name: str) -> Any:
    """What the setting holds if it is not set."""
    default = CLIENT_FIELDS[name].default
    return _MODEL_DEFAULTS[name] if default is _FROM_MODEL else default
