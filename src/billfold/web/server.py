"""The server: one process that answers HTTP until it is told to end."""

from __future__ import annotations

import structlog
import uvicorn

from billfold import tokens
from billfold.config import Settings
from billfold.errors import ConfigurationError
from billfold.store.database import Database
from billfold.web.application import create_app
from billfold.web.guards import is_loopback

log = structlog.get_logger(__name__)


def serve(settings: Settings, database: Database, *, host: str, port: int) -> None:
    """Answer until SIGTERM or SIGINT; what is being answered then is finished.

    Raises ConfigurationError for another address than this machine's own as long as no token was ever made.
    """
    is_local = is_loopback(host)
    if not is_local and not tokens.was_any_made(database):
        raise ConfigurationError(
            f"{host} can be reached from elsewhere, and there is no token",
            advice="make one (`billfold token add NAME --scope read`), or serve on 127.0.0.1",
        )
    log.info("server_started", host=host, port=port)
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
    try:
        uvicorn.Server(config).run()
    finally:
        # The signal that ended the server is raised once more when it has stopped.
        log.info("server_stopped")
