"""/metrics: what the tables and the queue say, in Prometheus' words, and for whom."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from billfold import clients
from billfold.aws import LocalAws
from billfold.aws.queue import open_queue
from billfold.aws.queue_levels import KEPT_SECONDS, QueueWatch
from billfold.bills.prune import prune
from billfold.clients import tokens
from billfold.model import JobState, Scope
from billfold.reports import instruments
from billfold.reports.instruments import OTHERS, Distribution, Instruments, Readings
from billfold.sql import read_queries
from billfold.store.database import Database, connect
from billfold.web.metrics import FAMILIES
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.control_tables import fill_control_tables
from tests.integration.store.test_plans import scans
from tests.messages import Mailbox
from tests.processes.web_server import STRANGER, WebServer, run_web_server
from tests.queued import ago, put_job, put_message
from tests.services import CopyDatabase, NewDatabase, copy_of

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture(scope="module")
def landed_once(shared_landing: Landing) -> Landing:
    """A bill that was restated, a file that is none, and another client's bill."""
    write_bill(shared_landing.root, described("1.25", "7"))
    shared_landing.ingest()
    write_bill(shared_landing.root, described("1.25", "8.5"), revision=2)
    shared_landing.ingest()
    broken = write_bill(shared_landing.root, described("2"), export_path="exports/broken")
    for data in broken.parents[2].glob("data/**/*.csv*"):
        data.write_text("not,a\nbill,at all\n")
    shared_landing.ingest(broken)
    shutil.rmtree(broken.parents[2])
    other = Landing.make(
        shared_landing.database, shared_landing.settings, shared_landing.root.parent / "other", "globex"
    )
    write_bill(other.root, described("100"))
    other.ingest()
    return shared_landing


@pytest.fixture
def landed(landed_once: Landing, copy_database: CopyDatabase, tmp_path: Path) -> Landing:
    """What a test does to it, and what it leaves in its spool, is its own."""
    return replace(landed_once, database=copy_database(landed_once.database)).with_settings(spool=tmp_path / "spool")


@pytest.fixture(scope="module")
def looked_at(landed_once: Landing, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """The same for all tests that leave it as it is."""
    spool = tmp_path_factory.mktemp("spool")
    return replace(landed_once, database=copy_of(landed_once.database)).with_settings(spool=spool)


@pytest.fixture(scope="module")
def server(looked_at: Landing) -> Iterator[WebServer]:
    with run_web_server(looked_at.settings, looked_at.database) as server:
        yield server


Scraped = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(server: WebServer) -> Scraped:
    answer = server.send("GET", "/metrics")
    assert answer.status == 200, answer.body
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(answer.body.decode())
        for sample in family.samples
    }


def of(scraped: Scraped, name: str, **labels: str) -> float:
    return scraped[f"billfold_{name}", frozenset(labels.items())]


def without_clock(readings: Readings) -> Any:
    """What two readings of one state have in common."""
    moving = ("client_delivery_age", "database_size", "database_connections", "asked_oldest_age", "jobs_oldest_age")
    return {name: found for name, found in readings.samples.items() if name not in moving}, readings.distributions


