"""What the operator decides: every setting, read once from the environment and from `.env` in the working directory.

`settings.py` lists the settings, `client_fields.py` those of a client, `fields.py` what kinds of values they take, and
`loading.py` reads them and rejects wrong ones. No other module of Billfold reads the environment. boto3 finds AWS
credentials and profiles itself.
"""

from billfold.settings.client_fields import CLIENT_FIELDS, ClientField, default_of
from billfold.settings.fields import (
    EndpointUrl,
    as_folder,
    has_template_syntax,
    is_bucket_name,
)
from billfold.settings.loading import find_unknown_variables, load_settings, require, setting_fields
from billfold.settings.settings import Settings

__all__ = [
    "CLIENT_FIELDS",
    "ClientField",
    "EndpointUrl",
    "Settings",
    "as_folder",
    "default_of",
    "find_unknown_variables",
    "has_template_syntax",
    "is_bucket_name",
    "load_settings",
    "require",
    "setting_fields",
]
