"""Every check in one table: its name, what a warning means, what to do then, and the rule that decides.

The page of checks, `billfold checks`, the API and docs/checks.md are made from this table. A new check is one entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from billfold.quality import rules
from billfold.quality.rules import CENT, PRECISION, Finding
from billfold.store.reports.checks import CheckedBill


class Severity(StrEnum):
    """What a warning puts in doubt: the amounts themselves, or only what they are called."""

    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check. `meaning` is a sentence for the screen, `more` is what the document adds.

    `rows` says what its row count counts, `money` which cost its amount is; amounts of different checks cannot be
    added.
    """

    title: str
    severity: Severity
    meaning: str
    more: str = ""
    advice: str
    rows: str
    money: str
    rule: Callable[[CheckedBill], Finding]


# In the order in which they are shown: a check that can make totals wrong comes first.
CHECKS: Mapping[str, Check] = {
    "overlap": Check(
        title="Overlapping exports",
        severity=Severity.HIGH,
        meaning="Warns if a bill, or a part of it, is counted twice or is missing from the costs.",
        more="The bill is counted beside another statement of the same bill, or no statement of it is counted."
        " Overlapping statements show the cost that is missing, parts the cost that is counted twice.",
        advice="Count one of them: `billfold statement count ID`. Or count both: `billfold statement parts ID OTHER`.",
        rows="charges",
        money="billed cost",
        rule=rules.check_overlap,
    ),
    "net_proof": Check(
        title="Discounts",
        severity=Severity.HIGH,
        meaning=f"Warns if billed costs differ by more than {CENT} from the gross costs less the discounts.",
        more="The discounts are those that the export names. Also counted: total discounts that are not the sum of"
        " their parts, discounts that raise a cost, and discount columns that name more than the discount line items.",
        advice="Compare the month with its invoice, and ask AWS which discount the export leaves out or repeats.",
        rows="line items",
        money="the difference",
        rule=rules.check_net,
    ),
    "savings_plan_residual": Check(
        title="Savings Plans residual",
        severity=Severity.HIGH,
        meaning=f"Warns if covered usage and negations differ by more than {CENT}, charged as an Adjustment.",
        more="Smaller amounts are shown too.",
        advice="Wait for the next delivery. If the difference remains, the export lacks rows: compare the invoice.",
        rows="Adjustment charges",
        money="billed cost",
        rule=rules.check_residual,
    ),
    "savings_plan_hours": Check(
        title="Savings Plans by hour",
        severity=Severity.HIGH,
        meaning="Warns if covered usage and negations of a plan differ in any hour.",
        more=f"By more than {PRECISION}. The amount is the sum of the absolute differences.",
        advice="The effective cost of that hour is in doubt. Look at its line items, and at the next delivery.",
        rows="hours of a plan",
        money="the differences",
        rule=rules.check_hours,
    ),
    "commitment_identity": Check(
        title="Cost of commitments",
        severity=Severity.HIGH,
        meaning="Warns if used and unused cost of a commitment differs from what it costs in the month.",
        more=f"By more than {PRECISION}. The amount is the sum of the absolute differences.",
        advice="The effective cost of these commitments is in doubt. Compare it with AWS's utilization report.",
        rows="commitments",
        money="the differences",
        rule=rules.check_commitments,
    ),
    "split_cost": Check(
        title="Split cost allocation",
        severity=Severity.LOW,
        meaning=f"Warns if containers' costs differ by more than {CENT} from what their instances cost.",
        more="Or if the bill lacks an instance that they name. Smaller amounts are shown too. The amount is the sum of"
        " the absolute differences.",
        advice="Costs by workload are in doubt, totals are correct. Look at the hours, and at the next delivery.",
        rows="instances and hours",
        money="the differences",
        rule=rules.check_split,
    ),
    "unknown_line_types": Check(
        title="Unknown line item types",
        severity=Severity.LOW,
        meaning="Warns of a line item type without a mapping: it is charged as Adjustment, with the correct amount.",
        more="Or of a charge category that FOCUS does not have.",
        advice="Report the type. After an upgrade that maps it, run `billfold remap`.",
        rows="charges",
        money="billed cost",
        rule=rules.check_line_types,
    ),
    "unmapped_services": Check(
        title="Unmapped services",
        severity=Severity.LOW,
        meaning="Warns of AWS products in the category Other that no table maps.",
        more="Taxes, credits and products of other sellers are excluded.",
        advice="Add them to `services.csv` (see mapping.md), then run `billfold remap`.",
        rows="charges",
        money="billed cost",
        rule=rules.check_services,
    ),
    "unmapped_regions": Check(
        title="Unmapped regions",
        severity=Severity.LOW,
        meaning="Warns of regions that are shown by their ids because no table names them.",
        advice="Add them to `regions.csv` (see mapping.md), then run `billfold remap`.",
        rows="charges",
        money="billed cost",
        rule=rules.check_regions,
    ),
    "untagged_cost": Check(
        title="Untagged usage",
        severity=Severity.LOW,
        meaning="Warns of usage without a tag of the client's own.",
        more="Tags of the resource, the account, the user and the principal count. Unused commitments cannot be tagged"
        " and are excluded.",
        advice="Tag the resources, and activate the keys as cost allocation tags in AWS.",
        rows="charges",
        money="effective cost",
        rule=rules.check_tags,
    ),
    "focus_rules": Check(
        title="FOCUS rules",
        severity=Severity.LOW,
        meaning="Warns if charges of the last publication break a must-rule of FOCUS, usually for lack of a column.",
        advice="`billfold validate --statement ID` names the rules. Add the missing columns to the export.",
        rows="charges",
        money="billed cost",
        rule=rules.check_rules,
    ),
}

# These can make amounts wrong.
SEVERE_CHECKS = tuple(name for name, each in CHECKS.items() if each.severity is Severity.HIGH)


def describe_check(name: str) -> Check:
    """The check of this name; one that another version recorded has only its name."""
    return CHECKS.get(name) or Check(
        title=name,
        severity=Severity.LOW,
        meaning="This version of Billfold does not have this check.",
        advice="`billfold checks --refresh` runs the checks of this version.",
        rows="rows",
        money="money",
        rule=lambda _: Finding(is_warned=False, detail=""),
    )
