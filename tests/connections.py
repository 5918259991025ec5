"""Connections that tests keep: to open one takes longer than most questions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import psycopg

from billfold.errors import StoreError
from billfold.store.database import Connection, connect, translate_errors
from billfold.store.session import tune_query

T = TypeVar("T")

_kept: dict[str, Connection] = {}


def ask(conninfo: str, question: Callable[[Connection], T]) -> T:
    """What the question returns, on a connection in autocommit mode. Other threads than the main one have their own."""
    if threading.current_thread() is not threading.main_thread():
        with connect(conninfo) as connection:
            return question(connection)
    if conninfo in _kept:
        try:
            with translate_errors():
                return question(_kept[conninfo])
        except StoreError:
            # A server that has ended the connection has not run the statement.
            if not _kept[conninfo].broken:
                raise
            forget(conninfo)
    connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    connection.execute(tune_query({}).encode())
    _kept[conninfo] = connection
    with translate_errors():
        return question(connection)


def forget(*conninfos: str) -> None:
    """Close these connections, or all of them: nobody may be connected to a database that is copied or dropped."""
    for conninfo in conninfos or list(_kept):
        if connection := _kept.pop(conninfo, None):
            connection.close()
