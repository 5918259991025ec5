"""Clients: the tenants whose bills are ingested.

`registry.py` knows who they are and which folder of which bucket is theirs, `owners.py` who owns each of their
accounts, and `tokens.py` who may use the server. `onboarding/` writes what a client deploys in its own AWS account.
"""

from billfold.clients.registry import (
    change,
    find_for_onboarding,
    find_known,
    find_owner,
    list_clients,
    look_up_owner,
    owns,
    partition_of,
    register,
    remove,
    renew_external_id,
    resolve_client,
    resolve_client_of_delivery,
    role_arn,
    role_name,
    set_enabled,
)

__all__ = [
    "change",
    "find_for_onboarding",
    "find_known",
    "find_owner",
    "list_clients",
    "look_up_owner",
    "owns",
    "partition_of",
    "register",
    "remove",
    "renew_external_id",
    "resolve_client",
    "resolve_client_of_delivery",
    "role_arn",
    "role_name",
    "set_enabled",
]
