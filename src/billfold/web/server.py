"""The server: one process that answers HTTP until it is told to end."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from urllib.parse import urlencode

import structlog
import uvicorn

from billfold import interruption
from billfold.clients import tokens
from billfold.errors import ConfigurationError
from billfold.jobs.request_worker import AskedWorker
from billfold.log import Event
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web import home_token as serve_token
from billfold.web.application import create_app
from billfold.web.connections import make_protocol
from billfold.web.gate import TOKEN_PARAMETER
from billfold.web.guards import is_loopback
from billfold.web.home_token import HomeToken

_CANCELLING_SECONDS = 1

log = structlog.get_logger(__name__)


def serve(
    settings: Settings,
    database: Database,
    *,
    host: str,
    port: int,
    on_started: Callable[[str], None] = lambda _: None,
) -> None:
    """Answer until SIGTERM or SIGINT, and ingest what is asked for.

    On this machine's own address the home's token opens the server, beside those that `billfold token add` made.
    `on_started` gets the address that a browser opens once the server answers: the home's token is a part of it.

    Requests and deliveries at work may end within BILLFOLD_SHUTDOWN_SECONDS; a second signal cuts that short.
    Deliveries that do not are taken up by another server, or the next one.

    Raises ConfigurationError for another address than this machine's own as long as no token was ever made, and for an
    address that cannot be had.
    """
    home_token = _find_home_token(settings, database, host)
    config = uvicorn.Config(
        create_app(settings, database, home_token=home_token, bound_host=host),
        host=host,
        port=port,
        # What uvicorn would log of each request, the JSON events tell; its own lines stay off.
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        http=make_protocol(settings.request_seconds),
        ws="none",
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    listener = listen(host, port, config.backlog)
    working = AskedWorker(settings=settings, database=database, concurrency=settings.serve_concurrency)
    server = _Server(config, working, home_token, on_started)
    # uvicorn hears of SIGINT and SIGTERM itself, as soon as it runs.
    interruption.let_finish(lambda number: server.handle_exit(number, None))
    working.start()
    try:
        server.run(sockets=[listener])
    finally:
        working.finish(settings.shutdown_seconds - server.stopping_seconds(), lambda: server.force_exit)
        unfinished_count = working.count_working()
        if unfinished_count:
            working.give_back()
        log.info(Event.SERVER_STOPPED, unfinished=unfinished_count)
        if unfinished_count or _is_held_up():
            interruption.leave_now(0)


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A socket that takes connections; raises ConfigurationError for an address that cannot be had."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. asyncio sets it only where a socket names its protocol, which this one does not: the
        # content of an answer would wait some 40 ms until its headers are acknowledged.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"port {port} of {host} is in use by another program, perhaps another `billfold serve`",
                advice="end that one, or choose another port with --port",
            ) from error
        raise ConfigurationError(
            f"cannot listen on {host}, port {port} ({error.strerror or error})", advice="check --host and --port"
        ) from error
    return listener


def _find_home_token(settings: Settings, database: Database, host: str) -> HomeToken | None:
    """The home's token on this machine's own address; elsewhere only tokens that somebody made open the server."""
    if not is_loopback(host):
        if not tokens.was_any_made(database):
            raise ConfigurationError(
                f"{host} can be reached from elsewhere, and there is no token",
                advice="make one (`billfold token add NAME --scope read`), or serve on 127.0.0.1",
            )
        return None
    try:
        return serve_token.ensure(settings.home)
    except ConfigurationError as error:
        if not tokens.was_any_made(database):
            raise
        # A server whose home cannot be written still answers those who have a token.
        log.warning(Event.SERVE_TOKEN_MISSING, error=str(error))
        return None


class _Server(uvicorn.Server):
    """As uvicorn's own, but that its worker ends with it, and that any second signal means at once."""

    def __init__(
        self,
        config: uvicorn.Config,
        working: AskedWorker,
        home_token: HomeToken | None,
        on_started: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self._working = working
        self._home_token = home_token
        self._on_started = on_started
        self._stopped_at: float | None = None

    def stopping_seconds(self) -> float:
        """For how long it has been coming to its end."""
        return 0 if self._stopped_at is None else time.monotonic() - self._stopped_at

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would raise the signal once more when it has stopped.
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets, "it was started with a listener of its own"
        # From here on it answers, and a signal ends it in order.
        port = sockets[0].getsockname()[1]
        token_file = None if self._home_token is None else str(self._home_token.path)
        # The token itself is in no log: whoever may read the file has it.
        log.info(Event.SERVER_STARTED, host=self.config.host, port=port, token_file=token_file)
        self._on_started(self._address(port))

    def _address(self, port: int) -> str:
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        secret = self._home_token.read() if self._home_token else None
        return f"http://{host}:{port}/" + (f"?{urlencode({TOKEN_PARAMETER: secret})}" if secret else "")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopped_at = time.monotonic()
        log.info(Event.SERVER_STOPPING, seconds=self.config.timeout_graceful_shutdown)
        # Requests may take their time to end: nothing is taken up meanwhile.
        self._working.stop()
        await super().shutdown(sockets)


def _is_held_up() -> bool:
    """Whether a request that was cut short still has its thread, which waits for S3: Python would wait for it too."""
    others = [each for each in threading.enumerate() if each is not threading.current_thread() and not each.daemon]
    deadline = time.monotonic() + _CANCELLING_SECONDS
    for thread in others:
        thread.join(max(deadline - time.monotonic(), 0))
    return any(thread.is_alive() for thread in others)
