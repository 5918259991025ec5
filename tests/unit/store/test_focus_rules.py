"""The table of FOCUS rules: whole, consistent, and all of what the specification's columns say."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from billfold.store.reports import focus_rules as focus
from billfold.store.reports.focus_rules import Rule, RuleKind, Severity, charge_rules, columns, type_rules

RULES = (*type_rules(), *charge_rules())
TYPES = {"String": "text", "Decimal": "numeric", "Date/Time": "timestamptz", "JSON": "jsonb"}
LATER_VERSIONS = ("1.3",)


@pytest.fixture(scope="module")
def reference() -> dict[str, dict[str, str]]:
    """What the specification says of each column of FOCUS 1.2."""
    path = Path(__file__).resolve().parents[4] / "shared" / "reference" / "focus_columns.csv"
    if not path.is_file():
        pytest.skip("the reference of FOCUS's columns is not beside this checkout")
    with path.open(encoding="utf-8", newline="") as file:
        return {row["column"]: row for row in csv.DictReader(file) if row["min_version"] not in LATER_VERSIONS}


def rules_of(column: str, kind: RuleKind) -> list[Rule]:
    return [rule for rule in RULES if rule.column == column and rule.kind is kind]


def test_every_rule_has_a_name_of_its_own() -> None:
    assert [name for name, count in Counter(rule.rule for rule in RULES).items() if count > 1] == []


def test_every_rule_names_its_column_and_its_sentence() -> None:
    assert len(columns()) == 57
    for rule in RULES:
        assert rule.column == "*" or rule.column in columns(), rule.rule
        assert rule.column == "*" or rule.column in rule.mentioned, rule.rule
        assert rule.column == "*" or rule.rule.startswith(f"{rule.column}-"), rule.rule
        assert rule.sentence.endswith("."), rule.rule


def test_columns_are_quoted_and_literals_are_left_alone() -> None:
    rule = Rule(
        rule="x",
        column="Tags",
        kind=RuleKind.NULL,
        severity=Severity.MUST,
        breaks="Tags IS NULL AND SkuId <> 'Tags ''SkuId'",
        sentence="x.",
    )

    assert rule.condition == "\"Tags\" IS NULL AND \"SkuId\" <> 'Tags ''SkuId'"
    assert rule.mentioned == ("Tags", "SkuId")


def test_the_table_has_each_column_of_the_specification_with_its_type(reference: dict[str, dict[str, str]]) -> None:
    assert set(columns()) == set(reference)
    for column, said in reference.items():
        [rule] = rules_of(column, RuleKind.TYPE)
        assert rule.breaks == f"pg_typeof({column}) <> '{TYPES[said['type']]}'::regtype"


def test_the_table_has_each_column_that_is_never_null(reference: dict[str, dict[str, str]]) -> None:
    never_null = {column for column, said in reference.items() if said["nulls"] == "False"}

    demanded = {
        rule.column
        for rule in charge_rules()
        if rule.breaks == f"{rule.column} IS NULL" and rule.severity is Severity.MUST
    }

    # These two may be missing from a dataset; where they are there, as in our view, they are never null.
    assert demanded == never_null | {"PricingCurrency", "PricingCurrencyEffectiveCost"}


def test_the_table_has_each_allowed_value(reference: dict[str, dict[str, str]]) -> None:
    for column, said in reference.items():
        if not said["allowed_values"] or column == "ServiceSubcategory":
            continue
        values = ", ".join(f"'{value}'" for value in said["allowed_values"].split("|"))
        assert f"{column} NOT IN ({values})" in {rule.breaks for rule in rules_of(column, RuleKind.ALLOWED_VALUE)}


def test_the_table_has_each_subcategory_with_its_parent(reference: dict[str, dict[str, str]]) -> None:
    children: dict[str, list[str]] = {}
    for pair in reference["ServiceSubcategory"]["allowed_values"].split("|"):
        parent, _, child = pair.partition(" > ")
        children.setdefault(parent, []).append(child)

    conditions = {rule.breaks for rule in rules_of("ServiceSubcategory", RuleKind.PARENT_AND_CHILD)}

    assert set(children) == set(reference["ServiceCategory"]["allowed_values"].split("|"))
    assert conditions == {
        f"ServiceCategory = '{parent}' AND ServiceSubcategory NOT IN ({', '.join(map(repr, names))})"
        for parent, names in children.items()
    }


def test_each_sentence_about_nulls_that_can_be_judged_has_its_rule(reference: dict[str, dict[str, str]]) -> None:
    sentences = {rule.sentence for rule in RULES}
    # What only the one who writes the bill can know: whether a charge has to do with a zone, an invoice, a resource.
    unknowable = (
        "is related to",
        "is not related",
        "is not specific",
        "is not operated in",
        "represent",
        "can be assigned",
    )
    composed = (
        "CommitmentDiscountQuantity",
        "ConsumedQuantity",
        "CommitmentDiscountName",
        "ResourceName",
        "BillingAccountType",
    )

    missing = [
        sentence
        for column, said in reference.items()
        for sentence in (part.strip() for part in said["null_requirements_v1_2"].split(" ; "))
        if sentence and " MAY " not in sentence and "product of" not in sentence
        if sentence not in sentences and column not in composed and not any(words in sentence for words in unknowable)
    ]

    assert [sentence for sentence in missing if not sentence.startswith("InvoiceId MUST NOT")] == []


def test_the_table_is_read_once() -> None:
    assert focus.charge_rules() is focus.charge_rules()
