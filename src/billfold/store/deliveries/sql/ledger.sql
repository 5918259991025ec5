-- The sums of a delivery's line items, from their texts.

-- name: create_ledger
CREATE TEMP TABLE ledger (
    billing_account_id text, billing_currency text, disposition text, line_item_type text, remark text,
    gross_cost text, net_cost text, cost text, cost_more text, named_discount text, discount_parts text,
    has_unreadable_discount smallint, is_of_commitment smallint, is_discount smallint, is_reduction smallint,
    row_count bigint
) ON COMMIT DROP

-- name: sum_totals
SELECT
    billing_currency,
    sum(row_count)::bigint,
    coalesce(sum(gross_cost::numeric * row_count), 0)::text,
    coalesce(sum(net_cost::numeric * row_count), 0)::text,
    coalesce(sum((cost::numeric + coalesce(billfold_sum(cost_more), 0)) * row_count)
        FILTER (WHERE disposition NOT LIKE 'left out%'), 0)::text
FROM ledger GROUP BY billing_currency ORDER BY billing_currency

-- name: sum_residuals
SELECT billing_account_id, billing_currency, sum(residual)::text FROM (
    SELECT coalesce(billing_account_id, '') AS billing_account_id, billing_currency,
        (cost::numeric + coalesce(billfold_sum(cost_more), 0)) * row_count AS residual
    FROM ledger WHERE disposition IN ('covered', 'negated')
) AS offset_cost
GROUP BY 1, 2 HAVING sum(residual) <> 0 ORDER BY 1, 2

-- name: sum_unproved
-- On net basis: the difference of the net costs from the gross costs less the discounts. Columns of the rows name the
-- discounts, with either sign, or line items of their own do, or both say the same: then the nearer one counts.
SELECT billing_currency,
    (CASE WHEN has_items AND abs(difference) < abs(difference + named) THEN difference ELSE difference + named END)::text
FROM (
    SELECT billing_currency,
        coalesce(sum(cost::numeric * row_count) FILTER (WHERE disposition NOT LIKE 'left out: discount%'), 0)
            - coalesce(sum(gross_cost::numeric * row_count), 0) AS difference,
        abs(coalesce(sum(billfold_sum(named_discount) * row_count), 0)) AS named,
        coalesce(sum(gross_cost::numeric * row_count) FILTER (WHERE is_discount = 1), 0) <> 0 AS has_items
    FROM ledger GROUP BY billing_currency
) AS proof
WHERE CASE WHEN has_items AND abs(difference) < abs(difference + named) THEN difference ELSE difference + named END <> 0
ORDER BY billing_currency

-- name: sum_discounts
-- By currency: the discounts that columns of the rows name, those that are line items, those that raise a cost instead
-- of lowering it, those on rows whose effective cost is not their cost, and how far totals are from their parts.
SELECT billing_currency, named::text, items::text, raising::text, on_commitments::text, off_parts::text FROM (
    SELECT billing_currency,
        coalesce(sum(billfold_sum(named_discount) * row_count), 0) AS named,
        coalesce(sum(gross_cost::numeric * row_count) FILTER (WHERE is_discount = 1), 0) AS items,
        coalesce(sum(billfold_sum(cost_more) * row_count)
            FILTER (WHERE sign(gross_cost::numeric) * billfold_sum(cost_more) > 0), 0) AS raising,
        coalesce(sum(billfold_sum(cost_more) * row_count) FILTER (WHERE is_of_commitment = 1), 0) AS on_commitments,
        coalesce(sum((billfold_sum(named_discount) - billfold_sum(discount_parts)) * row_count), 0) AS off_parts,
        bool_or(named_discount IS NOT NULL) AS has_columns
    FROM ledger GROUP BY billing_currency
) AS summed WHERE has_columns ORDER BY billing_currency

-- name: count_unreadable_discounts
SELECT coalesce(sum(row_count), 0)::bigint FROM ledger WHERE has_unreadable_discount = 1

-- name: sum_undiscounted
-- The cost of a bill without credits, refunds and discounts, in whichever columns they are: gross costs above zero.
-- The negations of Savings Plans are below zero: usage that a plan covers from now on is not lost. If the costs on the
-- bill's own basis sum to zero, nothing is left.
SELECT billing_currency, CASE WHEN sum(cost) FILTER (WHERE is_judged) > 0
    THEN sum(gross_cost) FILTER (WHERE is_judged) ELSE 0 END::text
FROM (
    SELECT billing_currency, (cost::numeric + coalesce(billfold_sum(cost_more), 0)) * row_count AS cost,
        gross_cost::numeric * row_count AS gross_cost,
        is_reduction = 0 AND gross_cost::numeric > 0 AS is_judged
    FROM ledger
) AS judged GROUP BY billing_currency ORDER BY billing_currency

-- name: sum_held_undiscounted
-- The same from a statement's charges, as far as they show it: for publications that did not keep it.
SELECT billing_currency, sum(billed_cost)::text FROM billing_daily_cost JOIN dim_charge USING (charge_key)
WHERE statement_id = $1 AND billed_cost > 0 AND NOT coalesce(charge_category = 'Credit'
    OR line_item_type = 'Refund' OR line_item_type LIKE '%Discount'
    OR line_item_type IS NULL AND charge_class = 'Correction', false)
GROUP BY billing_currency ORDER BY billing_currency

-- name: sum_left_out
SELECT
    CASE disposition WHEN 'negated' THEN 'negation, offset against the usage that its Savings Plan covers'
        ELSE substr(disposition, 11) END,
    billing_currency, sum(row_count)::bigint,
    coalesce(sum((cost::numeric + coalesce(billfold_sum(cost_more), 0)) * row_count), 0)::text
FROM ledger WHERE disposition = 'negated' OR disposition LIKE 'left out%'
GROUP BY disposition, billing_currency ORDER BY 1, 2

-- name: count_unknown_types
SELECT coalesce(line_item_type, ''), sum(row_count)::bigint FROM ledger WHERE remark = 'unknown type' GROUP BY 1 ORDER BY 1

-- name: count_remarks
SELECT remark, sum(row_count)::bigint FROM ledger WHERE remark IS NOT NULL GROUP BY remark
