"""`billfold serve`: the dashboard and the API."""

from __future__ import annotations

from typing import Annotated

import typer

from billfold.cli.application import app, start
from billfold.cli.exits import ExitCode
from billfold.cli.output.screen import Screen


@app.command(
    epilog=(
        "Examples: `billfold serve` · `BILLFOLD_ALLOWED_HOSTS=billfold.example billfold serve --host 0.0.0.0`\n\n"
        "Without a token: GET /healthz, GET /readyz, /sign-in, and POST /v1/events/eventbridge with the header"
        " X-Billfold-Secret."
    )
)
def serve(
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="The port; 0 picks a free one.")] = 8080,
) -> int:
    """Serve HTTP: the dashboard, the API, health, and events from an API destination of EventBridge.

    Requested work waits in PostgreSQL, and BILLFOLD_SERVE_CONCURRENCY of its deliveries are ingested at a time. SIGTERM
    and SIGINT end the server: running deliveries may finish within BILLFOLD_SHUTDOWN_SECONDS. Another server, or the
    next one, takes up what does not finish or was killed.

    Every request needs a token. On 127.0.0.1 the first start makes one in BILLFOLD_HOME/serve.token (mode 0600), which
    allows everything on this machine; on a terminal it is printed as a part of the address. Scripts and Prometheus read
    the file. Tokens of `billfold token add` work too, and are required to serve on another address.

    An event is checked against the clients' buckets, folders and accounts. It goes on through the worker's queue
    (BILLFOLD_QUEUE_URL), or without one is ingested like requested work.
    """
    billfold = start()
    # FastAPI takes a moment to load: only this command needs it.
    from billfold.web import serve as answer

    answer(billfold, host=host, port=port, on_started=_show_address)
    return ExitCode.SUCCESS


def _show_address(address: str) -> None:
    """Print the address on a terminal alone: logs and pipes are read by others than the user who owns the home."""
    screen = Screen()
    if screen.is_terminal:
        screen.print(f"The dashboard is at {address}", soft_wrap=True)
