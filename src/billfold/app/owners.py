"""`billfold.owners`: who answers for which account."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from billfold.app.billfold import Billfold
    from billfold.reports.owners import OwnerRow, UnownedRow
    from billfold.store.clients.owners import OwnersWritten


class Owners:
    """The owners of accounts; a call without `client` is about the default client where it changes something."""

    def __init__(self, billfold: Billfold) -> None:
        self._billfold = billfold

    def __call__(self, client: str | None = None) -> tuple[OwnerRow, ...]:
        """All owners, of one client or of all: short for `list`.

        >>> [(row.account_id, row.owner) for row in billfold.owners()]
        [('111122223333', 'Platform')]
        """
        return self.list(client)

    def list(self, client: str | None = None) -> tuple[OwnerRow, ...]:
        """The accounts with their owners, of one client or of all.

        >>> [(row.account_id, row.owner) for row in billfold.owners.list()]
        [('111122223333', 'Platform')]
        """
        from billfold.reports.owners import list_owners

        return list_owners(self._billfold.database, client)

    def list_missing(self, client: str | None = None) -> tuple[UnownedRow, ...]:
        """The accounts that have costs and no owner, with their billed cost of the latest month.

        >>> [row.client_id for row in billfold.owners.list_missing("globex")]
        []
        """
        from billfold.reports.owners import list_accounts_without_owner

        return list_accounts_without_owner(self._billfold.database, client)

    def set(self, account_id: str, owner: str, *, name: str | None = None, client: str | None = None) -> OwnersWritten:
        """Set an account's owner; costs of earlier months show it too.

        `name` is your name for the account: None leaves it as it is, '' removes it. Raises UsageError for an invalid
        account, owner or client, and for another client's account.

        >>> billfold.owners.set("444455556666", "Payments", name="payments-prod").added_count
        1
        """
        from billfold.clients import owners

        return owners.set_owner(
            self._billfold.database, self._billfold.settings, self._client(client), account_id, owner, name
        )

    def import_csv(
        self, content: bytes, *, file: str = "the file", replace: bool = False, client: str | None = None
    ) -> OwnersWritten:
        """Set the owners that a CSV file lists: all of them, or none if a line is wrong.

        `content` is UTF-8 with the header `account_id,owner` or `account_id,owner,account_name`; `file` names it in
        errors. With `replace`, accounts that are not in it lose their owner. Raises InputError with the line.

        >>> billfold.owners.import_csv(b"account_id,owner\\n444455556666,Payments\\n").added_count
        1
        """
        from billfold.clients import owners

        return owners.import_owners(
            self._billfold.database,
            self._billfold.settings,
            self._client(client),
            content,
            file=file,
            is_whole=replace,
        )

    def remove(self, account_id: str, *, client: str | None = None) -> str:
        """Remove an account's owner and return who it was; raises UsageError for an account without one.

        >>> billfold.owners.remove("111122223333")
        'Platform'
        """
        from billfold.clients import owners

        return owners.remove_owner(self._billfold.database, self._client(client), account_id)

    def _client(self, client: str | None) -> str:
        return client or self._billfold.settings.client
