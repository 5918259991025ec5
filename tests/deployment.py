"""What stands in `deploy/`, `Dockerfile` and the documents, read as the programs that use it read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def read_compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """`deploy/compose.yaml` with its variables filled in; a required one that is missing raises KeyError."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    filled: dict[str, Any] = _fill(document, variables)
    for service in filled["services"].values():
        given = service.get("environment", {})
        # A name without a value takes the one outside, where there is one.
        service["environment"] = {
            name: variables[name] if value is None else value
            for name, value in given.items()
            if value is not None or name in variables
        }
    return filled


def read_env_file(name: str) -> dict[str, str]:
    """The variables of a file in `deploy/`."""
    lines = (DEPLOY / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def sh_examples(document: str) -> list[str]:
    """The blocks of a document that a shell can run."""
    return re.findall(
        r"^```sh\n(.*?)^```", (ROOT / "docs" / document).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def _fill(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _fill(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, variables) for each in value]
    if not isinstance(value, str):
        return value

    def look_up(found: re.Match[str]) -> str:
        name, kind, otherwise = found.groups()
        return variables.get(name) or otherwise if kind == "-" else variables[name]

    return _VARIABLE.sub(look_up, value)
