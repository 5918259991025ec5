"""Tags of all kinds: CUR's older columns and its map `tags` give one bill, and FOCUS's tags keep their types."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings

from billfold.bills.remap import remap
from billfold.verification import ProofState, verify
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, line_item, write_bill, write_delivery
from tests.integration.transform.slow_tags import cost_categories_of, tags_of

# What AWS's user guide shows: one key in four kinds of tags.
OVERLAPPING = {
    "resourceTags/department": "teamA",
    "resourceTags/appName": "app1",
    "userAttribute/Department": "teamB",
    "accountTag/department": "teamC",
    "accountTag/appName": "app3",
    "costCategory/department": "teamD",
    "iamPrincipal/department": "teamE",
}
EVERYTHING = "SELECT to_jsonb(charge) - '{x_StatementId,x_ClientId}'::text[] FROM focus_cost_and_usage AS charge"
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
# Each example is an ingestion: to shrink one would take minutes.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


def _differ(rows: Sequence[object]) -> bool:
    """Whether there are different rows: the simplest example, which comes first, has none and proves nothing."""
    return rows[0] != rows[-1]


def spell(tags: Mapping[str, Any] | None) -> str:
    return "" if tags is None else json.dumps(tags, ensure_ascii=False)


def bring_in(landing: Landing, *items: Mapping[str, str], client: str | None = None) -> Landing:
    """Ingest these line items as a bill of its own, each told from the others by its description."""
    target = landing.with_client(client_id=client) if client else landing
    described = [{**item, "line_item_line_item_description": f"item {n:03}"} for n, item in enumerate(items)]
    outcome = target.ingest(write_bill(landing.root, described, export_path=f"exports/{uuid4().hex}"))
    assert outcome.exit_error is None
    return target


def tags(landing: Landing, part: str = "") -> list[tuple[Any, Any]]:
    """The tags and cost categories of all charges, or of a part of the bill."""
    return landing.query(
        'SELECT "Tags", "x_CostCategories" FROM focus_cost_and_usage WHERE "x_UserIdentifier" = %s OR %s = \'\''
        ' ORDER BY "ChargeDescription"',
        part,
        part,
    )


READ_AS = [
    ("resourceTags/team", "team"),
    ("resourceTags/user:team", "team"),
    ("resourceTags/user_team", "team"),
    ("resourceTags/aws:createdBy", "aws:createdBy"),
    ("resourceTags/aws_created_by", "aws:created_by"),
    ("resourceTags/user:aws_key", "aws_key"),
    ("resourceTags/cost/center: north", "cost/center: north"),
    ("resourceTags/accountTag/team", "resourceTags/accountTag/team"),
    ("resourceTags/user:iamPrincipal/team", "resourceTags/iamPrincipal/team"),
    ("resourceTags/resourceTags/team", "resourceTags/resourceTags/team"),
    ("accountTag/user:team", "accountTag/user:team"),
    ("accountTag/resourceTags/team", "accountTag/resourceTags/team"),
    ("iamPrincipal/\u00e9\U0001f600", "iamPrincipal/\u00e9\U0001f600"),
    ("organizationTag/team", "organizationTag/team"),
    ("team", "team"),
]


MINE = {"accountTag/team": "aws", "resourceTags/accountTag/team": "mine"}
TWICE = {"resourceTags/user:env": "1", "resourceTags/env": "2", "accountTag/env": "3"}
KINDS = ["Credit", "Refund", "Tax", "Fee", "Usage"]
BROKEN = ["[1]", "no json", '{"a": ', '"text"', '{"a":1,"a":2}']
# What the slow twin must agree with, whatever chance brings.
ODD_KEYS = [
    line_item(tags=spell({"accountTag/a\0": "b\0c", "costCategory/\0d": "\0"})),
    line_item(tags=spell({"a": "1"}), resource_tags=spell({"user_A": "2", "user_": "3", "aws_": "4"})),
]

# The parts of one bill.
PARTS: dict[str, list[dict[str, str]]] = {
    "the map": [
        line_item(tags=spell(OVERLAPPING)),
        line_item(tags=spell({"accountTag/a": ""})),
        line_item(tags="{}"),
    ],
    "prefixes": [line_item(tags=spell({source: "x"})) for source, _ in READ_AS],
    "account tags": [
        line_item(tags=spell(MINE)),
        line_item(resource_tags=spell({"user_accountTag/team": "mine"}), tags=spell({"accountTag/team": "aws"})),
        line_item(resource_tags=spell({"user:accountTag/team": "mine"})),
    ],
    "both columns": [
        line_item(
            resource_tags=spell({"user_app_name": "old", "user_only_here": "1", "aws_created_by": "old"}),
            cost_category=spell({"cost_center": "old", "only_here": "2"}),
            tags=spell(
                {
                    "resourceTags/appName": "new",
                    "resourceTags/aws:createdBy": "new",
                    "accountTag/onlyHere": "3",
                    "costCategory/CostCenter": "new",
                }
            ),
        )
    ],
    "keys that would become one": [
        line_item(tags=spell(TWICE)),
        line_item(resource_tags=spell({"user_env": "1", "env": "2"})),
    ],
    "kinds": [line_item(kind, tags=spell({"accountTag/team": "red"})) for kind in KINDS],
    "no maps": [
        *(line_item(tags=text) for text in BROKEN),
        *(line_item(tags=text, resource_tags=spell({"user_a": "b"})) for text in BROKEN),
    ],
    "odd keys": ODD_KEYS,
}
IN_PARQUET = {**OVERLAPPING, "accountTag/odd": 'a "quoted" \\ \u00e9 \U0001f600', "resourceTags/empty": ""}


@pytest.fixture(scope="module")
def bill(shared_landing: Landing) -> Landing:
    """All parts in one bill, whose rows name theirs; a row of the last part stands in a Parquet file too."""
    rows = [{**item, "line_item_user_identifier": part} for part, items in PARTS.items() for item in items]
    rows = [{**row, "line_item_line_item_description": f"item {n:03}"} for n, row in enumerate(rows)]
    twice = line_item(line_item_user_identifier="a map in Parquet", line_item_line_item_description="twice")
    table = pa.table(
        {
            **{name: pa.array([value]) for name, value in twice.items()},
            "tags": pa.array([list(IN_PARQUET.items())], pa.map_(pa.string(), pa.string())),
        }
    )
    file = io.BytesIO()
    parquet.write_table(table, file)
    write_delivery(shared_landing.root, as_csv([*rows, {**twice, "tags": spell(IN_PARQUET)}]), file.getvalue())
    assert shared_landing.ingest().exit_error is None
    return shared_landing


def test_the_map_of_all_tags_becomes_tags_and_cost_categories(bill: Landing) -> None:
    assert tags(bill, "the map") == [
        (
            {
                "department": "teamA",
                "appName": "app1",
                "userAttribute/Department": "teamB",
                "accountTag/department": "teamC",
                "accountTag/appName": "app3",
                "iamPrincipal/department": "teamE",
            },
            {"department": "teamD"},
        ),
        ({"accountTag/a": ""}, None),
        (None, None),
    ]
    assert bill.broken_rules() == []


def test_a_key_of_the_map_is_read_by_its_prefix(bill: Landing) -> None:
    assert tags(bill, "prefixes") == [({key: "x"}, None) for _, key in READ_AS]


def test_a_resource_tag_is_never_taken_for_an_account_tag_in_any_column(bill: Landing) -> None:
    assert tags(bill, "account tags") == [
        (MINE, None),
        (MINE, None),
        ({"resourceTags/accountTag/team": "mine"}, None),
    ]


def test_where_both_columns_have_a_key_the_map_counts_and_what_it_lacks_is_added(bill: Landing) -> None:
    assert tags(bill, "both columns") == [
        (
            {"appName": "new", "aws:createdBy": "new", "only_here": "1", "accountTag/onlyHere": "3"},
            {"CostCenter": "new", "only_here": "2"},
        )
    ]


def test_keys_that_would_become_one_stay_as_aws_wrote_them(bill: Landing) -> None:
    assert tags(bill, "keys that would become one") == [(TWICE, None), ({"user_env": "1", "env": "2"}, None)]


def test_account_tags_count_for_every_kind_of_charge(bill: Landing) -> None:
    assert tags(bill, "kinds") == [({"accountTag/team": "red"}, None)] * len(KINDS)


def test_a_map_that_is_not_one_refuses_nothing_and_loses_nothing(bill: Landing) -> None:
    assert tags(bill, "no maps") == [*((text, None) for text in BROKEN), *[({"a": "b"}, None)] * len(BROKEN)]


def test_odd_keys_are_what_the_slow_twin_says(bill: Landing) -> None:
    assert tags(bill, "odd keys") == [(tags_of(item), cost_categories_of(item)) for item in ODD_KEYS]


def test_a_map_in_parquet_gives_what_the_csv_gives(bill: Landing) -> None:
    of_parquet, of_csv = bill.query(f"{EVERYTHING} WHERE \"ChargeDescription\" = 'twice'")

    assert of_parquet == of_csv
    found, _ = tags(bill, "a map in Parquet")[0]
    assert (found["accountTag/odd"], found["empty"]) == (IN_PARQUET["accountTag/odd"], "")
    assert bill.value("SELECT count(DISTINCT row_hash) FROM raw_aws_billing_rows WHERE occurrence = 2") == 1


# Keys as AWS's snake case leaves them: only these come out of the older columns as they were.
SNAKE_KEYS = st.sampled_from(["team", "cost_center", "env", "name", "x1", "\u00e9quipe", "\u540d\u524d"])
VALUES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    st.sampled_from(["", "a,b", 'say "hi"', "{}", "\\", "null", "8080", "\u00e9", "two\nlines"]),
)


@pytest.mark.at_length
@hypothesis_settings(max_examples=rounds(1, in_soak=8), deadline=None, phases=PHASES, suppress_health_check=SLOW)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["Usage", "Tax", "Credit", "Refund"]),
            st.dictionaries(SNAKE_KEYS, VALUES, max_size=4),
            st.dictionaries(st.sampled_from(["createdBy", "eks:cluster-name"]), VALUES, max_size=2),
            st.dictionaries(SNAKE_KEYS, VALUES, max_size=3),
            st.sampled_from(["resourceTags/", "resourceTags/user:", "resourceTags/user_"]),
        ),
        min_size=6,
        max_size=12,
    ).filter(_differ)
)
def test_one_bill_in_the_older_columns_in_the_map_and_in_both_gives_equal_charges(
    landing: Landing, rows: list[tuple[str, dict[str, str], dict[str, str], dict[str, str], str]]
) -> None:
    items = []
    for number, (kind, users, aws, categories, prefix) in enumerate(rows):
        resource_tags = {f"user_{key}": value for key, value in users.items()}
        resource_tags |= {f"aws_{key}": value for key, value in aws.items()}
        whole = {f"{prefix}{key}": value for key, value in users.items()}
        whole |= {f"resourceTags/aws:{key}": value for key, value in aws.items()}
        whole |= {f"costCategory/{key}": value for key, value in categories.items()}
        older = {"resource_tags": spell(resource_tags), "cost_category": spell(categories)}
        newer = {"tags": spell(whole)}
        items += [
            line_item(kind, line_item_line_item_description=f"row {number:02}", **columns)
            for columns in (older, newer, {**older, **newer})
        ]
    client = uuid4().hex
    target = landing.with_client(client_id=client)
    outcome = target.ingest(write_bill(landing.root, items, export_path=f"exports/{client}"))

    assert outcome.exit_error is None
    charges = landing.query(f'{EVERYTHING} WHERE "x_ClientId" = %s ORDER BY "ChargeDescription"', client)
    assert len(charges) == 3 * len(rows)
    assert charges[0::3] == charges[1::3] == charges[2::3]
    # However a set is spelled, it is one member.
    sets = landing.query(
        "SELECT count(*), count(DISTINCT (tags::text, cost_categories::text)) FROM dim_tag_set WHERE client_id = %s",
        client,
    )
    assert sets[0][0] == sets[0][1]


# Anything that may stand in the columns, keys that meet each other among them.
KEYS = st.one_of(
    st.sampled_from(
        "user_env user:env env Env user_Env user_e_n_v aws_env aws:env accountTag/env user_accountTag/env _ -".split()
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0\u0130"), max_size=6),
)
MAP_KEYS = st.tuples(
    st.sampled_from(
        ["resourceTags/", "resourceTags/", "accountTag/", "userAttribute/", "iamPrincipal/", "costCategory/", ""]
    ),
    KEYS,
).map("".join)
MAPS = st.one_of(st.just(""), st.dictionaries(KEYS, st.one_of(VALUES, st.none()), max_size=4).map(spell))
TAG_MAPS = st.one_of(st.just(""), st.dictionaries(MAP_KEYS, st.one_of(VALUES, st.none()), max_size=6).map(spell))


@st.composite
def tagged_items(draw: st.DrawFn) -> list[dict[str, str]]:
    return [
        line_item(resource_tags=draw(MAPS), cost_category=draw(MAPS), tags=draw(TAG_MAPS))
        for _ in range(draw(st.integers(15, 30)))
    ]


@pytest.mark.at_length
@hypothesis_settings(max_examples=rounds(1, in_soak=12), deadline=None, phases=PHASES, suppress_health_check=SLOW)
@given(items=tagged_items().filter(_differ))
def test_tags_in_postgresql_are_those_of_the_slow_twin(landing: Landing, items: list[dict[str, str]]) -> None:
    client = uuid4().hex
    bring_in(landing, *items, client=client)

    found = landing.query(
        'SELECT "Tags", "x_CostCategories" FROM focus_cost_and_usage WHERE "x_ClientId" = %s'
        ' ORDER BY "ChargeDescription"',
        client,
    )

    assert found == [(tags_of(item), cost_categories_of(item)) for item in items]


def test_an_old_month_gets_the_new_tags_by_a_remap_and_everything_verifies(landing: Landing) -> None:
    bring_in(
        landing,
        line_item(cost="4", tags=spell({"accountTag/team": "red", "costCategory/unit": "shops"})),
        line_item(cost="2", tags=spell({"resourceTags/aws:createdBy": "x"})),
        line_item(cost="1", tags="{}", line_item_iam_principal="arn:aws:iam::1:user/a"),
    )
    wanted, rows = landing.query(EVERYTHING), landing.snapshot()["raw_aws_billing_rows"]
    # An account's tag is a tag, what AWS tags by itself is none.
    untagged = "SELECT row_count, cost FROM billing_checks WHERE name = 'untagged_cost'"
    assert landing.query(untagged) == [(2, {"USD": "3"})]
    # As an earlier version left it: neither the map nor the caller was read.
    landing.execute("UPDATE billing_publications SET mapping_version = 1")
    landing.execute("UPDATE billing_deliveries SET mapping_version = 1")
    landing.execute("UPDATE billing_usage_fact SET tag_set_key = NULL")
    landing.execute(
        "UPDATE billing_daily_tag_cost SET tag_set_key = NULL, billed_cost = 7, effective_cost = 7,"
        " list_cost = 7, contracted_cost = 7, charge_count = 3"
        " WHERE tag_set_key = (SELECT min(tag_set_key) FROM billing_daily_tag_cost)"
    )
    landing.execute("DELETE FROM billing_daily_tag_cost WHERE tag_set_key IS NOT NULL")

    remap(settings=landing.settings, database=landing.database)

    assert landing.query(EVERYTHING) == wanted
    assert landing.snapshot()["raw_aws_billing_rows"] == rows
    assert landing.broken_rules() == []
    [verdict] = verify(settings=landing.settings, database=landing.database, with_source=True)
    assert {proof.name for proof in verdict.proofs if proof.state is not ProofState.TRUE} == set()


def test_every_spelling_of_tags_survives_a_history_of_restatements(landing: Landing) -> None:
    """Each delivery spells the same bill in other columns: rows change, charges and costs by tag do not."""
    older = line_item(resource_tags=spell({"user_team": "red"}), cost_category=spell({"unit": "shops"}))
    newer = line_item(tags=spell({"resourceTags/team": "red", "costCategory/unit": "shops"}))
    charges = []
    for revision, item in enumerate([older, {**older, **newer}, newer], start=1):
        write_bill(landing.root, [item], revision=revision)
        assert landing.ingest().exit_error is None
        charges.append(landing.query(EVERYTHING))

    assert all(found == charges[0] for found in charges)
    assert landing.count("dim_tag_set") == 1
    assert landing.broken_rules() == []
