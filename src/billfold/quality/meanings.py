"""What each check means, how much it matters, and what to do where it warns: one line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a warning puts in doubt: the amounts themselves, or only what they are called."""

    HIGH = "high"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckMeaning:
    """A check in words. `rows` is what its rows count, `money` which cost its money is."""

    title: str
    severity: Severity
    meaning: str
    advice: str
    rows: str
    money: str


# In the order in which they are read: what makes totals wrong comes first.
CHECK_MEANINGS: Mapping[str, CheckMeaning] = {
    "overlap": CheckMeaning(
        title="Overlap of exports",
        severity=Severity.HIGH,
        meaning="Warns where a bill, or a part of it, is counted twice or is missing in the costs.",
        advice="Choose one: `billfold statement count ID`; or have both count: `billfold statement parts ID OTHER`.",
        rows="charges",
        money="billed cost",
    ),
    "net_proof": CheckMeaning(
        title="Proof of discounts",
        severity=Severity.HIGH,
        meaning="Warns where billed costs are more than 0.01 off the gross costs less the discounts of the export.",
        advice="Compare the month with its invoice, and ask AWS which discount the export leaves out or repeats.",
        rows="line items",
        money="the difference",
    ),
    "savings_plan_residual": CheckMeaning(
        title="Rest of Savings Plans",
        severity=Severity.HIGH,
        meaning="Warns where covered usage and negations leave more than 0.01 over, charged as an Adjustment.",
        advice="Wait for the next delivery; where it stays, the export lacks rows: compare it with the invoice.",
        rows="Adjustment charges",
        money="billed cost",
    ),
    "savings_plan_hours": CheckMeaning(
        title="Hours of Savings Plans",
        severity=Severity.HIGH,
        meaning="Warns where covered usage and negations do not cancel out in an hour of a plan.",
        advice="The effective cost of that hour is in doubt: look at its line items, and at the next delivery.",
        rows="hours",
        money="what is left over",
    ),
    "commitment_identity": CheckMeaning(
        title="Costs of commitments",
        severity=Severity.HIGH,
        meaning="Warns where used and unused cost of a commitment is not what it costs in the month.",
        advice="The effective cost of these commitments is in doubt: compare it with AWS's utilisation report.",
        rows="commitments",
        money="the differences",
    ),
    "split_cost": CheckMeaning(
        title="Split cost allocation",
        severity=Severity.LOW,
        meaning="Warns where containers' shares are more than 0.01 off what their instances cost.",
        advice="Costs by workload are in doubt, totals are right: look at the hours, and at the next delivery.",
        rows="instances and hours",
        money="the differences",
    ),
    "unknown_line_types": CheckMeaning(
        title="Types of line items",
        severity=Severity.LOW,
        meaning="Warns of a type that nobody has mapped: it is charged as Adjustment, billed right and named wrong.",
        advice="Tell us the type; a new version maps it, and `billfold remap` makes the charges anew.",
        rows="charges",
        money="billed cost",
    ),
    "unmapped_services": CheckMeaning(
        title="Categories of services",
        severity=Severity.LOW,
        meaning="Warns of products of AWS's that stand in the category Other because no table knows them.",
        advice="Add them to `services.csv` (see mapping.md), then `billfold remap`.",
        rows="charges",
        money="billed cost",
    ),
    "unmapped_regions": CheckMeaning(
        title="Names of regions",
        severity=Severity.LOW,
        meaning="Warns of regions that are shown by their ids because no table names them.",
        advice="Add them to `regions.csv` (see mapping.md), then `billfold remap`.",
        rows="charges",
        money="billed cost",
    ),
    "untagged_cost": CheckMeaning(
        title="Tags of usage",
        severity=Severity.LOW,
        meaning="Warns of usage without a tag of the client's own: nobody can be asked about it.",
        advice="Tag the resources, and activate the keys as cost allocation tags in AWS.",
        rows="charges",
        money="effective cost",
    ),
    "focus_rules": CheckMeaning(
        title="Rules of FOCUS",
        severity=Severity.LOW,
        meaning="Warns where charges of the last publication break a must-rule, mostly for want of a column.",
        advice="`billfold validate --statement ID` names the rules; add the missing columns to the export.",
        rows="charges",
        money="billed cost",
    ),
}

GRAVE_CHECKS = tuple(name for name, each in CHECK_MEANINGS.items() if each.severity is Severity.HIGH)


def describe_check(name: str) -> CheckMeaning:
    """A check in words; one that is kept of a version that made others has its name alone."""
    return CHECK_MEANINGS.get(name) or CheckMeaning(
        title=name,
        severity=Severity.LOW,
        meaning="This version of Billfold makes no such check.",
        advice="`billfold checks --refresh` makes today's checks.",
        rows="rows",
        money="money",
    )
