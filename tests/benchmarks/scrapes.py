"""What a scrape of /metrics reads and how long it takes: a part of `make bench`, or run `tests.benchmarks.scrapes`.

The control tables are those of 100 clients and two years, made by PostgreSQL itself. The first scrape of a server
counts everything, as one without a memory would each time; each one after it counts what is new, and what is open.
"""

from __future__ import annotations

import statistics

from billfold.reports.instruments import Instruments
from billfold.store.database import Database, connect
from billfold.store.embedded import start_embedded
from tests.benchmarks.workbench import fresh_database, parse_options, time_milliseconds, work_folder
from tests.control_tables import fill_control_tables

CLIENTS = 100
MONTHS = 24
ASKED = 9


def main() -> None:
    """Measure, print and leave nothing behind."""
    options = parse_options(__doc__ or "")
    per_statement = options.deliveries // (CLIENTS * MONTHS)
    if not per_statement:
        print("\nthe scrapes are left out", flush=True)
        return
    with work_folder() as folder:
        conninfo = start_embedded(folder / "home", postgres_version=options.postgres)
        with fresh_database(conninfo, "scrapes") as fresh:
            with connect(fresh) as connection:
                fill_control_tables(connection, clients=CLIENTS, deliveries=per_statement)
            deliveries = CLIENTS * MONTHS * per_statement
            print(f"\n{CLIENTS} clients, {deliveries:,} deliveries, {deliveries * 5:,} runs", flush=True)
            database = Database(conninfo=fresh, reader_conninfo=None, is_embedded=True)
            instruments = Instruments(database, None)
            instruments.read()
            again = statistics.median(time_milliseconds(instruments.read) for _ in range(ASKED))
            first = statistics.median(time_milliseconds(Instruments(database, None).read) for _ in range(options.runs))
            print(f"first scrape       {first / 1000:8.2f} s")
            print(f"each one after it  {again / 1000:8.2f} s    {first / again:.0f} times as fast")


if __name__ == "__main__":
    main()
