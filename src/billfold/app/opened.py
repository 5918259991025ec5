"""The settings and the database of one Billfold: opened by the first call that needs them, and left by `close`."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from billfold.model import Client

if TYPE_CHECKING:
    from billfold.app.wanted import AnyClient
    from billfold.settings import Settings
    from billfold.store.database import Database

# How many objects of this process use the embedded server of a home: the last one that closes leaves it.
_users: Counter[Path] = Counter()
_changing = threading.Lock()


class Opened:
    """What every call works with."""

    def __init__(self, settings: Settings, *, database: Database | None = None) -> None:
        """Nothing is opened yet. A `database` that is given must have its schema, and `close` leaves it open."""
        from billfold.log import leave_to_logging

        # Events go to the caller's `logging`, unless a door of our own has said where they go.
        leave_to_logging()
        self.settings = settings
        self._database = database
        self._is_own = database is None
        self._opening = threading.Lock()

    @classmethod
    def from_environment(cls) -> Self:
        """With the settings of the environment and of `.env`; raises ConfigurationError where one is wrong.

        >>> with Billfold.from_environment() as of_environment:
        ...     of_environment.settings.client
        'default'
        """
        from billfold.settings import load_settings

        return cls(load_settings())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the database: an embedded one ends unless others use it. The next call opens it again.

        >>> billfold.close()
        """
        with self._opening:
            if self._database is not None and self._is_own:
                self._database = None
                if self.settings.database_url is None:
                    _leave(self.settings.home)

    @property
    def database(self) -> Database:
        """The database with its schema, opened by the first call that needs it: the embedded one is migrated then.

        Raises ConfigurationError, StoreUnavailableError, and SchemaVersionError where `migrate` has to run first.

        >>> billfold.database.is_embedded
        True
        """
        with self._opening:
            if self._database is None:
                from billfold.store.database import open_database
                from billfold.store.migrate import prepare

                database = open_database(self.settings)
                prepare(database)
                if database.is_embedded:
                    _join(self.settings.home)
                self._database = database
            return self._database

    def check_ready(self) -> None:
        """Raise StoreUnavailableError if PostgreSQL does not answer, SchemaVersionError for another version's schema.

        >>> billfold.check_ready()
        """
        from billfold.store.database import connect
        from billfold.store.migrate import check_schema

        with connect(self.database.conninfo) as connection:
            check_schema(connection)

    def _resolve(self, client: AnyClient) -> Client:
        """The client that a call acts as; raises UsageError for one that is unknown or disabled."""
        if isinstance(client, Client):
            return client
        from billfold.clients import registry

        return registry.resolve_client(self.database, self.settings, client)


def _join(home: Path) -> None:
    with _changing:
        _users[home] += 1


def _leave(home: Path) -> None:
    from billfold.store.embedded import stop_embedded

    with _changing:
        _users[home] -= 1
        if not _users[home]:
            stop_embedded(home)
