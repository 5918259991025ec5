"""Which versions of FOCUS Billfold maps: 1.0 and later. Older ones have other columns for the same things."""

from __future__ import annotations

from collections.abc import Sequence

from billfold.errors import UnknownFormatError

# Columns of FOCUS 0.5 and 1.0-preview that 1.0 renamed or split, and their successors (S). A file with the old names
# only would be mapped in part, and nothing would show the missing columns.
_OLD_COLUMNS = {
    "AmortizedCost": ("EffectiveCost",),
    "ChargeType": ("ChargeCategory",),
    "ChargeSubcategory": ("ChargeClass", "CommitmentDiscountStatus"),
    "UsageQuantity": ("ConsumedQuantity",),
    "UsageUnit": ("ConsumedUnit",),
    "Region": ("RegionId", "RegionName"),
    "Provider": ("ProviderName",),
    "Publisher": ("PublisherName",),
    "InvoiceIssuer": ("InvoiceIssuerName",),
}
# These change what a charge costs or is. The others may also be custom columns in a later version.
_DECISIVE_OLD_COLUMNS = frozenset({"AmortizedCost", "ChargeType", "ChargeSubcategory"})
_COLUMNS_SINCE_1_0 = frozenset(
    "ChargeClass CommitmentDiscountStatus ConsumedQuantity ConsumedUnit ContractedCost ContractedUnitPrice RegionId"
    " RegionName".split()
)


def refuse_old_version(headers: Sequence[str], *, file: str) -> None:
    """Refuse the columns of FOCUS 0.5 and 1.0-preview; custom columns beside those of 1.0 and later pass."""
    present = set(headers)
    old = [name for name, later in _OLD_COLUMNS.items() if name in present and present.isdisjoint(later)]
    if not old:
        return
    if len(old) == 1 and _DECISIVE_OLD_COLUMNS.isdisjoint(old) and not present.isdisjoint(_COLUMNS_SINCE_1_0):
        return
    raise UnknownFormatError(
        f"has columns of a FOCUS version before 1.0: {', '.join(old)}",
        file=file,
        line=1,
        advice="Billfold maps FOCUS 1.0 and later: export FOCUS 1.2 or CUR 2.0",
    )
