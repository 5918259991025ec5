"""Our own inputs of the kinds that public bug reports describe: each a case with its right answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.bills.field_cases import Case, Check, Step
from tests.bills.line_items import (
    PAYER,
    as_csv,
    line_item,
    write_bill,
    write_object,
)

BILLED = 'SELECT coalesce(sum("BilledCost"), 0)::float8::text AS v FROM focus_cost_and_usage'
NO_CHARGES = Check(sql="SELECT count(*)::text AS v FROM billing_usage_fact", answers=["0"])

_FOCUS = {
    "BilledCost": "1",
    "EffectiveCost": "1",
    "ListCost": "1",
    "ContractedCost": "1",
    "BillingCurrency": "USD",
    "BillingAccountId": PAYER,
    "BillingPeriodStart": "2026-05-01T00:00:00.000Z",
    "BillingPeriodEnd": "2026-06-01T00:00:00.000Z",
    "ChargePeriodStart": "2026-05-03T00:00:00.000Z",
    "ChargePeriodEnd": "2026-05-04T00:00:00.000Z",
    "ChargeCategory": "Usage",
    "ProviderName": "AWS",
    "PublisherName": "AWS",
    "InvoiceIssuerName": "Amazon Web Services, Inc.",
    "ServiceCategory": "Compute",
    "ServiceName": "Amazon Elastic Compute Cloud",
}


def only_other_files(root: Path) -> Case:
    """A folder in which nothing is a bill."""
    write_object(root, "results/9f3d.csv", b'"total"\n"6.5"\n')
    return _case("only other files", root, NO_CHARGES, exits=["not 0"])


def damaged_account_id(root: Path) -> Case:
    """An account id that a spreadsheet has rounded."""
    spelling = "4.44456E+11"
    write_bill(root, [line_item(cost="4"), line_item(cost="5", line_item_usage_account_id=spelling)])
    return _case("a damaged account id", root, NO_CHARGES, exits=["not 0"], says=spelling)


def focus_of_another_provider(root: Path) -> Case:
    """A FOCUS file whose provider stands in `Provider`, beside columns of its own."""
    names = {"ProviderName": "Provider", "PublisherName": "Publisher", "InvoiceIssuerName": "InvoiceIssuer"}
    row = {names.get(name, name): value for name, value in _FOCUS.items()}
    row |= {"Provider": "Microsoft", "Publisher": "Microsoft", "InvoiceIssuer": "Microsoft", "x_AccountId": "a1"}
    write_object(root, "costs/part_0_0001.csv", as_csv([row]))
    return _case("FOCUS of another provider", root, NO_CHARGES, exits=["not 0"])


KINDS: Mapping[str, Callable[[Path], Case]] = {
    "only other files": only_other_files,
    "an account id with an exponent": damaged_account_id,
    "FOCUS of another provider": focus_of_another_provider,
}


def _case(name: str, root: Path, *checks: Check, exits: Sequence[int | str] = (0,), says: str = "") -> Case:
    return Case(name=name, steps=[Step(tree=root, exits=exits, says=says)], checks=checks)
