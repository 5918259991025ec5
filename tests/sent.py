"""What boto3 sends, captured on its way."""

from __future__ import annotations

from typing import Any

import botocore.handlers
import pytest


class Sent:
    """The parameters of every call that boto3 makes, by operation."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def capture(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.calls.append((model.name, dict(params)))

    def of(self, operation: str) -> list[dict[str, Any]]:
        return [params for name, params in self.calls if name == operation]

    @classmethod
    def by_this_process(cls, monkeypatch: pytest.MonkeyPatch) -> Sent:
        """What every client of boto3 sends that is made from now on."""
        sent = cls()
        handlers = [*botocore.handlers.BUILTIN_HANDLERS, ("before-parameter-build", sent.capture)]
        monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", handlers)
        return sent