def test_metrics_show_what_is_in_the_tables(looked_at: Landing, server: WebServer) -> None:
    found = scrape(server)

    assert {status: of(found, "runs", client="acme", status=status) for status in ("success", "failed", "pending")} == {
        "success": 2,
        "failed": 1,
        "pending": 0,
    }
    assert of(found, "refused_files", client="acme", error_code="unknown_format") == 1
    assert of(found, "deliveries", client="acme", state="failed") == 1
    assert of(found, "publications_total", client="acme", kind="delivery") == 2
    assert [of(found, f"{name}_rows_total", client="acme") for name in ("read", "added", "removed")] == [4, 3, 1]
    assert of(found, "read_bytes_total", client="acme") == looked_at.value(
        "SELECT sum(size_bytes) FROM billing_ingestion_runs WHERE client_id = 'acme' AND status = 'success'"
    )
    assert of(found, "check_warned_cost", client="acme", check="untagged_cost", currency="USD") == 9.75
    assert of(found, "check_warned_rows", client="globex", check="untagged_cost") == 1
    assert of(found, "reconciliation_difference", client="acme", currency="USD") == 0
    assert of(found, "stage_duration_seconds_count", stage="whole") == 3
    assert of(found, "stage_duration_seconds_bucket", stage="parse", le="+Inf") == 3
    assert of(found, "publication_delay_seconds_count") == 3
    assert of(found, "clients") == 2
    assert of(found, "client_refresh_interval_seconds", client="acme") == 86_400
    assert of(found, "database_size_bytes") > 1_000_000
    assert of(found, "spool_free_bytes") > 0
    assert not [name for name, _ in found if "queue" in name]
    assert (of(found, "asked_deliveries"), of(found, "asked_oldest_age_seconds")) == (0, 0)
    assert {of(found, "jobs", state=state) for state in ("waiting", "running", "dead")} == {0}
    assert of(found, "jobs_oldest_age_seconds") == 0


def test_metrics_show_a_request_as_long_as_it_waits_and_all_jobs_by_their_state(landed: Landing) -> None:
    delivery_id = landed.query("SELECT delivery_id FROM billing_deliveries LIMIT 1")[0][0]
    for hours, trigger, state in (
        (5, "api", JobState.RUNNING),
        (1, "eventbridge", JobState.WAITING),
        (9, "api", JobState.DEAD),
        (3, "schedule", JobState.WAITING),
    ):
        columns = {"trigger_source": trigger, "delivery_id": delivery_id, "created_at": ago(hours=hours)}
        put_job(landed.database, f"{trigger} {state}", state, **columns)
    put_message(landed.database, "announced", created_at=ago(hours=7))

    samples = Instruments(landed.database, None).read().samples

    assert samples["asked_deliveries"] == {(): 2}
    assert 5 * 3600 <= samples["asked_oldest_age"][()] < 5 * 3600 + 300
    assert samples["jobs"] == {("waiting",): 3, ("running",): 1, ("dead",): 1}
    assert 7 * 3600 <= samples["jobs_oldest_age"][()] < 7 * 3600 + 300


def test_every_family_keeps_the_rules_of_its_format(server: WebServer) -> None:
    answer = server.send("GET", "/metrics", headers={"Accept": OPEN_METRICS})

    families = {family.name: family for family in parse_open_metrics(answer.body.decode())}

    assert (answer.headers["Content-Type"] or "").startswith("application/openmetrics-text")
    assert set(families) == {family.full_name for family in FAMILIES}
    for family in FAMILIES:
        told = families[family.full_name]
        assert (told.type, told.documentation) == (family.kind, family.help)
        assert {label for sample in told.samples for label in sample.labels} - {"le"} <= set(family.labels)
        assert re.fullmatch(r"billfold(_[a-z]+)+", family.full_name)
        assert family.unit in ("", "seconds", "bytes")


def test_what_is_read_has_its_family(looked_at: Landing) -> None:
    readings = Instruments(looked_at.database, None).read()

    names = {family.name: family for family in FAMILIES}
    assert set(readings.samples) | set(readings.distributions) <= set(names)
    for name, samples in readings.samples.items():
        assert {len(labels) for labels in samples} == {len(names[name].labels)}, name
    for name, distributions in readings.distributions.items():
        assert {len(labels) for labels in distributions} == {len(names[name].labels)}, name


