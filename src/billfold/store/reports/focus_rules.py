"""The rules of FOCUS 1.2, as `focus_rules.csv` states them: what each column is, and what breaks it.

The table has one line for each rule, for people who know the specification to read and edit. `breaks` is a condition of
SQL over the columns of focus_cost_and_usage, whose names appear unquoted in it: a charge breaks the rule if it is true.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

# Whole words outside of literals: a literal may hold a column's name.
_WORDS = re.compile(r"'(?:[^']|'')*'|\b[A-Za-z_]\w*\b")


class RuleKind(StrEnum):
    """What a rule is about; rules of kind `type` are about the view, all others about each charge."""

    TYPE = "type"
    NULL = "null rule"
    CONDITIONAL_NULL = "conditional null rule"
    ALLOWED_VALUE = "allowed value"
    PARENT_AND_CHILD = "parent and child"
    COMMITMENT = "commitment rule"
    PRICE_TIMES_QUANTITY = "price times quantity"
    NON_NEGATIVE_PRICE = "non-negative price"
    PRICING_CURRENCY = "pricing currency"
    COST_OF_A_CREDIT = "cost of a credit"
    TIME_ORDER = "time order"
    CURRENCY_CODE = "currency code"
    JSON_OBJECT = "JSON object"


class Severity(StrEnum):
    """Whether the specification demands it, or it is a recommendation or our reading of a sentence."""

    MUST = "must"
    SHOULD = "should"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: its column (`*` for several), what breaks it, and the sentence of the specification it comes from."""

    rule: str
    column: str
    kind: RuleKind
    severity: Severity
    breaks: str
    sentence: str

    @property
    def condition(self) -> str:
        """What breaks it, as PostgreSQL reads it: the names of columns are quoted."""
        return _WORDS.sub(lambda word: f'"{word[0]}"' if word[0] in columns() else word[0], self.breaks)

    @property
    def mentioned(self) -> tuple[str, ...]:
        """The columns that its condition names, each once."""
        return tuple(dict.fromkeys(word for word in _WORDS.findall(self.breaks) if word in columns()))


@cache
def columns() -> tuple[str, ...]:
    """The columns of FOCUS 1.2: those that have a rule for their type."""
    return tuple(rule.column for rule in _read() if rule.kind is RuleKind.TYPE)


@cache
def type_rules() -> tuple[Rule, ...]:
    """The rules about the view's columns: judged once, without any charges."""
    return tuple(rule for rule in _read() if rule.kind is RuleKind.TYPE)


@cache
def charge_rules() -> tuple[Rule, ...]:
    """The rules about every charge, in the order of the table."""
    return tuple(rule for rule in _read() if rule.kind is not RuleKind.TYPE)


@cache
def _read() -> tuple[Rule, ...]:
    text = (resources.files("billfold.store.reports") / "focus_rules.csv").read_text(encoding="utf-8")
    return tuple(
        Rule(
            rule=line["rule"],
            column=line["column"],
            kind=RuleKind(line["kind"]),
            severity=Severity(line["severity"]),
            breaks=line["breaks"],
            sentence=line["sentence"],
        )
        for line in csv.DictReader(io.StringIO(text, newline=""))
    )
