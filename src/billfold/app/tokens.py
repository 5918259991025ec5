"""`billfold.tokens`: who may use the server, and for what."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from billfold.model import Scope

if TYPE_CHECKING:
    from billfold.app.billfold import Billfold
    from billfold.clients.tokens import MadeToken
    from billfold.store.clients.tokens import Token


class Tokens:
    """The tokens of the API and the dashboard; only their hashes are stored."""

    def __init__(self, billfold: Billfold) -> None:
        self._billfold = billfold

    def __call__(self) -> Sequence[Token]:
        """All tokens that were ever made: short for `list`.

        >>> billfold.tokens()
        []
        """
        return self.list()

    @staticmethod
    def new_secret() -> str:
        """A random secret, such as a new token has.

        >>> billfold.tokens.is_secret(billfold.tokens.new_secret())
        True
        """
        from billfold.clients import tokens

        return tokens.new_secret()

    @staticmethod
    def is_secret(text: str) -> bool:
        """Whether the text has the form of a token's secret, valid or not.

        >>> billfold.tokens.is_secret("bf_short")
        False
        """
        from billfold.clients import tokens

        return tokens.is_secret(text)

    def list(self) -> list[Token]:
        """All tokens that were ever made, the oldest first, revoked and expired ones too.

        >>> billfold.tokens.list()
        []
        """
        from billfold.clients import tokens

        return tokens.list_all(self._billfold.database)

    def add(
        self, name: str, scopes: Collection[Scope], *, client: str | None = None, expires_days: int | None = None
    ) -> MadeToken:
        """Make a token for one client or for all; its `secret` is known to the caller only.

        Raises UsageError for an invalid name, a name in use, no scope, and an unknown client.

        >>> from billfold.model import Scope
        >>> made = billfold.tokens.add("finops", [Scope.READ], client="acme", expires_days=90)
        >>> made.secret.startswith("bf_")
        True
        """
        from billfold.clients import tokens

        return tokens.make(self._billfold.database, name, scopes, client_id=client, expires_days=expires_days)

    def revoke(self, token: str) -> Token:
        """Revoke a valid token by its id or its name; raises UsageError where there is none.

        >>> from billfold.model import Scope
        >>> made = billfold.tokens.add("finops", [Scope.READ])
        >>> billfold.tokens.revoke("finops").revoked_at is None
        False
        """
        from billfold.clients import tokens

        return tokens.revoke(self._billfold.database, token)

    def find(self, secret: str) -> Token | None:
        """The valid token with this secret, and note its use; None where there is none.

        >>> billfold.tokens.find("bf_unknown") is None
        True
        """
        from billfold.clients import tokens

        return tokens.find(self._billfold.database, secret)

    def was_any_made(self) -> bool:
        """Whether there ever was a token.

        >>> billfold.tokens.was_any_made()
        False
        """
        from billfold.clients import tokens

        return tokens.was_any_made(self._billfold.database)