def test_counts_that_go_on_are_what_counting_anew_gives(landed: Landing) -> None:
    read_again = Instruments(landed.database, None)
    landed.execute("UPDATE billing_publications SET published_at = published_at - interval '1 hour'")
    landed.execute("UPDATE billing_ingestion_runs SET finished_at = finished_at - interval '1 hour'")
    read_again.read()
    write_bill(landed.root, described("1.25", "8.5", "3"), revision=3)
    landed.ingest()

    again, anew = read_again.read(), Instruments(landed.database, None).read()

    assert without_clock(again) == without_clock(anew)
    assert again.samples["added_rows"]["acme",] == 4
    # What is settled was not read again: a change that nothing in Billfold makes goes unseen.
    landed.execute("UPDATE billing_publications SET rows_added = 1000, rows_after = 1000 WHERE number = 1")
    assert read_again.read().samples["added_rows"]["acme",] == 4


def test_no_counter_falls_when_history_is_pruned(landed: Landing) -> None:
    with run_web_server(landed.settings, landed.database) as server:
        before = scrape(server)

    pruning = prune(
        settings=landed.settings, database=landed.database, keep_days=1, now=datetime.now(UTC) + timedelta(days=30)
    )

    with run_web_server(landed.settings, landed.database) as another:
        after = scrape(another)
    counters = [key for key in before if re.search(r"_(total|bucket|count|sum)$", key[0])]
    assert pruning.statements
    assert {key: after[key] for key in counters} == {key: before[key] for key in counters}


def test_a_purged_client_leaves_the_metrics_and_no_other_series_falls(landed: Landing) -> None:
    watching = Instruments(landed.database, None)
    before = watching.read()
    landed.execute("UPDATE billing_clients SET is_registered = false")

    clients.remove(landed.database, "globex", purge=True)

    after = watching.read()
    assert {labels[0] for labels in after.samples["added_rows"]} == {"acme"}
    assert after.samples["added_rows"]["acme",] == before.samples["added_rows"]["acme",]
    assert after.samples["clients"] == {(): 1}


def test_a_client_added_again_after_its_purge_starts_from_zero(landed: Landing) -> None:
    landed.execute("UPDATE billing_ingestion_runs SET finished_at = now() - interval '1 hour' WHERE status = 'success'")
    watching = Instruments(landed.database, None)
    assert watching.read().samples["runs"]["globex", "success"] == 1
    landed.execute("UPDATE billing_clients SET is_registered = false")
    clients.remove(landed.database, "globex", purge=True)
    watching.read()

    landed.execute("INSERT INTO billing_clients (client_id) VALUES ('globex')")

    assert watching.read().samples["runs"]["globex", "success"] == 0


def test_scrapes_that_wait_for_another_one_delay_no_other_request(
    looked_at: Landing, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instruments, "TIMEOUT_SECONDS", 1)
    # So many threads answer requests at a time.
    scraping = ThreadPoolExecutor(45)
    with connect(looked_at.database.conninfo) as connection, connection.transaction():
        connection.execute("LOCK TABLE billing_publications")
        scrapes = [scraping.submit(server.send, "GET", "/metrics") for _ in range(45)]
        next(as_completed(scrapes, timeout=20))
        health = server.send("GET", "/healthz")
        ended = [scrape.result() for scrape in scrapes if scrape.done()]
    scraping.shutdown()

    assert health.status == 200
    assert {(answer.status, answer.error_code) for answer in ended} == {(503, "store_unavailable")}
    assert [scrape.result().status for scrape in scrapes].count(200) >= 1


def test_a_duration_that_equals_a_bound_is_within_it(landed: Landing) -> None:
    landed.execute("""UPDATE billing_deliveries SET timings = '{"fetch": 0.5}' WHERE client_id = 'globex'""")
    landed.execute("""UPDATE billing_deliveries SET timings = '{"fetch": 0.501}' WHERE client_id = 'acme'""")

    distribution = Instruments(landed.database, None).read().distributions["stage_duration"]["fetch",]

    assert distribution == Distribution(
        counts={0.1: 0, 0.25: 0, 0.5: 1} | dict.fromkeys(instruments.BOUNDS["stage_duration"][3:], 3),
        count=3,
        sum_seconds=pytest.approx(1.502),
    )


