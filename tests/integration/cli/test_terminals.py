"""Whole commands on a real pseudo-terminal: tables keep their values whole, and ids are accepted as they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from billfold.clients import owners, tokens
from billfold.clients.registry import register
from billfold.errors import UsageError
from billfold.model import Scope
from billfold.quality import make_checks
from billfold.reports.identifiers import find_delivery_id, shorten_delivery_ids
from billfold.reports.lists import list_deliveries, list_statements
from billfold.selection import Filter
from billfold.store.database import connect
from tests.bills.landing import Landing
from tests.bills.line_items import ACCOUNT, line_item, write_bill
from tests.processes.terminal import list_broken, run_on_pty
from tests.services import CopyDatabase

EXPORT = "export-" + "n" * 121
CLIENT = "client-" + "c" * 57
SERVICE = "請求書データ🧾サービス"
HOSTILE = "\x1b[2Jowner\u202e"
SPELLED = "\\x1b[2Jowner\\u202e"
UNOWNED = "777788889999"
AMOUNT = "98765432109876543210.25"
SHOWN = "98,765,432,109,876,543,210.25"
NEGATIVE = "-12345678901234567890.12"
# All other widths are those of tests/unit/cli/test_worst_tables.py.
NARROW_AND_USUAL = (40, 100)

# What each command must show whole, or say that it leaves it out, by the headers of the columns.
COMMANDS: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {
    ("runs",): (("Client", CLIENT), ("Statement", f"{EXPORT} 2026-05"), ("File", f"{EXPORT}-00001.csv.gz")),
    ("deliveries",): (("Client", CLIENT), ("Statement", f"{EXPORT} 2026-05"), ("Billed", f"{SHOWN} EUR")),
    ("statements",): (("Client", CLIENT), ("Export", EXPORT), ("Period", "2026-05"), ("Billed", f"{SHOWN} EUR")),
    ("publications",): (("Statement", f"{EXPORT} 2026-05"), ("Billed after", f"{SHOWN} EUR"), ("Kind", "delivery")),
    ("costs",): (("Service", SERVICE), ("Currency", "EUR"), ("2026-05", SHOWN)),
    ("costs", "--by", "account,owner,service,day"): (
        ("Account", ACCOUNT), ("Owner", SPELLED), ("Service", SERVICE), ("Day", "2026-05-03"), ("Billed", SHOWN),
    ),
    ("changes",): (("Service", SERVICE), ("New", SHOWN), ("Difference", f"+{SHOWN}"), ("Account", ACCOUNT)),
    ("checks",): (("Check", "focus_rules"), ("Bill", f"{CLIENT} {EXPORT} 2026-05"), ("Detail", "usage")),
    ("validate",): (),
    ("owner", "list"): (("Owner", SPELLED), ("Account", ACCOUNT), ("Name", SERVICE)),
    ("owner", "list", "--missing"): (("Account", UNOWNED), ("Billed", "-12,345,678,901,234,567,890.12")),
    ("client", "list"): (("Client", CLIENT), ("Bucket and folder", "s3://globex-bills/exports/")),
    ("token", "list"): (("Name", "t" * 60), ("State", "in force"), ("Scopes", "ingest, read")),
    ("prune", "--dry-run", "--keep-days", "1"): (("Client", CLIENT), ("Export", EXPORT)),
    ("schedule", "--once"): (),
    ("sql", "SELECT export_name, row_count, 12345678901234567890.5 AS amount FROM billing_statements"): (
        ("", EXPORT), ("", "12345678901234567890.5"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def world(shared_landing: Landing) -> Landing:
    """Two clients, one of them with the longest names and amounts that there are, restated once; nothing else."""
    landing = replace(shared_landing, client=replace(shared_landing.client, client_id=CLIENT))
    long = line_item(cost=AMOUNT, line_item_product_code=SERVICE, line_item_currency_code="EUR")
    negative = line_item(cost=NEGATIVE, line_item_usage_account_id=UNOWNED)
    for revision, items in enumerate(([negative, line_item(cost="5")], [negative, line_item(cost="6"), long]), start=1):
        write_bill(landing.root, items, revision=revision, export_path=f"exports/{EXPORT}")
        landing.ingest(force=True)
    other = replace(landing, root=landing.root.parent / "other").with_client(client_id="acme")
    other.ingest(write_bill(other.root, [line_item(cost="3")]))
    landing.execute("UPDATE billing_publications SET published_at = now() - interval '9 days'")
    for statement in list_statements(landing.database, Filter()):
        make_checks(landing.database, statement_id=statement.statement_id)
    owners.set_owner(landing.database, landing.settings, "acme", ACCOUNT, "payments", None)
    with connect(landing.database.conninfo) as connection:
        # What no door lets in may stand in a database all the same.
        connection.execute(
            "INSERT INTO billing_account_owners (client_id, account_id, owner, account_name) VALUES (%s, %s, %s, %s)",
            (CLIENT, ACCOUNT, HOSTILE, SERVICE),
        )
    tokens.make(landing.database, "t" * 60, [Scope.READ, Scope.INGEST], client_id=None, expires_days=None)
    fields = {"client_id": "globex", "bucket": "globex-bills", "account_id": ACCOUNT, "prefix": "exports/"}
    register(landing.database, landing.settings, fields)
    landing.execute("UPDATE billing_clients SET enabled = false WHERE client_id = 'globex'")
    return landing


@pytest.fixture(autouse=True)
def _in_the_world(world: Landing, environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Commands find the module's database."""
    environment.setenv("DATABASE_URL", world.database.conninfo)
    environment.setenv("BILLFOLD_READER_DATABASE_URL", str(world.database.reader_conninfo))
    environment.setenv("BILLFOLD_HOME", str(tmp_path / "h"))
    environment.setenv("LOG_LEVEL", "ERROR")
    environment.delenv("COLUMNS", raising=False)
    return


