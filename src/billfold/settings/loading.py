"""Read the settings, and reject wrong ones: one line for each, which says what is expected."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource

from billfold.errors import ConfigurationError
from billfold.settings.settings import ENV_FILE, Settings

_OWN_PREFIX = "BILLFOLD_"
# Kubernetes and Docker set these for a service named `billfold`: BILLFOLD_SERVICE_HOST, BILLFOLD_PORT.
_SERVICE_VARIABLE = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$")


def load_settings() -> Settings:
    """The settings as they are now; raises ConfigurationError with one line for each that is wrong.

    An unknown name is an error only in `.env`: see `find_unknown_variables`.
    """
    try:
        complaints = list(_unknown_names())
    except OSError as error:
        raise ConfigurationError(f"{ENV_FILE} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{ENV_FILE} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    try:
        settings = Settings()
    except ValidationError as error:
        complaints += _complaints(error)
        raise ConfigurationError("\n".join(complaints)) from error
    if complaints:
        raise ConfigurationError("\n".join(complaints))
    return settings


def require(settings: Settings, *names: str, purpose: str) -> None:
    """Raise ConfigurationError with one line for each of the named settings that is not set, saying what needs it."""
    fields = setting_fields()
    missing = [name for name in names if getattr(settings, fields[name][0]) in (None, "")]
    if missing:
        lines = [f"{name} is not set: {purpose} needs it, expected {_expected(fields[name][1])}" for name in missing]
        raise ConfigurationError("\n".join(lines))


def setting_fields() -> dict[str, tuple[str, FieldInfo]]:
    """For each variable its attribute of Settings and its field, as the documents list them."""
    return {str(field.validation_alias): (attribute, field) for attribute, field in Settings.model_fields.items()}


def find_unknown_variables() -> dict[str, str]:
    """Variables of the environment that look like settings but are not, each with the most similar setting.

    They are only a warning: another version may know them. Variables that Kubernetes sets for a service are left out.
    """
    return {name: meant for name, meant in _unknown(os.environ) if not _SERVICE_VARIABLE.search(name)}


def _unknown_names() -> Iterator[str]:
    """A complaint for each unknown name in `.env`, which is written for this installation only."""
    for name, meant in _unknown(DotEnvSettingsSource(Settings).env_vars):
        yield f"{name} in {ENV_FILE} is not a setting of Billfold: did you mean {meant}?"


def _unknown(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names that begin like settings, in any case, but are not; each with the most similar setting."""
    known = setting_fields()
    for name in sorted(names):
        upper = name.upper()
        if upper.startswith(_OWN_PREFIX) and name not in known:
            yield name, max(known, key=lambda other: _similarity(upper, other))


def _similarity(one: str, other: str) -> float:
    one, other = one.removeprefix(_OWN_PREFIX), other.removeprefix(_OWN_PREFIX)
    return difflib.SequenceMatcher(None, one, other).ratio()


def _complaints(error: ValidationError) -> Iterator[str]:
    fields = setting_fields()
    # A default that depends on a rejected setting fails too; the operator has only the first one to correct.
    for problem in error.errors():
        name = str(problem["loc"][0])
        if problem["type"] == "default_factory_not_called":
            continue
        field = fields[name][1]
        shown = "wrong" if _extra(field)["secret"] else repr(str(problem["input"])[:200])
        yield f"{name} is {shown}: expected {_expected(field)}"


def _expected(field: FieldInfo) -> str:
    return str(_extra(field)["expected"])


def _extra(field: FieldInfo) -> dict[str, Any]:
    assert isinstance(field.json_schema_extra, dict)
    return dict(field.json_schema_extra)
