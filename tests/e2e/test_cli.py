"""The command as an operator runs it: a process, its two streams and its exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.bills.line_items import described, line_item, write_bill, write_object

COMMANDS = (
    *("ingest", "backfill", "release", "rollback", "prune", "verify"),
    *("runs", "deliveries", "statements", "publications", "costs", "changes", "owner", "export"),
    *("sql", "migrate", "demo", "version"),
)
LISTS = ("runs", "deliveries", "statements", "publications", "costs", "changes")
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "SYSTEMROOT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which is one JSON document and nothing else; numbers are never floats of money."""
        return json.loads(self.out)

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log: the lines of standard error that are JSON."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Somebody with a home of Billfold's, a folder of bills and a shell."""

    home: Path
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, *words: str, stdin: str = "", **variables: str) -> Ended:
        return self.run_python("-m", "billfold", *words, stdin=stdin, **variables)

    def run_python(self, *words: str, stdin: str = "", **variables: str) -> Ended:
        ended = subprocess.run(
            [sys.executable, *words],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment(**variables),
            timeout=120,
        )
        return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)

    def environment(self, **variables: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        if "PYTHONPATH" in kept:
            kept["PYTHONPATH"] = os.pathsep.join(
                str(Path(folder).absolute()) for folder in kept["PYTHONPATH"].split(os.pathsep)
            )
        # Nobody waits for retries, and the disk may be as full as it likes.
        settings = {"BILLFOLD_HOME": str(self.home), "BILLFOLD_MIN_FREE_BYTES": "0", "INGEST_RETRY_BASE_DELAY_MS": "0"}
        return {**kept, **settings, **self.variables, **variables}


@contextmanager
def _new_operator() -> Iterator[Operator]:
    # Inside the deep temporary folders of pytest the path of the server's socket would be too long.
    home = Path(tempfile.mkdtemp(prefix="bf-", dir="/tmp"))
    # For root PostgreSQL runs as another user, who must be able to enter.
    home.chmod(0o755)
    try:
        folder = home / "work"
        folder.mkdir()
        yield Operator(home=home / "home", folder=folder)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    """Has ingested one bill of 3.75 USD into a home that all tests of this module share; they add no counted money."""
    with _new_operator() as operator:
        write_bill(operator.folder / "bucket", described("1.25", "2.50"))
        # With the server kept up no command waits for its start and its stop.
        with server_of(operator):
            ended = operator.run("ingest", "bucket")
            assert ended.code == 0, ended.err
            yield operator


@pytest.fixture
def newcomer() -> Iterator[Operator]:
    """Has nothing yet."""
    with _new_operator() as operator:
        yield operator


@contextmanager
def server_of(operator: Operator) -> Iterator[str]:
    """The embedded server of this home, kept running; gives the owner's connection string."""
    script = (
        "import sys; from pathlib import Path; from billfold.store.embedded import start_embedded\n"
        f"print(start_embedded(Path({str(operator.home)!r}), postgres_version=16), flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=operator.folder,
        env=operator.environment(),
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.communicate(timeout=60)


def test_a_first_ingest_prints_the_document_that_scripts_rely_on(newcomer: Operator) -> None:
    write_bill(newcomer.folder / "bucket", described("1.25", "2.50"))

    ended = newcomer.run("ingest", "bucket", "--json")

    [delivery] = ended.document["deliveries"]
    [run] = delivery.pop("runs")
    assert ended.code == 0, ended.err
    assert len(delivery.pop("delivery_id")) == 36
    assert delivery.pop("duration_seconds") > 0
    assert delivery == {
        "client": "default",
        "export": "acme",
        "billing_period": "2026-05",
        "state": "published",
        "reason": None,
        "rows_read": 2,
        "rows_added": 2,
        "rows_removed": 0,
        "rows_unchanged": 0,
        "source_cost": {"USD": "3.75"},
        "billed_cost": {"USD": "3.75"},
        "findings": [],
    }
    assert len(run.pop("ingestion_run_id")) == 36
    assert run == {
        "source_s3_key": "exports/acme/data/BILLING_PERIOD=2026-05/acme-00001.csv.gz",
        "status": "success",
        "rows_read": 2,
        "rows_inserted": 2,
        "rows_skipped": 0,
        "error_code": None,
    }


def test_the_home_is_closed_to_others(operator: Operator) -> None:
    assert operator.home.stat().st_mode & 0o777 == 0o700


def test_a_second_ingest_changes_nothing(operator: Operator) -> None:
    ended = operator.run("ingest", "bucket", "--json")

    [delivery] = ended.document["deliveries"]
    counts = [delivery[name] for name in ("rows_read", "rows_added", "rows_removed", "rows_unchanged")]
    assert ended.code == 0
    assert (delivery["state"], counts, delivery["billed_cost"]) == ("published", [2, 0, 0, 2], {"USD": "3.75"})
    assert [run["status"] for run in delivery["runs"]] == ["skipped"]


def test_what_does_not_come_in_says_why(newcomer: Operator) -> None:
    bucket = newcomer.folder / "bucket"
    write_bill(bucket, described("1.25", "2.50"), revision=2)
    with server_of(newcomer):
        newcomer.run("ingest", "bucket")
        write_bill(bucket, described("1.25", "2.50", "4"), revision=1)
        older = newcomer.run("ingest", "bucket")
        as_document = newcomer.run("ingest", "bucket", "--json")
        write_bill(bucket, described("1"), revision=3)
        held = newcomer.run("ingest", "bucket")
        held_id = newcomer.run("deliveries", "--state", "held", "--json").document["deliveries"][0]["delivery_id"]
        write_bill(bucket, described("1.25", "2.50", "5"), revision=4)
        refused = newcomer.run("release", held_id)

    reason = "is older than the published delivery of 2026-05-28 22:26:40 UTC"
    assert older.code == 0
    assert f"superseded: acme 2026-05 {reason}" in older.out
    assert as_document.document["deliveries"][0]["reason"] == reason
    assert held.code == 8
    assert "is held: it would leave 1 of 3.75 USD" in held.err
    assert "would leave" not in held.out
    assert (refused.code, len(refused.error_lines)) == (2, 1)
    assert "the delivery of 2026-05-29 00:26:40 UTC does" in refused.err


def test_the_log_binds_client_statement_delivery_and_run(newcomer: Operator) -> None:
    write_bill(newcomer.folder / "bucket", [line_item()])

    ended = newcomer.run("ingest", "bucket", "--json")

    [delivery] = ended.document["deliveries"]
    [event] = [event for event in ended.events if event["event"] == "delivery_finished"]
    assert event["run_id"] == [delivery["runs"][0]["ingestion_run_id"]]
    assert event["delivery_id"] == delivery["delivery_id"]
    assert (event["client"], event["statement"], event["level"]) == ("default", "acme 2026-05", "info")
    assert event["timestamp"].endswith("Z")


def test_a_quieter_log_leaves_the_errors(operator: Operator) -> None:
    assert operator.run("ingest", "bucket", LOG_LEVEL="error").err == ""


def test_bad_input_is_one_line_and_an_exit_code_and_the_next_good_bill_works(newcomer: Operator) -> None:
    text = "line_item_line_item_type,line_item_unblended_cost,line_item_usage_start_date,line_item_usage_account_id\n"
    write_object(newcomer.folder, "bad/ragged.csv", (text + "Usage,1.0,2026-05-03T04:00:00Z\n").encode())
    write_bill(newcomer.folder / "good", [line_item()])

    bad = newcomer.run("ingest", "bad/ragged.csv", "--json")
    good = newcomer.run("ingest", "good", "--json")

    [delivery] = bad.document["deliveries"]
    assert (bad.code, delivery["state"], delivery["error"]["code"]) == (4, "failed", "malformed_file")
    assert [run["error_code"] for run in delivery["runs"]] == ["malformed_file"]
    assert bad.error_lines == [f"error: {delivery['error']['message']}"]
    assert "ragged.csv, line 2" in bad.error_lines[0]
    assert "Traceback" not in bad.err
    assert good.code == 0
    assert newcomer.run("sql", "SELECT count(*) AS n FROM raw_aws_billing_rows", "--json").document == [{"n": 1}]


def test_a_source_that_does_not_exist(operator: Operator) -> None:
    ended = operator.run("ingest", "./nowhere", "--json")

    failures = [delivery["error"] for delivery in ended.document["deliveries"]] or [ended.document["error"]]
    assert (ended.code, [failure["code"] for failure in failures]) == (3, ["source_not_found"])
    assert len(ended.error_lines) == 1


def test_a_bare_key_needs_a_bucket(operator: Operator) -> None:
    ended = operator.run("ingest", "exports/acme.csv.gz", "--json")

    assert (ended.code, ended.document["deliveries"], ended.document["error"]["code"]) == (2, [], "usage")
    assert "AWS_BILLING_BUCKET" in ended.error_lines[0]


def test_another_client_than_the_configured_one_is_refused_with_the_known_ones(operator: Operator) -> None:
    ended = operator.run("ingest", "bucket", "--client", "other", "--json")

    assert (ended.code, ended.document["error"]["code"]) == (2, "usage")
    assert "client other is not registered, and the settings describe default" in ended.error_lines[0]


def test_each_wrong_setting_has_its_line(operator: Operator) -> None:
    ended = operator.run("ingest", "bucket", "--json", AWS_REGION="x", LOG_LEVEL="loud", BILLFOLD_THREADS="0")

    assert (ended.code, ended.document["deliveries"], ended.document["error"]["code"]) == (2, [], "configuration")
    assert [line.split()[1] for line in ended.error_lines] == ["AWS_REGION", "LOG_LEVEL", "BILLFOLD_THREADS"]


def test_a_variable_of_another_version_is_a_warning_on_standard_error(operator: Operator) -> None:
    ended = operator.run("runs", "--json", BILLFOLD_HOEM="/tmp")

    assert (ended.code, set(ended.document)) == (0, {"runs"})
    assert ended.err.count("setting_unknown") == ended.err.count("BILLFOLD_HOEM") == 1
    assert '"meant": "BILLFOLD_HOME"' in ended.err


def test_a_database_that_does_not_answer_is_worth_another_try(newcomer: Operator) -> None:
    url = "postgresql://billfold:secret-word@127.0.0.1:1/billing"

    ended = newcomer.run("ingest", "bucket", "--json", DATABASE_URL=url)

    assert (ended.code, ended.document["error"]["code"]) == (6, "store_unavailable")
    assert "secret-word" not in ended.out + ended.err


def test_a_password_in_a_broken_address_is_not_shown(newcomer: Operator) -> None:
    ended = newcomer.run("runs", DATABASE_URL="postgresql://billfold:secret%zzword@127.0.0.1/billing")

    assert ended.code == 2
    assert "word" not in ended.err


@pytest.mark.parametrize("name", LISTS)
def test_every_list_is_a_table_and_a_document(operator: Operator, name: str) -> None:
    table = operator.run(name)
    document = operator.run(name, "--json")

    assert (table.code, document.code) == (0, 0)
    assert "2026-05" in table.out
    assert table.out.splitlines() == [line.rstrip() for line in table.out.splitlines()]
    assert document.document[name]
    assert table.err == document.err == ""


def test_costs_are_exact_in_the_document_and_rounded_on_screen(operator: Operator) -> None:
    table = operator.run("costs", "--by", "account")
    document = operator.run("costs", "--by", "account", "--by", "day", "--json").document

    assert table.out.split()[-3:] == ["Total", "USD", "3.75"]
    assert document["costs"] == [{"account": "444455556666", "day": "2026-05-03", "currency": "USD", "cost": "3.75"}]
    assert document["totals"] == [{"month": "2026-05", "currency": "USD", "cost": "3.75"}]


def test_costs_come_as_csv_by_owners_that_a_file_names(operator: Operator) -> None:
    before = operator.run("owner", "list", "--missing", "--json").document
    imported = operator.run("owner", "import", "-", stdin="account_id,owner\n444455556666,payments\n")
    by_owner = operator.run("costs", "--by", "owner,month", "--csv")
    listed = operator.run("owner", "list", "--json").document
    removed = operator.run("owner", "remove", "444455556666")
    bad = operator.run("owner", "import", "-", stdin="account_id,owner\n4444,payments\n")

    assert [account["account_id"] for account in before["accounts"]] == ["444455556666"]
    assert (imported.code, imported.out) == (0, "default: 1 added, 0 changed, 0 unchanged, 0 removed\n")
    assert (by_owner.out, by_owner.err) == ("owner,month,currency,cost\npayments,2026-05,USD,3.75\n", "")
    assert [(owner["account_id"], owner["owner"]) for owner in listed["owners"]] == [("444455556666", "payments")]
    assert removed.out == "444455556666: no owner any more (it was payments)\n"
    assert (bad.code, len(bad.error_lines)) == (4, 1)
    assert "line 2, column account_id, value '4444'" in bad.error_lines[0]


def test_an_export_is_a_file_or_standard_output(operator: Operator) -> None:
    file = operator.folder / "may.parquet"

    written = operator.run("export", "--month", "2026-05", "--output", "may.parquet", "--json")
    again = operator.run("export", "--month", "2026-05", "--output", "may.parquet", "--json")
    printed = operator.run("export", "--month", "2026-05", "--output", "-")

    assert (written.document["charges"], written.document["billed_cost"]) == (2, {"USD": "3.75"})
    assert file.read_bytes()[:4] == b"PAR1"
    assert (again.code, again.document["error"]["code"], len(again.error_lines)) == (2, "usage", 1)
    assert printed.out.startswith("AvailabilityZone,BilledCost,")
    assert (len(printed.out.splitlines()), printed.err) == (3, "")


@pytest.mark.parametrize(
    "words",
    [
        ("frobnicate",),
        ("ingest",),
        ("costs", "--by", "wallet"),
        ("costs", "--month", "2026-13"),
        ("costs", "--csv"),
        ("owner",),
        ("export", "--month", "2026-05"),
        ("runs", "--limit", "0"),
        ("runs", "--status", "asleep"),
        ("sql", " ; "),
    ],
)
def test_a_command_line_that_makes_no_sense(operator: Operator, words: tuple[str, ...]) -> None:
    ended = operator.run(*words, "--json")

    assert (ended.code, ended.document["error"]["code"], len(ended.error_lines)) == (2, "usage", 1)


def test_every_command_explains_itself(operator: Operator) -> None:
    # One process asks for the help of each: starting Python so often would be most of the time.
    script = f"from billfold.cli import main\nassert {{main([command, '--help']) for command in {COMMANDS}}} == {{0}}\n"

    ended = operator.run_python("-c", script)

    assert ended.code == 0, ended.err
    assert all(f"Usage: billfold {command}" in ended.out for command in COMMANDS)


def test_without_a_command_there_is_help_with_the_exit_codes(newcomer: Operator) -> None:
    ended = newcomer.run()

    assert ended.code == 0
    assert all(command in ended.out for command in (*COMMANDS, "Exit codes"))
    assert not newcomer.home.exists()


def test_migrate_works_on_a_fresh_home_and_once(newcomer: Operator) -> None:
    first = newcomer.run("migrate")
    second = newcomer.run("migrate")

    assert (first.code, second.code) == (0, 0)
    assert first.out.startswith("applied 0001 control\n")
    assert second.out == "nothing to apply: the schema is current\n"


def test_two_commands_may_find_the_same_fresh_home(newcomer: Operator) -> None:
    with ThreadPoolExecutor(max_workers=2) as both:
        ended = list(both.map(lambda _: newcomer.run("runs"), range(2)))

    assert [(end.code, end.out, end.err) for end in ended] == [(0, "no runs\n", "")] * 2


def test_another_database_is_not_migrated_unasked_and_not_queried_without_a_reader(newcomer: Operator) -> None:
    assert newcomer.run("migrate").code == 0

    with server_of(newcomer) as conninfo:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("CREATE DATABASE external")
        external = newcomer.run("runs", DATABASE_URL=f"{conninfo} dbname=external")
        migrated = newcomer.run("migrate", DATABASE_URL=f"{conninfo} dbname=external")
        listed = newcomer.run("runs", DATABASE_URL=f"{conninfo} dbname=external")
        queried = newcomer.run("sql", "SELECT 1", DATABASE_URL=f"{conninfo} dbname=external")

    assert external.code == 5
    assert external.error_lines[0].endswith("run: billfold migrate")
    assert (migrated.code, listed.code, queried.code) == (0, 0, 2)
    assert "BILLFOLD_READER_DATABASE_URL" in queried.error_lines[0]


def test_a_query_gives_objects_without_floats_of_money(operator: Operator) -> None:
    query = 'SELECT sum("BilledCost") AS cost, count(*) AS n, count(*) AS n FROM focus_cost_and_usage'

    document = operator.run("sql", query, "--json").document

    assert document == [{"cost": "3.75", "n": 2, "n_2": 2}]
    assert Decimal(document[0]["cost"]) == Decimal("3.75")


def test_a_query_comes_from_standard_input(operator: Operator) -> None:
    ended = operator.run("sql", "-", stdin="SELECT client_id\nFROM billing_clients")

    assert (ended.code, ended.out) == (0, "client_id\ndefault\n")


def test_a_query_without_rows_is_an_empty_list(operator: Operator) -> None:
    assert operator.run("sql", "SELECT 1 WHERE false", "--json").out == "[]\n"


def test_a_query_only_reads(operator: Operator) -> None:
    for query in (
        "commit; drop table billing_clients",
        "copy (select 1) to program 'true'",
        "set role postgres",
        "insert into billing_clients (client_id) values ('x')",
        "with x as (delete from billing_clients returning *) select * from x",
        "select pg_read_file('PG_VERSION')",
    ):
        ended = operator.run("sql", query, "--json")

        assert (ended.code, ended.document["error"]["code"], len(ended.error_lines)) == (5, "query", 1), query

    assert operator.run("sql", "SELECT client_id FROM billing_clients", "--json").document == [{"client_id": "default"}]


def test_a_result_that_is_too_long_is_an_error_and_no_shorter_list(operator: Operator) -> None:
    ended = operator.run("sql", "SELECT generate_series(1, 9)", "--json", BILLFOLD_SQL_MAX_ROWS="5")

    assert (ended.code, ended.document["error"]["code"]) == (5, "query")


def test_queries_and_reports_work_while_an_ingest_holds_its_transaction(operator: Operator) -> None:
    with server_of(operator) as conninfo, psycopg.connect(conninfo) as ingesting:
        ingesting.execute("SELECT FROM billing_statements FOR UPDATE")
        ingesting.execute("DELETE FROM billing_usage_fact")
        ingesting.execute("DELETE FROM billing_daily_cost")
        queried = operator.run("sql", "SELECT count(*) AS n FROM billing_usage_fact", "--json", LOG_LEVEL="error")
        costs = operator.run("costs", "--json")
        ingesting.rollback()

    assert queried.document == [{"n": 2}]
    assert costs.document["totals"] == [{"month": "2026-05", "currency": "USD", "cost": "3.75"}]


def test_a_reader_that_leaves_early_gets_no_complaint(operator: Operator) -> None:
    command = [sys.executable, "-m", "billfold", "sql", "SELECT generate_series(1, 90000)"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=operator.folder,
        env=operator.environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()

    complaint = process.stderr.read()
    process.stderr.close()

    assert (process.wait(timeout=60), complaint) == (0, "")


def run_with_fault(operator: Operator, fault: str) -> Ended:
    """`billfold runs --json` of a Billfold in which opening the database does something else."""
    script = (
        "import sys, billfold.cli.application as app\n"
        "def fault(settings):\n"
        "    password = 'secret' + '-word'\n"
        f"    {fault}\n"
        "app.open_database = fault\n"
        "from billfold.cli import main\n"
        "sys.exit(main(['runs', '--json']))\n"
    )
    return operator.run_python("-c", script)


def test_an_unknown_error_keeps_its_traceback_and_tells_no_variables(newcomer: Operator) -> None:
    ended = run_with_fault(newcomer, "raise RuntimeError('what now')")

    [event] = ended.events
    [exception] = event["exception"]
    assert (ended.code, ended.document["runs"], ended.document["error"]["code"]) == (1, [], "internal")
    assert (event["event"], exception["exc_type"]) == ("internal_error", "RuntimeError")
    assert exception["frames"][-1]["name"] == "fault"
    assert "secret-word" not in ended.err


@pytest.mark.parametrize(("signal_name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interruption_is_told_without_a_traceback(newcomer: Operator, signal_name: str, code: int) -> None:
    send = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler) if {code} == 130 else None"

    ended = run_with_fault(newcomer, f"{send}; signal.raise_signal(signal.{signal_name})")

    assert (ended.code, ended.document["runs"], ended.events) == (code, [], [])
    assert len(ended.error_lines) == 1


def test_the_version_is_printed(newcomer: Operator) -> None:
    from billfold import __version__

    assert newcomer.run("version").out == newcomer.run("--version").out == f"billfold {__version__}\n"
