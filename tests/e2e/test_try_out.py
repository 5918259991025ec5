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
from billfold import reports
from billfold.config import Settings
from billfold.exports import LocalAws
from billfold.store.database import Database, connect
from tests.deployment import DEPLOY, postgres_programs, read_compose, read_env_file, sh_examples
from tests.integration.conftest import run_bare_server
from tests.web_server import run_web_server
from tests.worker_process import start_worker

pytestmark = pytest.mark.slow

VARIABLES = read_env_file("try-out.env")
PASSED_ON = ("PATH", "HOME", "LANG")


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
        ended = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment(service),
            timeout=120,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

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
                str(postgres_programs(16) / "psql"),
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
def aws() -> Iterator[LocalAws]:
    with LocalAws() as aws:
        yield aws


@pytest.fixture(scope="module")
def site(server: str, aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """What stands when `make try-out` has started everything but the worker."""
    where = conninfo_to_dict(server)
    socket = f"?host={quote(str(where['host']), safe='')}&port={where['port']}"
    addresses = {"@postgres:5432/billing": f"@/billing{socket}", "http://moto:5000": aws.endpoint_url}
    site = Site(addresses=addresses, folder=tmp_path_factory.mktemp("site"))
    compose = read_compose(VARIABLES)["services"]
    site.run("migrate", ["-m", "billfold", *compose["migrate"]["command"]])
    return site


def try_out(site: Site) -> str:
    """Run the script; returns the token that it tells."""
    found = re.search(r"Sign in at \S+ with (bf_\S+)", site.run("try-out", [str(DEPLOY / "try_out.py")]))
    assert found
    return found[1]


def drain(site: Site) -> dict[str, Any]:
    """Run the worker as the compose file does, until its queue is empty."""
    _, *options = read_compose(VARIABLES)["services"]["worker"]["command"]
    with start_worker(site.environment("worker"), *options, "--drain") as worker:
        return worker.finish()


def test_the_worker_brings_the_bills_in_and_the_token_shows_them(site: Site, settings: Settings) -> None:
    first_token = try_out(site)
    first = drain(site)
    costs = reports.sum_costs(site.database)
    second_token = try_out(site)
    second = drain(site)

    with run_web_server(settings, site.database) as web:
        statuses = [
            web.ask("GET", "/v1/costs", headers={"Authorization": f"Bearer {token}"})[0]
            for token in (first_token, second_token)
        ]
        nobody, _ = web.ask("GET", "/v1/costs")
        ready, _ = web.ask("GET", "/readyz")
    assert [first["states"]["published"], first["dead"], first["stuck"]] == [2, 0, 0], first
    assert [second["dead"], second["stuck"]] == [0, 0], second
    assert reports.sum_costs(site.database) == costs
    assert costs.totals
    assert (statuses, nobody, ready) == ([401, 200], 401, 200)


def test_each_role_may_do_its_part_and_no_more(site: Site) -> None:
    with connect(site.database.conninfo) as connection:
        [(creates,)] = connection.execute("SELECT has_schema_privilege('public', 'CREATE')")
        [(temporary,)] = connection.execute("SELECT has_database_privilege('billing', 'TEMPORARY')")
    assert site.database.reader_conninfo
    with connect(site.database.reader_conninfo) as connection:
        [(reader_temporary,)] = connection.execute("SELECT has_database_privilege('billing', 'TEMPORARY')")
        [(secrets,)] = connection.execute("SELECT has_table_privilege('billing_tokens', 'SELECT')")

    assert (creates, temporary, reader_temporary, secrets) == (False, True, False, False)


def test_a_backup_is_restored_as_the_document_says(site: Site, server: str, tmp_path: Path) -> None:
    before = reports.sum_costs(site.database)
    variables = {
        "PATH": f"{postgres_programs(16)}:{os.environ['PATH']}",
        "ADMIN": server,
        "OWNER": site.environment("migrate")["DATABASE_URL"],
    }
    [dump, restore, look] = sh_examples("upgrading.md")

    for script in (dump, restore):
        subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, cwd=tmp_path, env=variables)
    # Doctor would find moto's roles, which let everybody in.
    [_, verify] = look.splitlines()
    site.run("serve", ["-m", *shlex.split(verify)])

    assert before.totals
    assert reports.sum_costs(site.database) == before
    with connect(server) as connection:
        assert connection.execute("SELECT 1 FROM pg_database WHERE datname = 'billing_before'").fetchone()


def test_the_restored_database_takes_bills_in(site: Site) -> None:
    """It comes after the restore: the roles have their rights again, and a new month gets its partitions."""
    with connect(site.database.conninfo) as connection:
        connection.execute("SELECT billfold_create_partitions('2026-06-01')")
        connection.execute("CREATE TEMPORARY TABLE taken_in (cost numeric)")
        [(count,)] = connection.execute("SELECT count(*) FROM raw_aws_billing_rows_2026_06")
    try_out(site)

    assert count == 0
    assert drain(site)["dead"] == 0
