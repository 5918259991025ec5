"""The command as an operator runs it: bills, settings and failures; its two streams and its exit code."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from billfold.store.database import Database, connect
from tests.bills.line_items import described, line_item, write_bill, write_object
from tests.processes.operator import Ended, Operator

COMMANDS = (
    *("ingest", "backfill", "release", "rollback", "prune", "verify"),
    *("runs", "deliveries", "statements", "publications", "costs", "changes", "owner", "export"),
    *("sql", "migrate", "demo", "version"),
)


def test_a_first_ingest_prints_the_document_that_scripts_rely_on(first_ingest: Ended) -> None:
    [delivery] = first_ingest.document["deliveries"]
    [run] = delivery.pop("runs")
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
    ended = operator.call("ingest", "bucket", "--json")

    [delivery] = ended.document["deliveries"]
    counts = [delivery[name] for name in ("rows_read", "rows_added", "rows_removed", "rows_unchanged")]
    assert ended.code == 0
    assert (delivery["state"], counts, delivery["billed_cost"]) == ("published", [2, 0, 0, 2], {"USD": "3.75"})
    assert [run["status"] for run in delivery["runs"]] == ["skipped"]


def test_what_does_not_come_in_says_why(guest: Operator) -> None:
    bucket = guest.folder / "bucket"
    write_bill(bucket, described("1.25", "2.50"), revision=2)
    guest.call("ingest", "bucket")
    write_bill(bucket, described("1.25", "2.50", "4"), revision=1)
    older = guest.call("ingest", "bucket")
    as_document = guest.call("ingest", "bucket", "--json")
    write_bill(bucket, described("1"), revision=3)
    held = guest.call("ingest", "bucket")
    held_id = guest.call("deliveries", "--state", "held", "--json").document["deliveries"][0]["delivery_id"]
    write_bill(bucket, described("1.25", "2.50", "5"), revision=4)
    refused = guest.call("release", held_id)

    reason = "is older than the published delivery of 2026-05-28 22:26:40 UTC"
    assert older.code == 0
    assert f"superseded: acme 2026-05 {reason}" in older.out
    assert as_document.document["deliveries"][0]["reason"] == reason
    assert held.code == 8
    assert "is held: it would leave 1 of 3.75 USD" in held.err
    assert "would leave" not in held.out
    assert (refused.code, len(refused.error_lines)) == (2, 1)
    assert "the delivery of 2026-05-29 00:26:40 UTC is" in refused.err


def test_the_log_binds_client_statement_delivery_and_run(first_ingest: Ended) -> None:
    [delivery] = first_ingest.document["deliveries"]
    [event] = [event for event in first_ingest.events if event["event"] == "delivery_finished"]
    assert event["run_id"] == [delivery["runs"][0]["ingestion_run_id"]]
    assert event["delivery_id"] == delivery["delivery_id"]
    assert (event["client"], event["statement"], event["level"]) == ("default", "acme 2026-05", "info")
    assert event["timestamp"].endswith("Z")


def test_a_quieter_log_leaves_the_errors(operator: Operator) -> None:
    assert operator.call("ingest", "bucket", LOG_LEVEL="error").err == ""


def test_bad_input_is_one_line_and_an_exit_code_and_the_next_good_bill_works(guest: Operator) -> None:
    text = "line_item_line_item_type,line_item_unblended_cost,line_item_usage_start_date,line_item_usage_account_id\n"
    write_object(guest.folder, "bad/ragged.csv", (text + "Usage,1.0,2026-05-03T04:00:00Z\n").encode())
    write_bill(guest.folder / "good", [line_item()])

    bad = guest.run("ingest", "bad/ragged.csv", "--json")
    good = guest.run("ingest", "good", "--json")

    [delivery] = bad.document["deliveries"]
    assert (bad.code, delivery["state"], delivery["error"]["code"]) == (4, "failed", "malformed_file")
    assert [run["error_code"] for run in delivery["runs"]] == ["malformed_file"]
    assert bad.error_lines == [f"error: {delivery['error']['message']}"]
    assert "ragged.csv, line 2" in bad.error_lines[0]
    assert "Traceback" not in bad.err
    assert good.code == 0
    assert guest.call("sql", "SELECT count(*) AS n FROM raw_aws_billing_rows", "--json").document == [{"n": 1}]


def test_a_source_that_does_not_exist(operator: Operator) -> None:
    ended = operator.call("ingest", "./nowhere", "--json")

    failures = [delivery["error"] for delivery in ended.document["deliveries"]] or [ended.document["error"]]
    assert (ended.code, [failure["code"] for failure in failures]) == (3, ["source_not_found"])
    assert len(ended.error_lines) == 1


def test_a_bare_key_needs_a_bucket(operator: Operator) -> None:
    ended = operator.call("ingest", "exports/acme.csv.gz", "--json")

    assert (ended.code, ended.document["deliveries"], ended.document["error"]["code"]) == (2, [], "usage")
    assert "AWS_BILLING_BUCKET" in ended.error_lines[0]


def test_another_client_than_the_configured_one_is_refused_with_the_known_ones(operator: Operator) -> None:
    ended = operator.call("ingest", "bucket", "--client", "other", "--json")

    assert (ended.code, ended.document["error"]["code"]) == (2, "usage")
    assert "client other is not registered, and the settings describe default" in ended.error_lines[0]


def test_each_wrong_setting_has_its_line(operator: Operator) -> None:
    ended = operator.run("ingest", "bucket", "--json", AWS_REGION="x", LOG_LEVEL="loud", BILLFOLD_THREADS="0")

    assert (ended.code, ended.document["deliveries"], ended.document["error"]["code"]) == (2, [], "configuration")
    assert [line.split()[1] for line in ended.error_lines] == ["AWS_REGION", "LOG_LEVEL", "BILLFOLD_THREADS"]


def test_a_variable_of_another_version_is_a_warning_on_standard_error(operator: Operator) -> None:
    ended = operator.call("runs", "--json", BILLFOLD_HOEM="/tmp")

    assert (ended.code, set(ended.document)) == (0, {"runs"})
    assert ended.err.count("setting_unknown") == ended.err.count("BILLFOLD_HOEM") == 1
    assert '"meant": "BILLFOLD_HOME"' in ended.err


def test_a_database_that_does_not_answer_is_worth_another_try(newcomer: Operator) -> None:
    url = "postgresql://billfold:secret-word@127.0.0.1:1/billing"

    ended = newcomer.call("ingest", "bucket", "--json", DATABASE_URL=url)

    assert (ended.code, ended.document["error"]["code"]) == (6, "store_unavailable")
    assert "secret-word" not in ended.out + ended.err


def test_a_password_in_a_broken_address_is_not_shown(newcomer: Operator) -> None:
    ended = newcomer.call("runs", DATABASE_URL="postgresql://billfold:secret%zzword@127.0.0.1/billing")

    assert ended.code == 2
    assert "word" not in ended.err


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
    ended = operator.call(*words, "--json")

    assert (ended.code, ended.document["error"]["code"], len(ended.error_lines)) == (2, "usage", 1)


def test_without_a_command_there_is_help_with_the_exit_codes(newcomer: Operator) -> None:
    ended = newcomer.call()

    assert ended.code == 0
    assert all(command in ended.out for command in (*COMMANDS, "Exit codes"))
    assert not newcomer.home.exists()


def test_migrate_works_on_a_fresh_home_and_once(newcomer: Operator) -> None:
    first = newcomer.run("migrate")
    second = newcomer.call("migrate")

    assert (first.code, second.code) == (0, 0)
    assert first.out.startswith("applied 0001 control\n")
    assert second.out == "nothing to apply: the schema is current\n"


def test_two_commands_may_find_the_same_fresh_home(newcomer: Operator) -> None:
    with ThreadPoolExecutor(max_workers=2) as both:
        ended = list(both.map(lambda _: newcomer.run("runs"), range(2)))

    assert [(end.code, end.out, end.err) for end in ended] == [(0, "no runs\n", "")] * 2


def test_another_database_is_not_migrated_unasked_and_not_queried_without_a_reader(
    newcomer: Operator, database: Database
) -> None:
    name = f"{conninfo_to_dict(database.conninfo)['dbname']}_bare"
    url = make_conninfo(database.conninfo, dbname=name)
    with connect(database.conninfo) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy".encode())
    external = newcomer.call("runs", DATABASE_URL=url)
    migrated = newcomer.call("migrate", DATABASE_URL=url)
    listed = newcomer.call("runs", DATABASE_URL=url)
    queried = newcomer.call("sql", "SELECT 1", DATABASE_URL=url)

    assert external.code == 5
    assert external.error_lines[0].endswith("run: billfold migrate")
    assert (migrated.code, listed.code, queried.code) == (0, 0, 2)
    assert "BILLFOLD_READER_DATABASE_URL" in queried.error_lines[0]


def run_with_fault(operator: Operator, fault: str) -> Ended:
    """`billfold runs --json` of a Billfold in which opening the database does something else."""
    script = (
        "import sys, billfold.store.database as store\n"
        "def fault(settings):\n"
        "    password = 'secret' + '-word'\n"
        f"    {fault}\n"
        "store.open_database = fault\n"
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

    assert newcomer.run_cold("version").out == newcomer.call("--version").out == f"billfold {__version__}\n"
