"""A DuckDB session for one delivery: on disk, with bounded memory, in UTC."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from billfold import interruption
from billfold.errors import SourceLimitError
from billfold.sql import read_script
from billfold.transform.lookups import create_lookups
from billfold.work_folder import is_of_full_disk, no_space

_OUT_OF_MEMORY = "Out of Memory Error"
_FILE = "delivery.duckdb"

# The statements of scripts, by their text: to parse the longest takes DuckDB longer than to run it over a few rows.
_parsed: dict[str, list[duckdb.Statement]] = {}
# A session's file and its log while they hold the macros and lookups and nothing else, from the process's first
# session: to open a copy takes a tenth of the time that DuckDB needs to verify and plan them again.
_new_files: dict[str, bytes] = {}


@contextmanager
def open_session(folder: Path, *, memory_limit_mb: int, threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A session whose tables are in `folder` and spill there, so that memory does not grow with the bill.

    Rows keep no order: nothing may depend on it, and parallel loading takes half the time. Raises SourceLimitError if
    the work needs more memory than the limit.
    """
    # Another thread may be making them.
    copied = _new_files
    for name, content in copied.items():
        (folder / name).write_bytes(content)
    session = duckdb.connect(
        folder / _FILE,
        config={
            "memory_limit": f"{memory_limit_mb}MB",
            "threads": str(threads),
            "temp_directory": str(folder / "spill"),
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "arrow_lossless_conversion": "true",
            # The file is never opened again: some fifty statements would each wait for the disk in vain.
            "fsync_mode": "NONE",
        },
    )
    try:
        with interruption.stoppable(session.interrupt):
            session.execute("SET GLOBAL TimeZone = 'UTC'")
            # The file is never opened again: writing it out at the end would be in vain.
            session.execute("PRAGMA disable_checkpoint_on_shutdown")
            if not copied:
                _prepare(session, folder)
            yield session
    except Exception as error:
        # If PostgreSQL's driver reads a failing Arrow stream, its error contains DuckDB's text.
        if is_of_full_disk(error, folder) or _OUT_OF_MEMORY not in str(error):
            raise
        if shutil.disk_usage(folder).free < memory_limit_mb * 2**20:
            # It could not spill its memory: the disk is full, although DuckDB does not say so.
            raise no_space("the tables that are being worked on", folder) from error
        raise SourceLimitError(
            f"the bill needs more memory than BILLFOLD_MEMORY_LIMIT_MB allows ({memory_limit_mb} MB)",
            advice="raise it, or choose fewer columns for the export",
        ) from error
    finally:
        session.close()


@contextmanager
def open_beside(session: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A second connection to the session's tables, for work in another thread; it has its own temporary objects."""
    beside = session.cursor()
    try:
        with interruption.stoppable(beside.interrupt):
            yield beside
    finally:
        beside.close()


def _prepare(session: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Create what every session needs, and keep it for the process's next ones."""
    global _new_files
    create_macros(session, "values", "maps")
    create_lookups(session)
    run_script(session, "map_cur/kinds")
    _new_files = {name: (folder / name).read_bytes() for name in (_FILE, f"{_FILE}.wal")}


def create_macros(session: duckdb.DuckDBPyConnection, *subjects: str) -> None:
    """Create the macros of `sql/macros/<subject>.sql`, for all connections of the session.

    DuckDB takes 30 ms to verify those that only few bills need, so they are created on demand.
    """
    for subject in subjects:
        run_script(session, f"macros/{subject}")


def run_script(session: duckdb.DuckDBPyConnection, name: str, *, start: str = "") -> None:
    """Run the statements of `sql/<name>.sql`, the first of which may begin with the words of `start`."""
    script = f"{start} {read_script('billfold.transform', name)}"
    if script not in _parsed:
        _parsed[script] = session.extract_statements(script)
    for statement in _parsed[script]:
        session.execute(statement)


def quote(text: str) -> str:
    """`text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def json_key(name: str) -> str:
    """`name` as a JSON string."""
    return json.dumps(name, ensure_ascii=False)
