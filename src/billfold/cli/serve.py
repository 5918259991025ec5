"""The command that serves HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from billfold.cli.application import app, open_store, start
from billfold.cli.exits import ExitCode


@app.command(
    epilog=(
        "Examples: `billfold serve` · `BILLFOLD_ALLOWED_HOSTS=billfold.example billfold serve --host 0.0.0.0`\n\n"
        "Without a token: GET /healthz, GET /readyz, /sign-in, and POST /v1/events/eventbridge with the header"
        " X-Billfold-Secret."
    )
)
def serve(
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address to answer on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="The port; 0 takes a free one.")] = 8080,
) -> int:
    """Answer HTTP: the dashboard, the API, health, and the events that an API destination of EventBridge sends.

    What is asked for waits in PostgreSQL, and BILLFOLD_SERVE_CONCURRENCY deliveries of it are ingested at a time.
    SIGTERM and SIGINT end the server: what runs may finish within BILLFOLD_SHUTDOWN_SECONDS. What does not, or was
    killed, is taken up by another server, or the next one.

    As long as `billfold token add` never made a token, only this machine may ask, and it may do everything; another
    address is refused. From then on every request needs a token, on this machine too.

    An event is checked against the clients' buckets, folders and accounts, and goes on through the worker's queue
    (BILLFOLD_QUEUE_URL), or is ingested like what was asked for where there is none.
    """
    settings = start()
    database = open_store(settings)
    # FastAPI takes a moment to load: only this command needs it.
    from billfold.web import serve as answer

    answer(settings, database, host=host, port=port)
    return ExitCode.SUCCESS
