"""What the benchmarks work on: a folder, an embedded server and databases of their own, and the bill that they load."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from billfold.period import BillingPeriod, parse_period
from billfold.store.database import connect
from billfold.store.migrate import migrate
from billfold.transform.sample_bill import SampleBill

MEBIBYTE = 1 << 20


def parse_options(description: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of every benchmark: each knows all of them, so that one line of ARGS serves all of `make bench`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000, help="line items (default 500,000)")
    parser.add_argument("--runs", type=int, default=3, help="how often everything is measured, in turn (default 3)")
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=16, help="version of the embedded server")
    parser.add_argument("--only-cold", action="store_true", help="measure first loads alone, no restatement")
    parser.add_argument(
        "--large-rows",
        type=int,
        default=5_000_000,
        help="line items of the large bill, which is loaded once (default 5,000,000; 0 leaves it out)",
    )
    parser.add_argument(
        "--charges",
        type=int,
        default=10_000_000,
        help="charges of the year that reports are asked about (default 10,000,000; 0 leaves it out)",
    )
    parser.add_argument(
        "--flood",
        type=int,
        default=40,
        help="deliveries of the client that floods the queue (default 40; 0 leaves fairness out)",
    )
    parser.add_argument(
        "--deliveries",
        type=int,
        default=192_000,
        help="deliveries that /metrics tells of (default 192,000; 0 leaves the scrapes out)",
    )
    options = parser.parse_args(arguments)
    left_out = (options.large_rows, options.charges, options.flood, options.deliveries)
    if options.rows < 100 or options.runs < 1 or min(left_out) < 0:
        parser.error("at least 100 rows and 1 run, and no negative number")
    return options


def time_milliseconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def sample_bill(line_item_count: int) -> SampleBill:
    """The bill that the benchmarks load, in its first revision."""
    period = parse_period("2026-05")
    assert isinstance(period, BillingPeriod)
    return SampleBill(payer_account_id="111122223333", period=period, line_item_count=line_item_count)


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder with a short path (the server's socket lies in it) that is gone afterwards; the spool is its own."""
    folder = Path(tempfile.mkdtemp(prefix="bf-bench-"))
    # For root PostgreSQL runs as another user, who must be able to enter.
    folder.chmod(0o755)
    os.environ["BILLFOLD_HOME"] = str(folder / "home")
    os.environ.pop("BILLFOLD_SPOOL", None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(conninfo: str, name: str) -> Iterator[str]:
    """A migrated database, dropped afterwards; the server has written everything earlier before it is handed out."""
    fresh = psycopg.conninfo.make_conninfo(conninfo, dbname=name)
    with psycopg.connect(conninfo, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {name}")
        server.execute(f"CREATE DATABASE {name}")
        with connect(fresh) as connection:
            migrate(connection)
        server.execute("CHECKPOINT")
        try:
            yield fresh
        finally:
            server.execute(f"DROP DATABASE {name} (FORCE)")