def test_clients_beyond_the_limit_are_one_series(landed: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "MAX_CLIENTS", 1)
    for number in range(2):
        landed.execute("INSERT INTO billing_clients (client_id) VALUES (%s)", f"aaa{number}")

    samples = Instruments(landed.database, None).read().samples

    assert set(samples["added_rows"]) == {("acme",), (OTHERS,)}
    assert samples["added_rows"][OTHERS,] == 1
    assert set(samples["client_late"]) == {("acme",)}
    assert samples["clients"] == {(): 4}


def test_metrics_show_a_bill_that_differs_from_its_source(landed: Landing) -> None:
    landed.execute(
        """UPDATE billing_deliveries SET source_cost = '{"USD": "9.70", "EUR": "1"}' WHERE client_id = 'acme'"""
    )

    samples = Instruments(landed.database, None).read().samples

    assert str(samples["reconciliation_difference"]["acme", "USD"]) == "0.05"
    assert samples["reconciliation_difference"]["acme", "EUR"] == 1


def test_metrics_show_retries_and_late_clients(landed: Landing) -> None:
    landed.execute("UPDATE billing_deliveries SET attempts = 3 WHERE client_id = 'acme' AND state = 'failed'")
    landed.execute("UPDATE billing_clients SET bucket = 'b' WHERE client_id = 'globex'")

    samples = Instruments(landed.database, "globex").read().samples

    assert samples["retries"] == {("acme",): 2, ("globex",): 0}
    assert samples["client_late"] == {("acme",): 0, ("globex",): 1}
    assert samples["late_clients"] == {(): 1}


@pytest.fixture(scope="module")
def filled(new_database: NewDatabase) -> Database:
    """The control tables of one client after years of deliveries."""
    database = new_database(16)
    with connect(database.conninfo) as connection:
        fill_control_tables(connection, clients=1, deliveries=200)
    return database


@pytest.mark.slow
def test_a_scrape_reads_no_large_table_whole(filled: Database) -> None:
    watching = Instruments(filled, None)
    watching.read()
    parameters = {"since": datetime.now(UTC), "settled_at": datetime.now(UTC), "client": None, "default_client": None}
    parameters |= {name: [-float(bound) for bound in bounds] for name, bounds in instruments.BOUNDS.items()}

    read_whole = set()
    with connect(filled.conninfo) as connection:
        for name in ("tally_runs", "tally_publications", "tally_durations", "count_open", "list_client_freshness"):
            file = "freshness" if name == "list_client_freshness" else "metrics"
            query = read_queries("billfold.store.reports", file)[name]
            [(document,)] = connection.execute(f"EXPLAIN (FORMAT JSON) {query}".encode(), parameters).fetchall()
            read_whole |= {table for table, how in scans(document[0]["Plan"]) if how == "Seq Scan"}

    assert read_whole <= {"billing_clients", "billing_statements"}


@pytest.mark.slow
def test_several_processes_can_share_what_the_first_scrape_adds_up(filled: Database) -> None:
    parameters = {"since": None, "settled_at": datetime.now(UTC)}
    parameters |= {name: [-float(bound) for bound in bounds] for name, bounds in instruments.BOUNDS.items()}

    shared = set()
    with connect(filled.conninfo) as connection:
        for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
            connection.execute(f"SET {setting} = 0".encode())
        for name in ("tally_runs", "tally_publications", "tally_durations"):
            query = read_queries("billfold.store.reports", "metrics")[name]
            plan = connection.execute(f"EXPLAIN {query}".encode(), parameters).fetchall()
            # Few rows may be sorted before they are added up.
            shared |= {name for (line,) in plan if re.search("Partial (Hash|Group)Aggregate", line)}

    assert shared == {"tally_runs", "tally_publications", "tally_durations"}


