"""The server: one process that answers HTTP until it is told to end."""

from __future__ import annotations

import ipaddress

import structlog
import uvicorn

from billfold.config import Settings
from billfold.errors import ConfigurationError
from billfold.store.database import Database
from billfold.web.application import create_app

log = structlog.get_logger(__name__)


def serve(settings: Settings, database: Database, *, host: str, port: int) -> None:
    """Answer until SIGTERM or SIGINT; what is being answered then is finished.

    Raises ConfigurationError for another address than this machine's own while no secret guards the routes.
    """
    if settings.events_secret is None and not _is_loopback(host):
        raise ConfigurationError(
            f"{host} can be reached from elsewhere, and BILLFOLD_EVENTS_SECRET is not set",
            advice="set a secret, or serve on 127.0.0.1",
        )
    log.info("server_started", host=host, port=port)
    # What uvicorn would log of each request, the JSON events tell; its own lines stay off.
    config = uvicorn.Config(
        create_app(settings, database), host=host, port=port, log_config=None, access_log=False, server_header=False
    )
    uvicorn.Server(config).run()
    log.info("server_stopped")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
