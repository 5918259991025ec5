"""The dimensions of charges: which attributes identify a member, shared by the mapping and the tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One dimension table `dim_<name>`; a member is identified by all of its attributes.

    `of_client`: members belong to the client whose bill names them. `json_attributes` are JSON objects. `roles` are the
    key columns of the charge, each with the prefix of its attributes among the charge's columns. `more_sources` are
    other columns of the charge from which attributes are made.
    """

    name: str
    attributes: tuple[str, ...]
    of_client: bool = False
    json_attributes: frozenset[str] = frozenset()
    roles: tuple[tuple[str, str], ...] = ()
    more_sources: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The charge's columns, without their prefix, that identify a member."""
        return (*self.attributes, *self.more_sources)

    @property
    def table(self) -> str:
        return f"dim_{self.name}"

    @property
    def key(self) -> str:
        return f"{self.name}_key"

    @property
    def key_columns(self) -> tuple[tuple[str, str], ...]:
        """(key column of the charge, prefix of the charge's columns that hold the attributes)."""
        return self.roles or ((self.key, ""),)


DIMENSIONS = (
    Dimension(
        name="account",
        attributes=("account_id", "account_name", "account_type"),
        of_client=True,
        roles=(("billing_account_key", "billing_"), ("sub_account_key", "sub_")),
    ),
    Dimension(
        name="service",
        attributes=(
            "provider_name",
            "publisher_name",
            "invoice_issuer_name",
            "service_code",
            "service_name",
            "service_category",
            "service_subcategory",
        ),
    ),
    Dimension(name="region", attributes=("region_id", "region_name", "availability_zone")),
    Dimension(name="resource", attributes=("resource_id", "resource_name", "resource_type"), of_client=True),
    Dimension(
        name="sku",
        attributes=(
            "sku_id",
            "sku_price_id",
            "sku_meter",
            "sku_price_details",
            "operation",
            "charge_description",
            "pricing_unit",
            "consumed_unit",
        ),
        of_client=True,
        json_attributes=frozenset({"sku_price_details"}),
    ),
    Dimension(
        name="charge",
        attributes=(
            "charge_category",
            "charge_class",
            "charge_frequency",
            "pricing_category",
            "commitment_discount_status",
            "line_item_type",
        ),
    ),
    Dimension(
        name="commitment",
        attributes=(
            "commitment_discount_id",
            "commitment_discount_name",
            "commitment_discount_category",
            "commitment_discount_type",
            "commitment_discount_unit",
        ),
        of_client=True,
    ),
    # The caller is part of the set of tags: both attribute a cost, and one rollup serves both.
    Dimension(
        name="tag_set",
        attributes=("tags", "cost_categories", "iam_principal", "user_identifier"),
        of_client=True,
        json_attributes=frozenset({"tags", "cost_categories"}),
        more_sources=("tag_map",),
    ),
)