def test_only_a_token_that_reads_every_client_may_ask(looked_at: Landing, server: WebServer) -> None:
    secrets = {
        "all": tokens.make(looked_at.database, "all", scopes=[Scope.READ]).secret,
        "one": tokens.make(looked_at.database, "one", scopes=[Scope.READ], client_id="acme").secret,
        "ingests": tokens.make(looked_at.database, "ingests", scopes=[Scope.INGEST]).secret,
    }

    answers = {
        name: server.send("GET", "/metrics", headers={"Authorization": f"Bearer {secret}"})
        for name, secret in secrets.items()
    }

    assert {name: answer.status for name, answer in answers.items()} == {"all": 200, "one": 403, "ingests": 403}
    assert answers["one"].error_code == "forbidden"
    assert server.send("GET", "/metrics", headers=STRANGER).status == 401


def test_a_database_that_is_slow_fails_the_scrape_in_time(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    scrape(server)
    monkeypatch.setattr(instruments, "TIMEOUT_SECONDS", 0.001)

    answer = server.send("GET", "/metrics")

    assert (answer.status, answer.error_code) == (503, "store_unavailable")


def test_the_spool_is_measured_as_it_is(looked_at: Landing, server: WebServer) -> None:
    folder = looked_at.settings.spool / "delivery-killed"
    folder.mkdir(parents=True)
    (folder / "bill.csv").write_bytes(b"x" * 1234)

    assert of(scrape(server), "spool_used_bytes") == 1234


def test_metrics_show_depth_age_and_dead_letters_of_the_queue(aws: LocalAws, landing: Landing) -> None:
    mailbox = Mailbox(aws)
    mailbox.send("one", "two", "three")
    settings = landing.settings.model_copy(update={"endpoint_url": aws.endpoint_url, "queue_url": mailbox.url})
    queue = open_queue(mailbox.url, settings)
    queue.receive(max_messages=1, wait_seconds=0, hide_seconds=600)
    dead = queue.open_dead_letters()
    assert dead
    dead.send("given up")
    aws.client("cloudwatch").put_metric_data(
        Namespace="AWS/SQS",
        MetricData=[
            {
                "MetricName": "ApproximateAgeOfOldestMessage",
                "Dimensions": [{"Name": "QueueName", "Value": mailbox.url.rsplit("/", 1)[-1]}],
                "Timestamp": datetime.now(UTC) - timedelta(minutes=2),
                "Value": 345.0,
            }
        ],
    )

    with run_web_server(settings, landing.database) as server:
        found = scrape(server)

    assert {state: of(found, "queue_messages", state=state) for state in ("waiting", "hidden")} == {
        "waiting": 2,
        "hidden": 1,
    }
    assert of(found, "dead_letters") == 1
    assert of(found, "queue_oldest_message_age_seconds") == 345
    assert {of(found, "queue_up", part=part) for part in ("messages", "dead_letters", "oldest_message")} == {1}


def test_a_failing_queue_shows_in_the_metrics_and_breaks_nothing(aws: LocalAws, landing: Landing) -> None:
    urls = {"gone": Mailbox(aws).url + "-gone", "unreachable": "http://127.0.0.1:9/123456789012/queue"}

    for name, url in urls.items():
        endpoint_url = aws.endpoint_url if name == "gone" else "http://127.0.0.1:9"
        settings = landing.settings.model_copy(update={"endpoint_url": endpoint_url, "queue_url": url})
        with run_web_server(settings, landing.database) as server:
            found = scrape(server)
        assert of(found, "queue_up", part="messages") == 0, name
        assert of(found, "clients") == 0
        assert not [key for key in found if key[0] in ("billfold_queue_messages", "billfold_dead_letters")]


def test_the_queue_is_not_read_again_for_a_moment(aws: LocalAws, landing: Landing) -> None:
    mailbox = Mailbox(aws)
    settings = landing.settings.model_copy(update={"endpoint_url": aws.endpoint_url})
    now = [0.0]
    watch = QueueWatch(mailbox.url, settings, clock=lambda: now[0])
    assert watch.read().waiting_count == 0
    mailbox.send("one")

    kept = watch.read().waiting_count
    now[0] += KEPT_SECONDS

    assert (kept, watch.read().waiting_count) == (0, 1)