@pytest.mark.parametrize("width", NARROW_AND_USUAL)
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_table_on_a_terminal_keeps_its_values_whole(words: tuple[str, ...], width: int) -> None:
    code, text = run_on_pty(width, *words)

    assert code == (7 if words == ("validate",) else 0)
    assert list_broken(text, width, COMMANDS[words]) == []


@pytest.mark.parametrize("width", NARROW_AND_USUAL)
def test_an_ingest_on_a_terminal_keeps_its_values_whole(
    world: Landing, environment: pytest.MonkeyPatch, width: int
) -> None:
    environment.setenv("BILLFOLD_CLIENT", CLIENT)
    environment.setenv("BILLFOLD_MIN_FREE_BYTES", "0")

    code, text = run_on_pty(width, "ingest", str(world.root))

    assert code == 0
    values = (
        ("Export", EXPORT),
        ("Read", "3"),
        ("Billed", f"{AMOUNT} EUR, -12345678901234567884.12 USD"),
        ("Unchanged", "3"),
    )
    # The bar that moves on standard error stands on one line with what came before it.
    shown = text[text.index("Export") :]
    assert list_broken(shown, width, values) == []


def test_a_shown_id_is_accepted_by_the_commands_that_take_one(world: Landing, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BILLFOLD_CLIENT", "acme")
    [shown] = list_deliveries(world.database, Filter(client="acme"))
    short = shorten_delivery_ids(world.database, [shown.delivery_id])[str(shown.delivery_id)]

    _, text = run_on_pty(200, "deliveries", "--client", "acme")
    code, refusal = run_on_pty(200, "release", short)
    told = refusal.splitlines()[-1]

    assert short in text
    assert len(short) == 8
    assert code == 2
    assert str(shown.delivery_id) in told


@pytest.mark.parametrize("command", ["release", "rollback"])
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ffffffff", "there is no delivery ffffffff"),
        ("ffffffff-ffff-4fff-8fff-ffffffffffff", "there is no delivery ffffffff-ffff-4fff-8fff-ffffffffffff"),
        ("abc", "'abc' is too short for the id of a delivery: give at least 8 characters"),
        ("may", "'may' is not the id of a delivery, nor the beginning of one"),
        ("0123-4567", "'0123-4567' is not the id of a delivery, nor the beginning of one"),
        ("a" * 33, f"'{'a' * 33}' is not the id of a delivery, nor the beginning of one"),
    ],
)
def test_what_is_no_delivery_is_refused_in_one_line(command: str, text: str, complaint: str) -> None:
    code, shown = run_on_pty(80, command, text)

    assert code == 2
    assert shown.startswith(f"error: {complaint}")
    assert len(shown.splitlines()) == 1


def test_an_ambiguous_id_is_refused_with_its_candidates(world: Landing, copy_database: CopyDatabase) -> None:
    landing = replace(world, database=copy_database(world.database))
    ids = [UUID(f"abcdef00-000{number}-4000-8000-000000000000") for number in range(7)]
    for each in ids:
        landing.execute(
            "INSERT INTO billing_deliveries SELECT (jsonb_populate_record(delivery, jsonb_build_object("
            "'delivery_id', %s::text, 'content_digest', %s::text, 'execution_id', %s::text))).*"
            " FROM billing_deliveries AS delivery WHERE client_id = 'acme' AND delivery_id::text NOT LIKE 'abcdef%%'",
            str(each),
            str(each),
            str(each),
        )

    with pytest.raises(UsageError) as refusal:
        find_delivery_id(landing.database, "ABCDEF00")

    assert str(refusal.value) == (
        f"'ABCDEF00' is the beginning of 7 delivery ids: {', '.join(map(str, ids[:5]))} and 2 more: give more"
        " characters of it"
    )
    assert find_delivery_id(landing.database, "abcdef00-0003") == ids[3]
    assert find_delivery_id(landing.database, "abcdef000003") == ids[3]
    assert find_delivery_id(landing.database, str(ids[3]).upper()) == ids[3]
    # A prefix differs from the ids of all deliveries, not of the shown ones alone.
    assert shorten_delivery_ids(landing.database, [ids[3], None]) == {str(ids[3]): "abcdef00-0003"}


@pytest.mark.parametrize("command", ["changes", "publications", "checks", "validate"])
@pytest.mark.parametrize("statement", ["999", "99999999999"])
def test_a_statement_that_does_not_exist_is_refused_in_one_line(command: str, statement: str) -> None:
    code, text = run_on_pty(120, command, "--statement", statement)

    assert code == 2
    assert text.startswith(f"error: there is no such statement {statement}")
    assert len(text.splitlines()) == 1
