"""The try-out of `deploy/compose.yaml` without containers: its commands, against a moto and a PostgreSQL here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

import billfold
from billfold.aws import LocalAws
from billfold.reports.costs import sum_costs
from billfold.settings import Settings
from billfold.store import rights
from billfold.store.database import Database, connect
from billfold.store.home import wheel_programs
from tests.deployment import DEPLOY, read_compose, read_env_file, sh_examples
from tests.processes.warm_process import WarmProcess, run_warm
from tests.processes.web_server import run_web_server
from tests.processes.worker_process import start_worker
from tests.services import run_bare_server

pytestmark = pytest.mark.slow

VARIABLES = read_env_file("try-out.env")
PASSED_ON = ("PATH", "HOME", "LANG")
# The script with small bills: nothing here depends on how many line items there are.
SCRIPT = f"""
import sys
sys.path.insert(0, {str(DEPLOY)!r})
import try_out
try_out.LINE_ITEMS = 500
try_out.main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the services of the compose file run: addresses of containers stand for those of here."""

    addresses: dict[str, str]
    folder: Path

    def environment(self, service: str) -> dict[str, str]:
        """The variables of a service, as its container has them."""
        given: dict[str, str] = read_compose(VARIABLES)["services"][service]["environment"]
        for theirs, ours in self.addresses.items():
            given = {name: value.replace(theirs, ours) for name, value in given.items()}
        return {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "PYTHONPATH": str(Path(billfold.__file__).parents[1]),
            "BILLFOLD_HOME": str(self.folder / "home"),
            "BILLFOLD_MIN_FREE_BYTES": "0",
            "BILLFOLD_LOG_FORMAT": "json",
            **given,
        }

    def run(self, service: str, words: Sequence[str]) -> str:
        """Run Python with these words in the name of a service; returns what it printed."""
        process = WarmProcess(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment(service),
        )
        with process:
            out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        return out

    @property
    def database(self) -> Database:
        """The database as the server opens it."""
        given = self.environment("serve")
        reader = given["BILLFOLD_READER_DATABASE_URL"]
        return Database(conninfo=given["DATABASE_URL"], reader_conninfo=reader, is_embedded=False)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A new server on which the administrator's script has run."""
    with run_bare_server(16) as conninfo:
        subprocess.run(
            [
                str(wheel_programs(16) / "psql"),
                "--no-psqlrc",
                f"--file={DEPLOY / 'postgres' / 'roles.sql'}",
                conninfo,
            ],
            check=True,
            capture_output=True,
            env={**os.environ, **VARIABLES},
        )
        yield conninfo


@pytest.fixture(scope="module")
def site(server: str, shared_aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """What stands when `make try-out` has started everything but the worker."""
    where = conninfo_to_dict(server)
    socket = f"?host={quote(str(where['host']), safe='')}&port={where['port']}"
    addresses = {"@postgres:5432/billing": f"@/billing{socket}", "http://moto:5000": shared_aws.endpoint_url}
    site = Site(addresses=addresses, folder=tmp_path_factory.mktemp("site"))
    compose = read_compose(VARIABLES)["services"]
    site.run("migrate", ["-m", "billfold", *compose["migrate"]["command"]])
    return site


def try_out(site: Site) -> str:
    """Run the script; returns the token that it tells."""
    found = re.search(r"Sign in at \S+ with (bf_\S+)", site.run("try-out", ["-c", SCRIPT]))
    assert found
    return found[1]


def drain(site: Site) -> dict[str, Any]:
    """Run the worker as the compose file does, until its queue is empty."""
    _, *options = read_compose(VARIABLES)["services"]["worker"]["command"]
    with start_worker(site.environment("worker"), *options, "--drain") as worker:
        return worker.finish()


@pytest.fixture(scope="module")
def first_run(site: Site) -> tuple[str, dict[str, Any]]:
    """The token of the first run, and what the worker said of it."""
    return try_out(site), drain(site)


def ask(site: Site, settings: Settings, *tokens: str) -> list[int]:
    """How the server answers for costs, asked with each of the tokens."""
    with run_web_server(settings, site.database) as web:
        return [web.ask("GET", "/v1/costs", headers={"Authorization": f"Bearer {token}"})[0] for token in tokens]


def test_the_worker_brings_the_bills_in_and_the_token_shows_them(
    site: Site, first_run: tuple[str, dict[str, Any]], settings: Settings
) -> None:
    token, report = first_run

    assert [report["states"]["published"], report["dead"], report["stuck"]] == [2, 0, 0], report
    assert sum_costs(site.database).totals
    assert ask(site, settings, token, "bf_nobody") == [200, 401]


def test_the_script_by_itself_says_what_it_lacks(site: Site) -> None:
    given = site.environment("try-out")
    del given["BILLFOLD_QUEUE_URL"]

    ended = run_warm(
        [sys.executable, "-P", str(DEPLOY / "try_out.py")], cwd=site.folder, env=given, timeout_seconds=120
    )

    assert ended.returncode == 1
    assert "BILLFOLD_QUEUE_URL" in ended.stderr


def test_each_role_may_do_its_part_and_no_more(site: Site) -> None:
    with connect(site.database.conninfo) as connection:
        [(creates,)] = connection.execute("SELECT has_schema_privilege('public', 'CREATE')")
        [(temporary,)] = connection.execute("SELECT has_database_privilege('billing', 'TEMPORARY')")
    assert site.database.reader_conninfo
    with connect(site.database.reader_conninfo) as connection:
        [(reader_temporary,)] = connection.execute("SELECT has_database_privilege('billing', 'TEMPORARY')")
        [(secrets,)] = connection.execute("SELECT has_table_privilege('billing_tokens', 'SELECT')")

    assert (creates, temporary, reader_temporary, secrets) == (False, True, False, False)


@pytest.mark.usefixtures("first_run")
def test_a_backup_is_restored_as_the_document_says(site: Site, server: str, tmp_path: Path) -> None:
    before = sum_costs(site.database)
    variables = {
        "PATH": f"{wheel_programs(16)}:{os.environ['PATH']}",
        "ADMIN": server,
        "OWNER": site.environment("migrate")["DATABASE_URL"],
    }
    [dump, restore, look] = sh_examples("backups.md")

    for script in (dump, restore):
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, cwd=tmp_path, env=variables)
    # Doctor would find moto's roles, which let everybody in.
    [_, verify] = look.splitlines()
    site.run("serve", ["-m", *shlex.split(verify)])

    assert before.totals
    assert sum_costs(site.database) == before
    with connect(server) as connection:
        assert connection.execute("SELECT 1 FROM pg_database WHERE datname = 'billing_before'").fetchone()
    with connect(site.database.conninfo) as connection:
        assert rights.list_missing_rights(connection) == []
        connection.execute("SELECT billfold_create_partitions('2026-06-01')")


def test_the_try_out_can_be_run_again(site: Site, first_run: tuple[str, dict[str, Any]], settings: Settings) -> None:
    """The client and its costs stay as they are, and the former token ends."""
    costs = sum_costs(site.database)

    token = try_out(site)
    report = drain(site)

    assert [report["dead"], report["stuck"]] == [0, 0], report
    assert sum_costs(site.database) == costs
    assert ask(site, settings, first_run[0], token) == [401, 200]
