"""What the operator decides: every setting, read once from the environment and from `.env` in the working directory.

`settings.py` lists the settings, `fields.py` what kinds of values they take, and `loading.py` reads and refuses them.
No other module of Billfold reads the environment. boto3 finds AWS credentials and profiles itself.
"""

from billfold.settings.fields import (
    PREFIX_EXPECTED,
    AccountId,
    BucketName,
    ClientId,
    Currency,
    EndpointUrl,
    KmsKeyArn,
    Prefix,
    Region,
    RoleArn,
    SessionName,
    as_folder,
    has_template_syntax,
    is_bucket_name,
)
from billfold.settings.loading import find_unknown_variables, load_settings, require, setting_fields
from billfold.settings.settings import Settings

__all__ = [
    "PREFIX_EXPECTED",
    "AccountId",
    "BucketName",
    "ClientId",
    "Currency",
    "EndpointUrl",
    "KmsKeyArn",
    "Prefix",
    "Region",
    "RoleArn",
    "SessionName",
    "Settings",
    "as_folder",
    "find_unknown_variables",
    "has_template_syntax",
    "is_bucket_name",
    "load_settings",
    "require",
    "setting_fields",
]
