-- The money of every line item, for the reconciliation: PostgreSQL sums it, here it is only grouped by equal texts.
CREATE OR REPLACE TEMP VIEW ledger AS
SELECT
    coalesce(bill_payer_account_id, line_item_usage_account_id) AS billing_account_id,
    line_item_currency_code AS billing_currency,
    disposition,
    line_item_line_item_type AS line_item_type,
    CASE
        WHEN kind = 'unknown' THEN 'unknown type'
        WHEN kind = 'plan usage' AND on_basis(savings_plan_savings_plan_effective_cost,
            savings_plan_net_savings_plan_effective_cost) IS NULL THEN 'no effective cost'
        WHEN kind = 'reserved usage' AND on_basis(reservation_effective_cost,
            reservation_net_effective_cost) IS NULL THEN 'no effective cost'
        -- A negative unused share: up to 1e-6 it is AWS's rounding, more is worth a warning (I).
        WHEN kind = 'plan fee' AND NOT is_return AND unused_plan < -0.000001 THEN 'overdrawn'
        WHEN kind = 'reservation fee' AND NOT is_return AND unused_reservation < -0.000001 THEN 'overdrawn'
        WHEN is_split AND kind <> 'split cost' THEN 'split with a cost'
    END AS remark,
    line_item_unblended_cost AS gross_cost,
    line_item_net_unblended_cost AS net_cost,
    cost,
    cost_more,
    named_discount,
    CASE WHEN discount_total IS NOT NULL THEN discount_parts END AS discount_parts,
    has_unreadable_discount::SMALLINT AS has_unreadable_discount,
    (kind_rule.effective IS DISTINCT FROM 'cost')::SMALLINT AS is_of_commitment,
    (kind = 'discount')::SMALLINT AS is_discount,
    -- Credits, refunds and discounts: a bill with more of them has not lost any cost.
    coalesce(line_item_line_item_type IN ('Credit', 'Refund') OR line_item_line_item_type LIKE '%Discount', false)
        ::SMALLINT AS is_reduction,
    count(*) AS row_count
FROM classified
LEFT JOIN kind_rule USING (kind)
GROUP BY ALL;

