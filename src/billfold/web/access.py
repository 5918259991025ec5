"""Who asks, and what they may do: every route names the access that it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from billfold.errors import ForbiddenError, UnauthorizedError
from billfold.model import Scope as Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What whoever asks may do. `client_id` is the only client whose data it reaches, None reaches all of them."""

    scopes: frozenset[Scope]
    client_id: str | None = None
    token_id: int | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether the scope is granted."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def narrow(self, client: str | None) -> str | None:
        """The client that a report is limited to when `client` was asked for; None is all clients.

        Raises ForbiddenError for a client that the token is not for.
        """
        if self.client_id is None:
            return client
        if client not in (None, self.client_id):
            raise ForbiddenError("the token is not for this client")
        return self.client_id

    def refuse_one_client(self) -> None:
        """Raise ForbiddenError where a token for one client asks for what is told of all of them at once."""
        if self.client_id is not None:
            raise ForbiddenError(f"the token is for client {self.client_id} alone")


def _require(scope: Scope) -> Any:
    def find(request: Request) -> Access:
        access = request.state.access
        if not isinstance(access, Access):
            raise UnauthorizedError("a token is needed")
        if not access.allows(scope):
            raise ForbiddenError(f"the token lacks the scope `{scope}`")
        return access

    return Depends(find)


ReadAccess = Annotated[Access, _require(Scope.READ)]
IngestAccess = Annotated[Access, _require(Scope.INGEST)]
AdminAccess = Annotated[Access, _require(Scope.ADMIN)]
