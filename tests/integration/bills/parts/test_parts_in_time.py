"""What counts follows restatements, rollbacks and the decisions of an operator."""

from __future__ import annotations

import threading

import pytest

from billfold.bills.counting import decide, switch
from billfold.bills.remap import remap
from billfold.bills.rollback import roll_back
from billfold.clients.registry import register, remove
from billfold.errors import UsageError
from billfold.model import Relation
from billfold.store.database import connect
from billfold.store.deliveries import claims, records
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill
from tests.integration.bills.parts.parts_helpers import EC2, S3, counted, deliver, viewed
from tests.services import Landed


def test_parts_are_told_once(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2), (deliver, "other", S3))

    outcome = deliver(landing, "other", [*S3, line_item(cost="1", line_item_product_code="AmazonS3")], revision=2)

    assert outcome.findings == ()
    assert viewed(landing) == 1537


def test_a_part_that_becomes_a_duplicate_yields(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2), (deliver, "other", S3))
    before = landing.published_at()[-1]

    outcome = deliver(landing, "other", EC2, revision=2)

    assert "until now they were parts of one bill" in outcome.findings[-1]
    assert (viewed(landing, before), viewed(landing)) == (1536, 33)
    assert counted(landing) == {"one"}


def test_duplicates_that_come_apart_count_both_from_that_moment_on(landed: Landed) -> None:
    landing = landed((deliver, "one", [*EC2, *S3]), (deliver, "other", S3))
    before = landing.published_at()[-1]

    outcome = deliver(landing, "one", EC2, revision=2)

    assert "statement 2 is counted again: no other counted statement holds its bill" in outcome.findings
    assert (viewed(landing, before), viewed(landing)) == (1536, 1536)
    assert counted(landing) == {"one", "other"}
    assert landing.query("SELECT kind, number FROM billing_publications WHERE statement_id = 2 ORDER BY number") == [
        ("delivery", 1),
        ("switch", 2),
    ]
    assert len(set(landing.published_at()[-2:])) == 1
    assert landing.broken_rules() == []


def test_a_part_that_grows_over_another_one_takes_its_place_and_a_rollback_gives_it_back(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2), (deliver, "other", S3))

    grown = deliver(landing, "one", [*EC2, *S3], revision=2)
    between = (viewed(landing), counted(landing))
    assert grown.delivery_id is not None
    roll_back(grown.delivery_id, settings=landing.settings, database=landing.database)
    after = (viewed(landing), counted(landing))
    roll_back(grown.delivery_id, settings=landing.settings, database=landing.database, undo=True)

    assert between == (1536, {"one"})
    assert after == (1536, {"one", "other"})
    assert (viewed(landing), counted(landing)) == (1536, {"one"})
    assert landing.broken_rules() == []


def test_a_part_that_another_worker_holds_is_left_to_its_next_delivery(landed: Landed) -> None:
    landing = landed((deliver, "one", [*EC2, *S3]), (deliver, "other", S3))
    other = landing.value("SELECT current_delivery_id FROM billing_statements WHERE statement_id = 2")

    with connect(landing.database.conninfo) as connection:
        stored = records.find_delivery(connection, other)
        claims.claim_stored(connection, stored, wait_seconds=1)
        outcome = deliver(landing, "one", EC2, revision=2)

    assert "another worker holds it" in outcome.findings[-1]
    assert viewed(landing) == 33
    deliver(landing, "other", [*S3, line_item(cost="1", line_item_product_code="AmazonS3")], revision=2)
    assert viewed(landing) == 1537


def test_a_remap_compares_again(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2), (deliver, "other", S3))
    # As an earlier version left it, which told no parts.
    landing.execute("DELETE FROM billing_statement_pairs")
    landing.execute("UPDATE billing_statements SET counted = false, yields = true WHERE statement_id = 2")

    remap(settings=landing.settings, database=landing.database, force=True, statement_id=2)

    assert counted(landing) == {"one", "other"}
    assert viewed(landing) == 1536


