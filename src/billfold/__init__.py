"""Billfold lands AWS billing exports in PostgreSQL, to the cent.

`Billfold` is the way in; beside it here are the values that it takes and returns, and every error that it raises.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from billfold.money import use_wide_context as _use_wide_context

if TYPE_CHECKING:
    from billfold.app import Billfold
    from billfold.errors import (
        AccessDeniedError,
        BillfoldError,
        ConfigurationError,
        DeliveryHeldError,
        ForbiddenError,
        InputError,
        InternalError,
        InterruptionError,
        InvalidValueError,
        MalformedFileError,
        ManifestError,
        MessageError,
        MissingColumnError,
        QueryError,
        ReconciliationError,
        RunConflictError,
        SchemaVersionError,
        SourceError,
        SourceLimitError,
        SourceNotFoundError,
        SourceUnavailableError,
        SpoolFullError,
        StoreError,
        StoreFullError,
        StoreLimitError,
        StoreUnavailableError,
        TornDeliveryError,
        UnauthorizedError,
        UnknownFormatError,
        UsageError,
    )
    from billfold.model import Client, DeliveryOutcome, DeliveryState
    from billfold.period import BillingPeriod
    from billfold.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "AccessDeniedError",
    "Billfold",
    "BillfoldError",
    "BillingPeriod",
    "Client",
    "ConfigurationError",
    "DeliveryHeldError",
    "DeliveryOutcome",
    "DeliveryState",
    "ForbiddenError",
    "InputError",
    "InternalError",
    "InterruptionError",
    "InvalidValueError",
    "MalformedFileError",
    "ManifestError",
    "MessageError",
    "MissingColumnError",
    "QueryError",
    "ReconciliationError",
    "RunConflictError",
    "SchemaVersionError",
    "Settings",
    "SourceError",
    "SourceLimitError",
    "SourceNotFoundError",
    "SourceUnavailableError",
    "SpoolFullError",
    "StoreError",
    "StoreFullError",
    "StoreLimitError",
    "StoreUnavailableError",
    "TornDeliveryError",
    "UnauthorizedError",
    "UnknownFormatError",
    "UsageError",
    "__version__",
]

# Each is imported when it is first used (PEP 562): `billfold --help` waits for none of them.
_HOMES = {
    "Billfold": "billfold.app",
    "BillingPeriod": "billfold.period",
    "Client": "billfold.model",
    "DeliveryOutcome": "billfold.model",
    "DeliveryState": "billfold.model",
    "Settings": "billfold.settings.settings",
}

# Before any thread does arithmetic.
_use_wide_context()


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "billfold.errors")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
