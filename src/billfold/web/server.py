"""The server: one process that answers HTTP until a signal ends it."""

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
from billfold.app import Billfold
from billfold.errors import ConfigurationError
from billfold.jobs.pool import Pool
from billfold.log import Event
from billfold.web.application import create_app
from billfold.web.connections import make_protocol
from billfold.web.gate import TOKEN_PARAMETER
from billfold.web.guards import is_loopback
from billfold.web.home_token import HomeToken, ensure

_CANCELLING_SECONDS = 1

log = structlog.get_logger(__name__)


def serve(
    billfold: Billfold,
    *,
    host: str,
    port: int,
    on_started: Callable[[str], None] = lambda _: None,
) -> None:
    """Answer requests and ingest requested deliveries until SIGTERM or SIGINT.

    On a loopback address the home token opens the server, as do the tokens made by `billfold token add`. `on_started`
    gets the URL to open in a browser, with the home token in it, once the server answers.

    After the signal, requests and deliveries have BILLFOLD_SHUTDOWN_SECONDS to finish; a second signal ends that at
    once. Another server, or the next one, takes over unfinished deliveries.

    Raises ConfigurationError for an address that other machines reach while no token was ever made, and for an address
    that is not available.
    """
    settings = billfold.settings
    home_token = _find_home_token(billfold, host)
    config = uvicorn.Config(
        create_app(billfold, home_token=home_token, bound_host=host),
        host=host,
        port=port,
        # Our JSON events replace uvicorn's own log lines.
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        http=make_protocol(settings.request_seconds),
        ws="none",
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    listener = listen(host, port, config.backlog)
    pool = Pool(settings=settings, database=billfold.database, concurrency=settings.serve_concurrency)
    server = _Server(config, pool, home_token, on_started)
    # uvicorn handles SIGINT and SIGTERM itself as soon as it runs.
    interruption.let_finish(lambda number: server.handle_exit(number, None))
    # Even a server that is to ingest nothing runs doctor for its pages.
    pool.start()
    try:
        server.run(sockets=[listener])
    finally:
        unfinished = pool.finish(settings.shutdown_seconds - server.stopping_seconds(), lambda: server.force_exit)
        log.info(Event.SERVER_STOPPED, unfinished=len(unfinished))
        if unfinished or _is_held_up():
            interruption.leave_now(0)


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket; raises ConfigurationError if the address is not available."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit this option. asyncio sets it only on sockets that name their protocol, which this one does
        # not. Without it, the content of a response would wait about 40 ms for the acknowledgement of its headers.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"port {port} of {host} is in use by another program, perhaps another `billfold serve`",
                advice="stop that program, or choose another port with --port",
            ) from error
        raise ConfigurationError(
            f"cannot listen on {host}, port {port} ({error.strerror or error})", advice="check --host and --port"
        ) from error
    return listener


def _find_home_token(billfold: Billfold, host: str) -> HomeToken | None:
    """The home token on a loopback address; elsewhere, only tokens made by `billfold token add` open the server."""
    if not is_loopback(host):
        if not billfold.tokens.was_any_made():
            raise ConfigurationError(
                f"other machines can reach {host}, and no token exists",
                advice="add one (`billfold token add NAME --scope read`), or serve on 127.0.0.1",
            )
        return None
    try:
        return ensure(billfold.settings.home)
    except ConfigurationError as error:
        if not billfold.tokens.was_any_made():
            raise
        # Even if its home is not writable, the server still answers requests with a token.
        log.warning(Event.SERVE_TOKEN_MISSING, error=str(error))
        return None


class _Server(uvicorn.Server):
    """A uvicorn server that also stops its pool, and that stops at once on any second signal."""

    def __init__(
        self,
        config: uvicorn.Config,
        pool: Pool,
        home_token: HomeToken | None,
        on_started: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self._pool = pool
        self._home_token = home_token
        self._on_started = on_started
        self._stopped_at: float | None = None

    def stopping_seconds(self) -> float:
        """How long it has been stopping."""
        return 0 if self._stopped_at is None else time.monotonic() - self._stopped_at

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Without calling uvicorn's own handler, which would raise the signal again after the server has stopped.
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets, "serve() passes its own listener"
        # From here on the server answers, and a signal stops it in order.
        port = sockets[0].getsockname()[1]
        token_file = None if self._home_token is None else str(self._home_token.path)
        # The log has the path of the file, never the token.
        log.info(Event.SERVER_STARTED, host=self.config.host, port=port, token_file=token_file)
        self._on_started(self._address(port))

    def _address(self, port: int) -> str:
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        secret = self._home_token.read() if self._home_token else None
        return f"http://{host}:{port}/" + (f"?{urlencode({TOKEN_PARAMETER: secret})}" if secret else "")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopped_at = time.monotonic()
        log.info(Event.SERVER_STOPPING, seconds=self.config.timeout_graceful_shutdown)
        # The pool begins nothing new while requests finish.
        self._pool.stop()
        await super().shutdown(sockets)


def _is_held_up() -> bool:
    """Whether the thread of a cancelled request still waits for S3. Python would wait for that thread at exit."""
    others = [each for each in threading.enumerate() if each is not threading.current_thread() and not each.daemon]
    deadline = time.monotonic() + _CANCELLING_SECONDS
    for thread in others:
        thread.join(max(deadline - time.monotonic(), 0))
    return any(thread.is_alive() for thread in others)