def decide_pair(landing: Landing, choice: Relation | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    decision = decide(1, 2, choice=choice, settings=landing.settings, database=landing.database)
    return decision.counted, decision.uncounted


def test_an_operator_decides_for_good_and_gives_it_back(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2))
    deliver(landing, "other", EC2)
    moments, costs = [landing.published_at()[-1]], [viewed(landing)]

    def keep(expected: tuple[tuple[int, ...], tuple[int, ...]], choice: Relation | None) -> None:
        assert decide_pair(landing, choice) == expected
        moments.append(landing.published_at()[-1])
        costs.append(viewed(landing))

    keep(((2,), ()), Relation.PARTS)
    deliver(landing, "other", [*EC2, line_item(cost="1")], revision=2)
    moments.append(landing.published_at()[-1])
    costs.append(viewed(landing))
    keep(((), (2,)), Relation.DUPLICATES)
    deliver(landing, "other", S3, revision=3)
    moments.append(landing.published_at()[-1])
    costs.append(viewed(landing))
    keep(((2,), ()), None)

    assert costs == [33, 66, 67, 33, 33, 1536]
    assert [viewed(landing, moment) for moment in moments] == costs
    assert landing.broken_rules() == []


MISSING = "missing from the costs"


def test_the_whole_bill_never_counts_beside_its_parts(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2), (deliver, "other", S3))
    before = landing.published_at()[0]
    told = deliver(landing, "whole", [*EC2, *S3]).findings
    as_delivered = (counted(landing), viewed(landing))

    whole = switch(3, counted=True, settings=landing.settings, database=landing.database)
    parts = switch(1, counted=True, settings=landing.settings, database=landing.database)

    assert as_delivered == ({"one", "other"}, 1536)
    assert MISSING not in "".join(told)
    assert (whole.uncounted, whole.also_counted) == ((1, 2), ())
    assert (parts.uncounted, parts.also_counted) == ((3,), (2,))
    assert (viewed(landing), viewed(landing, before)) == (1536, 33)
    assert landing.broken_rules() == []


def test_the_whole_bill_is_told_to_be_missing_until_its_other_part_comes(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2))

    told = deliver(landing, "whole", [*EC2, *S3]).findings
    deliver(landing, "other", S3)

    assert MISSING in "".join(told)
    assert (counted(landing), viewed(landing)) == ({"one", "other"}, 1536)
    assert landing.broken_rules() == []


def test_the_whole_bill_counts_alone_where_it_was_there_before_its_parts(landed: Landed) -> None:
    landing = landed((deliver, "one", [*EC2, *S3]), (deliver, "other", S3))

    deliver(landing, "third", EC2)

    assert (counted(landing), viewed(landing)) == ({"one"}, 1536)
    assert landing.broken_rules() == []


def test_what_an_operator_left_out_is_told(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2), (deliver, "other", S3))
    switch(2, counted=False, settings=landing.settings, database=landing.database)

    decision = decide(1, 2, choice=Relation.PARTS, settings=landing.settings, database=landing.database)

    assert decision.findings == ("statement 2 was excluded by an operator: `billfold statement count 2` counts it",)
    assert viewed(landing) == 33


def test_what_cannot_be_decided_is_refused(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2))
    deliver(landing.with_client(client_id="globex"), "other", S3)

    for other, said in ((1, "named twice"), (9, "no such"), (2, "one client and month")):
        with pytest.raises(UsageError, match=said):
            decide(1, other, choice=Relation.PARTS, settings=landing.settings, database=landing.database)


def test_two_workers_at_once_do_not_both_decide_alone(landing: Landing) -> None:
    manifests = [
        write_bill(landing.root, EC2, export_path="exports/one"),
        write_bill(landing.root, EC2, export_path="exports/other"),
    ]
    workers = [threading.Thread(target=landing.ingest, args=(manifest,)) for manifest in manifests]

    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert viewed(landing) == 33
    assert landing.count("billing_publications") == 2


def test_a_client_that_is_removed_takes_its_pairs_with_it(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2), (deliver, "other", S3))
    register(
        landing.database, landing.settings, {"client_id": "acme", "bucket": "acme-bills", "account_id": "444455556666"}
    )

    remove(landing.database, "acme", purge=True)

    assert landing.count("billing_statement_pairs") == 0
