"""Partitions: the tables of one month."""

from __future__ import annotations

from billfold.period import BillingPeriod


def partitions(period: BillingPeriod) -> dict[str, str]:
    """The partitions of a month, as `billfold_create_partitions` names them."""
    suffix = f"_{period.starts_on:%Y_%m}"
    return {
        "raw": f"raw_aws_billing_rows{suffix}",
        "raw_history": f"raw_aws_billing_rows_history{suffix}",
        "fact": f"billing_usage_fact{suffix}",
        "fact_history": f"billing_usage_fact_history{suffix}",
        "split": f"billing_split_cost{suffix}",
        "split_history": f"billing_split_cost_history{suffix}",
    }
