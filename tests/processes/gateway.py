"""A way to a PostgreSQL server that can be closed, as if the server were killed: for this way's users it is gone."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.folders import short_folder


class Gateway:
    """Listens in a folder of its own and passes everything on."""

    def __init__(self, folder: str, conninfo: str) -> None:
        there = conninfo_to_dict(conninfo)
        self._upstream = f"{there['host']}/.s.PGSQL.{there.get('port') or 5432}"
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/.s.PGSQL.5432")
        self._listener.listen()
        self.conninfo = make_conninfo(conninfo, host=folder, port=5432)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End every session, and take no more."""
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._upstream)
                self._sockets += [client, server]
                for reader, writer in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=[reader, writer], daemon=True).start()


def _pass_on(reader: socket.socket, writer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := reader.recv(65_536):
            writer.sendall(content)
    for each in (reader, writer):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def gateway(conninfo: str) -> Iterator[Gateway]:
    """A way to the server of this connection string, which has a Unix socket; closed at the end."""
    with short_folder() as folder:
        way = Gateway(str(folder), conninfo)
        try:
            yield way
        finally:
            way.close()
