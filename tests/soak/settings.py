"""Bills of every format under settings of PostgreSQL that are chosen at random, held against a calm database."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from psycopg.conninfo import make_conninfo

from billfold.settings import load_settings
from billfold.store.database import READER_ROLE, Database, connect
from billfold.store.embedded import start_embedded
from billfold.store.migrate import migrate_database
from tests.bills.landing import Landing
from tests.processes.hostile_settings import HOSTILE, HOSTILE_SINCE_17, set_for_database, work_through

_MIN_ITEMS, _MAX_ITEMS = 100, 400


def trial(seed: int, folder: Path) -> list[str]:
    """One line for each promise that a random choice of hostile settings broke; the folder is empty and short."""
    random = Random(seed)
    version = random.choice((16, 18))
    known = {**HOSTILE, **(HOSTILE_SINCE_17 if version >= 17 else {})}
    names = sorted(random.sample(sorted(known), random.randint(1, len(known))))
    chosen = {name: random.choice(known[name]) for name in names}
    item_count, bill_seed = random.randint(_MIN_ITEMS, _MAX_ITEMS), random.randrange(1_000)
    conninfo = start_embedded(folder / "home", postgres_version=version)
    seen = []
    for name, settings in (("calm", {}), ("hostile", chosen)):
        landing = _land_in(conninfo, folder / name, name, settings)
        is_doubtful = name == "hostile"
        seen.append(
            work_through(landing, folder / name, is_doubtful=is_doubtful, item_count=item_count, seed=bill_seed)
        )
    calm, hostile = seen
    place = f"PostgreSQL {version}, {', '.join(f'{name}={value}' for name, value in chosen.items())}"
    violations = [
        f"{name} is not what it is without these settings: {place}" for name in calm if hostile[name] != calm[name]
    ]
    violations += [f"{name}: {hostile[name]}: {place}" for name in ("differences", "broken") if hostile[name]]
    return violations


def _land_in(conninfo: str, folder: Path, name: str, settings: Mapping[str, str]) -> Landing:
    folder.mkdir()
    with connect(conninfo) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    own = make_conninfo(conninfo, dbname=name)
    database = Database(conninfo=own, reader_conninfo=make_conninfo(own, user=READER_ROLE), is_embedded=True)
    set_for_database(database, settings.items())
    migrate_database(database)
    changes: dict[str, Any] = {"min_free_bytes": 0, "spool": folder / "spool"}
    return Landing.make(database, load_settings(), folder / "bucket").with_settings(**changes)
