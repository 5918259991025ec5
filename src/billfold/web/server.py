"""The server: one process that answers HTTP until it is told to end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn

import structlog
import uvicorn

from billfold import tokens
from billfold.asked import AskedWorker
from billfold.config import Settings
from billfold.errors import ConfigurationError
from billfold.store.database import Database
from billfold.web.application import create_app
from billfold.web.guards import is_loopback

# As a shell tells it of a process that a signal has ended.
_TERMINATED = 128 + signal.SIGTERM

log = structlog.get_logger(__name__)


def serve(settings: Settings, database: Database, *, host: str, port: int) -> None:
    """Answer until SIGTERM or SIGINT, and ingest what is asked for; what is being answered then is finished.

    Deliveries at work may end within BILLFOLD_SHUTDOWN_SECONDS; a second signal cuts that short. Those that do not are
    taken up by another server, or the next one.

    Raises ConfigurationError for another address than this machine's own as long as no token was ever made.
    """
    is_local = is_loopback(host)
    if not is_local and not tokens.was_any_made(database):
        raise ConfigurationError(
            f"{host} can be reached from elsewhere, and there is no token",
            advice="make one (`billfold token add NAME --scope read`), or serve on 127.0.0.1",
        )
    config = uvicorn.Config(
        create_app(settings, database, is_local=is_local, bound_host=host),
        host=host,
        port=port,
        # What uvicorn would log of each request, the JSON events tell; its own lines stay off.
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
    )
    listener = config.bind_socket()
    log.info("server_started", host=host, port=listener.getsockname()[1])
    working = AskedWorker(settings=settings, database=database, concurrency=settings.serve_concurrency)
    working.start()
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        # The signal that ended the server is raised once more when it has stopped.
        log.info("server_stopping", seconds=settings.shutdown_seconds)
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            working.finish()
        unfinished_count = working.count_working()
        log.info("server_stopped", unfinished=unfinished_count)
        if unfinished_count:
            _leave()


def _leave() -> NoReturn:
    """End now, whatever threads still run: nobody can end them, and what they hold is free with the process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_TERMINATED)
