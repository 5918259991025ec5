"""What the sender of a request may do: every route names the access that it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from billfold.errors import ForbiddenError, UnauthorizedError
from billfold.model import Scope as Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the sender of a request may do. `client_id` is the only client that it may see; None is all of them."""

    scopes: frozenset[Scope]
    client_id: str | None = None
    token_id: int | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether the scope is granted."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def narrow(self, client: str | None) -> str | None:
        """The client to which a request for `client` is limited; None is all clients.

        Raises ForbiddenError if the token is for another client.
        """
        if self.client_id is None:
            return client
        if client not in (None, self.client_id):
            raise ForbiddenError("the token is for another client")
        return self.client_id

    def require_all_clients(self) -> None:
        """Raise ForbiddenError for a token of one client, where a response is about all of them."""
        if self.client_id is not None:
            raise ForbiddenError(f"the token is only for client {self.client_id}")


def _require(scope: Scope) -> Any:
    def find(request: Request) -> Access:
        access = request.state.access
        if not isinstance(access, Access):
            raise UnauthorizedError("a token is required")
        if not access.allows(scope):
            raise ForbiddenError(f"the token lacks the scope `{scope}`")
        return access

    return Depends(find)


ReadAccess = Annotated[Access, _require(Scope.READ)]
IngestAccess = Annotated[Access, _require(Scope.INGEST)]
AdminAccess = Annotated[Access, _require(Scope.ADMIN)]
