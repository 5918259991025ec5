-- The query for `classified`: each line item with its kind, what happens to its money, and what it makes.

WITH named AS (
    SELECT
        *,
        on_basis(line_item_unblended_cost, line_item_net_unblended_cost) AS cost,
        -- Numbers with spaces between them. AWS's total counts before its parts (A).
        coalesce(discount_total, discount_parts) AS named_discount,
        -- The part of the discount that is added to the cost.
        billed_discount(named_discount) AS cost_more,
        -- A row of split cost allocation is a workload of the instance that it names (A). A Fargate row names no
        -- instance and is charged itself.
        coalesce(line_item_operation IN ('EKSPod-EC2', 'ECSTask-EC2'), false)
            OR split_line_item_parent_resource_id IS NOT NULL AS is_split,
        magnitude(savings_plan_total_commitment_to_date) - magnitude(savings_plan_used_commitment) AS unused_plan,
        coalesce(NOT is_zero(savings_plan_recurring_commitment_for_billing_period)
            AND savings_plan_net_recurring_commitment_for_billing_period IS NOT NULL, false)
            AS has_recurring,
        magnitude(on_basis(
                reservation_unused_amortized_upfront_fee_for_billing_period,
                reservation_net_unused_amortized_upfront_fee_for_billing_period))
            + magnitude(on_basis(
                reservation_unused_recurring_fee, reservation_net_unused_recurring_fee))
            AS unused_reservation,
        is_zero(cost) AND cost_more IS NULL AS is_free,
        -- A fee below 0 gives back a fee, and the unused share of it.
        starts_with(cost, '-') AND NOT is_zero(cost) AS is_return,
        CASE
            -- A: the EC2 row has the cost. A new kind of split row with a cost of its own is charged like any other (I).
            WHEN line_item_operation IN ('EKSPod-EC2', 'ECSTask-EC2')
                OR split_line_item_parent_resource_id IS NOT NULL AND is_free
                THEN 'split cost'
            WHEN line_item_line_item_type = 'Usage' THEN
                CASE WHEN pricing_term = 'Spot' OR line_item_usage_type LIKE '%SpotUsage%' THEN 'spot'
                    ELSE 'on demand' END
            WHEN line_item_line_item_type = 'SavingsPlanCoveredUsage' THEN 'plan usage'
            WHEN line_item_line_item_type = 'SavingsPlanNegation' THEN 'plan negation'
            WHEN line_item_line_item_type = 'SavingsPlanUpfrontFee' THEN 'plan upfront'
            WHEN line_item_line_item_type = 'SavingsPlanRecurringFee' THEN 'plan fee'
            WHEN line_item_line_item_type = 'DiscountedUsage' THEN 'reserved usage'
            WHEN line_item_line_item_type = 'RIFee' THEN 'reservation fee'
            WHEN line_item_line_item_type = 'Fee' AND (reservation_reservation_a_r_n IS NOT NULL                 -- A
                OR line_item_line_item_description ILIKE 'Sign up charge for subscription%')
                THEN 'reservation upfront'
            WHEN line_item_line_item_type = 'Fee' THEN                                                           -- C
                CASE WHEN bill_bill_type = 'Anniversary' THEN 'recurring fee' ELSE 'one-time fee' END
            WHEN line_item_line_item_type = 'FlatRateSubscription' THEN 'subscription'                           -- I
            WHEN line_item_line_item_type = 'Tax' THEN 'tax'
            WHEN line_item_line_item_type = 'Credit' THEN 'credit'
            WHEN line_item_line_item_type = 'Refund' AND line_item_tax_type IS NOT NULL THEN 'tax refund'        -- S, I
            -- A fee that covers later usage has no effective cost, and neither has its refund. A discount on it keeps
            -- its cost (A, C). An ARN alone says that the commitment was given back (I).
            WHEN line_item_line_item_type = 'Refund' AND refunds_fee(line_item_line_item_description)
                THEN 'returned commitment'
            WHEN line_item_line_item_type = 'Refund' AND (savings_plan_savings_plan_a_r_n IS NOT NULL
                OR reservation_reservation_a_r_n IS NOT NULL OR line_item_product_code LIKE '%SavingsPlans'
                OR line_item_usage_type LIKE '%HeavyUsage%') THEN
                CASE WHEN refunds_discount(line_item_line_item_description) THEN 'purchase refund'
                    WHEN coalesce(savings_plan_savings_plan_a_r_n, reservation_reservation_a_r_n) IS NOT NULL
                        OR refunds_purchase(line_item_line_item_description) THEN 'returned commitment'
                    WHEN line_item_usage_type LIKE '%HeavyUsage%' THEN 'returned commitment'                     -- A, I
                    ELSE 'purchase refund' END
            WHEN line_item_line_item_type = 'Refund' AND refunds_named_purchase(line_item_line_item_description)
                THEN 'returned commitment'
            WHEN line_item_line_item_type = 'Refund' THEN 'usage refund'
            WHEN line_item_line_item_type LIKE '%Discount' THEN 'discount'
            ELSE 'unknown'                                                                                       -- I
        END AS kind
    FROM line_item
)
SELECT
    *,
    -- Covered usage and its negation cancel out; what they leave is one Adjustment.
    CASE
        WHEN kind = 'plan usage' THEN 'covered'
        WHEN kind = 'plan negation' THEN 'negated'
        WHEN kind = 'split cost' THEN 'left out: split cost allocation, its cost is on the EC2 row'
        WHEN kind = 'plan fee' AND is_free AND unused_plan <= 0
            OR kind = 'reservation fee' AND is_free AND unused_reservation <= 0
            THEN 'left out: fee row of an all-upfront commitment that was used in full'
        WHEN kind = 'discount' AND is_net_basis() THEN 'left out: discount, the net costs of other rows hold it'
        ELSE 'charged'
    END AS disposition,
    -- A discount belongs to what it lowers, not to the commitment that it names. Nothing else that a commitment does not
    -- cover has a commitment: FOCUS would ask whether it was used (S), or take its cost for a commitment's purchase.
    CASE WHEN kind NOT IN ('on demand', 'spot', 'discount', 'usage refund', 'purchase refund', 'tax', 'tax refund')
        THEN coalesce(savings_plan_savings_plan_a_r_n, reservation_reservation_a_r_n) END AS commitment_id,
    is_return AND kind IN ('plan fee', 'plan upfront', 'reservation fee', 'reservation upfront') AS is_returned_fee,
    -- The kinds of what the line item makes if it is added: its charge; the charge of the unused share of a commitment's
    -- fee (S: EffectiveCost of a purchase is 0, what was not used is a Usage row); a workload of split cost allocation.
    list_filter(
        [
            -- The fee row of an all-upfront commitment costs nothing: it carries the amortisation only (A).
            CASE WHEN kind <> 'plan negation' AND disposition NOT LIKE 'left out%'
                AND NOT (kind IN ('plan fee', 'reservation fee') AND is_free) THEN kind END,
            CASE WHEN kind = 'plan fee' AND (unused_plan > 0 OR is_return AND unused_plan < 0) THEN 'unused plan'
                WHEN kind = 'reservation fee' AND (unused_reservation > 0 OR is_return AND unused_reservation < 0)
                THEN 'unused reservation' END,
            CASE WHEN is_split THEN 'split cost' END
        ],
        lambda made: made IS NOT NULL) AS makes
FROM named
