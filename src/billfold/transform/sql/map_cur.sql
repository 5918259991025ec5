-- The mapping of CUR line items (legacy and CUR 2.0) to FOCUS charges, one rule per column.
--
-- Reads the view `line_item` (canonical columns as text) and leaves the table `charge`. Money and quantities stay text:
-- PostgreSQL casts and computes them exactly when the charges land. The letters say how sure a rule is: S the FOCUS
-- specification, A AWS documentation, D seen in AWS's own FOCUS rows, C community converters, I our inference.

-- What each kind of line item becomes. `bills`: whether BilledCost is the row's cost (else 0); `effective`: what
-- EffectiveCost is: the cost, the covering commitment's share, or nothing (a purchase that covers later usage: S, A).
CREATE OR REPLACE TEMP TABLE kind_rule AS
FROM (VALUES
    ('on demand',           'Usage',      'Usage-Based', 'Standard',  NULL,   true,  'cost'),
    ('spot',                'Usage',      'Usage-Based', 'Dynamic',   NULL,   true,  'cost'),
    ('plan usage',          'Usage',      'Usage-Based', 'Committed', 'Used', false, 'plan share'),
    ('plan upfront',        'Purchase',   'One-Time',    'Standard',  NULL,   true,  'nothing'),
    ('plan fee',            'Purchase',   'Recurring',   'Standard',  NULL,   true,  'nothing'),
    ('reserved usage',      'Usage',      'Usage-Based', 'Committed', 'Used', true,  'reservation share'),
    ('reservation upfront', 'Purchase',   'One-Time',    'Standard',  NULL,   true,  'nothing'),
    ('reservation fee',     'Purchase',   'Recurring',   'Standard',  NULL,   true,  'nothing'),
    ('one-time fee',        'Purchase',   'One-Time',    'Standard',  NULL,   true,  'cost'),
    ('recurring fee',       'Purchase',   'Recurring',   'Standard',  NULL,   true,  'cost'),
    ('subscription',        'Purchase',   'Recurring',   'Standard',  NULL,   true,  'cost'),
    ('tax',                 'Tax',        'Recurring',   NULL,        NULL,   true,  'cost'),
    ('credit',              'Credit',     'One-Time',    'Other',     NULL,   true,  'cost'),
    ('tax refund',          'Tax',        'One-Time',    NULL,        NULL,   true,  'cost'),
    ('plan refund',         'Purchase',   'One-Time',    'Standard',  NULL,   true,  'nothing'),
    ('purchase refund',     'Purchase',   'One-Time',    'Standard',  NULL,   true,  'cost'),
    ('usage refund',        'Usage',      'One-Time',    'Standard',  NULL,   true,  'cost'),
    ('discount',            'Usage',      'Usage-Based', 'Standard',  NULL,   true,  'cost'),
    ('unknown',             'Adjustment', 'One-Time',    'Other',     NULL,   true,  'cost')
) AS rule (kind, charge_category, charge_frequency, pricing_category, commitment_discount_status, bills, effective);

-- The kind of each line item, and why it becomes no charge, if it does not.
CREATE OR REPLACE TEMP VIEW classified AS
SELECT
    *,
    coalesce(savings_plan_savings_plan_a_r_n, reservation_reservation_a_r_n) AS commitment_id,
    CASE
        WHEN line_item_operation IN ('EKSPod-EC2', 'ECSTask-EC2') THEN 'split cost'            -- A: the EC2 row has the cost
        WHEN line_item_line_item_type = 'Usage' THEN
            CASE WHEN pricing_term = 'Spot' OR line_item_usage_type LIKE '%SpotUsage%' THEN 'spot' ELSE 'on demand' END
        WHEN line_item_line_item_type = 'SavingsPlanCoveredUsage' THEN 'plan usage'
        WHEN line_item_line_item_type = 'SavingsPlanNegation' THEN 'plan negation'
        WHEN line_item_line_item_type = 'SavingsPlanUpfrontFee' THEN 'plan upfront'
        WHEN line_item_line_item_type = 'SavingsPlanRecurringFee' THEN 'plan fee'
        WHEN line_item_line_item_type = 'DiscountedUsage' THEN 'reserved usage'
        WHEN line_item_line_item_type = 'RIFee' THEN 'reservation fee'
        WHEN line_item_line_item_type = 'Fee' AND reservation_reservation_a_r_n IS NOT NULL THEN 'reservation upfront'
        WHEN line_item_line_item_type = 'Fee' THEN                                                              -- C
            CASE WHEN bill_bill_type = 'Anniversary' THEN 'recurring fee' ELSE 'one-time fee' END
        WHEN line_item_line_item_type = 'FlatRateSubscription' THEN 'subscription'                              -- I
        WHEN line_item_line_item_type = 'Tax' THEN 'tax'
        WHEN line_item_line_item_type = 'Credit' THEN 'credit'
        WHEN line_item_line_item_type = 'Refund' AND line_item_tax_type IS NOT NULL THEN 'tax refund'           -- S, I
        WHEN line_item_line_item_type = 'Refund' AND line_item_product_code = 'ComputeSavingsPlans'
            AND line_item_line_item_description LIKE 'Refund for one-time fee for Savings Plan ID%' THEN 'plan refund'  -- A
        WHEN line_item_line_item_type = 'Refund' AND (savings_plan_savings_plan_a_r_n IS NOT NULL
            OR reservation_reservation_a_r_n IS NOT NULL OR line_item_product_code LIKE '%SavingsPlans') THEN 'purchase refund'
        WHEN line_item_line_item_type = 'Refund' THEN 'usage refund'
        WHEN line_item_line_item_type LIKE '%Discount' THEN 'discount'
        ELSE 'unknown'                                                                                          -- I
    END AS kind,
    on_basis(number_text(line_item_unblended_cost), number_text(line_item_net_unblended_cost)) AS cost,
    coalesce(NOT is_zero(number_text(savings_plan_recurring_commitment_for_billing_period))
        AND number_text(savings_plan_net_recurring_commitment_for_billing_period) IS NOT NULL, false) AS has_recurring,
    magnitude(on_basis(
            number_text(reservation_unused_amortized_upfront_fee_for_billing_period),
            number_text(reservation_net_unused_amortized_upfront_fee_for_billing_period)))
        + magnitude(on_basis(
            number_text(reservation_unused_recurring_fee), number_text(reservation_net_unused_recurring_fee)))
        AS unused_reservation
FROM line_item;

-- What happens to each line item's money: charged; covered and negated (which cancel out, the rest is one Adjustment);
-- or left out, with the reason.
CREATE OR REPLACE TEMP VIEW disposed AS
SELECT
    *,
    CASE
        WHEN kind = 'plan usage' THEN 'covered'
        WHEN kind = 'plan negation' THEN 'negated'
        WHEN kind = 'split cost' THEN 'left out: split cost allocation, its cost is on the EC2 row'
        WHEN kind = 'plan fee' AND is_zero(cost)
            AND magnitude(savings_plan_total_commitment_to_date) <= magnitude(savings_plan_used_commitment)
            OR kind = 'reservation fee' AND is_zero(cost)
            AND unused_reservation <= 0
            THEN 'left out: fee row of an all-upfront commitment that was used in full'
        WHEN kind = 'discount' AND is_net_basis() THEN 'left out: discount, the net costs of other rows hold it'
        ELSE 'charged'
    END AS disposition
FROM classified;

-- The money of every line item, for the gate: summed by PostgreSQL, grouped here only by equal texts.
CREATE OR REPLACE TEMP VIEW ledger AS
SELECT
    coalesce(bill_payer_account_id, line_item_usage_account_id) AS billing_account_id,
    line_item_currency_code AS billing_currency,
    disposition,
    line_item_line_item_type AS line_item_type,
    CASE
        WHEN kind = 'unknown' THEN 'unknown type'
        WHEN kind = 'plan usage' AND on_basis(number_text(savings_plan_savings_plan_effective_cost),
            number_text(savings_plan_net_savings_plan_effective_cost)) IS NULL THEN 'no effective cost'
        WHEN kind = 'reserved usage' AND on_basis(number_text(reservation_effective_cost),
            number_text(reservation_net_effective_cost)) IS NULL THEN 'no effective cost'
        -- Less than nothing unused: up to 1e-6 it is a rounding of AWS's, more is worth an alert (I).
        WHEN kind = 'plan fee' AND magnitude(savings_plan_used_commitment)
            - magnitude(savings_plan_total_commitment_to_date) > 0.000001 THEN 'overdrawn'
        WHEN kind = 'reservation fee' AND unused_reservation < -0.000001 THEN 'overdrawn'
    END AS remark,
    number_text(line_item_unblended_cost) AS gross_cost,
    number_text(line_item_net_unblended_cost) AS net_cost,
    cost,
    count(*) AS row_count
FROM disposed
GROUP BY ALL;

-- The line items that become charges: part 0 is the charge of the row itself, part 1 the unused share of a commitment's
-- fee (S: EffectiveCost of a purchase is 0, what nobody used is a Usage row of its own).
CREATE OR REPLACE TEMP VIEW charge_part AS
SELECT
    disposed.*,
    0::SMALLINT AS part,
    kind_rule.* EXCLUDE (kind)
FROM disposed
JOIN kind_rule USING (kind)
WHERE is_added
    AND disposition NOT LIKE 'left out%'
    -- The fee row of an all-upfront commitment costs nothing: it is there to carry the amortisation (A).
    AND NOT (kind IN ('plan fee', 'reservation fee') AND is_zero(cost))
UNION ALL BY NAME
SELECT
    disposed.*,
    1::SMALLINT AS part,
    'Usage' AS charge_category,
    'Usage-Based' AS charge_frequency,
    'Committed' AS pricing_category,
    'Unused' AS commitment_discount_status,
    false AS bills,
    'unused' AS effective
FROM disposed
WHERE is_added
    AND (
        kind = 'plan fee'
            AND magnitude(savings_plan_total_commitment_to_date) > magnitude(savings_plan_used_commitment)
        OR kind = 'reservation fee'
            AND unused_reservation > 0
    );

CREATE OR REPLACE TABLE charge AS
SELECT
    row_hash,
    occurrence,
    part,
    instant(line_item_usage_start_date) AS charge_period_start,
    coalesce(instant(line_item_usage_end_date), instant(line_item_usage_start_date)) AS charge_period_end,

    charge_category,
    CASE
        WHEN line_item_line_item_type IN ('Refund', 'Credit')
            AND instant(line_item_usage_start_date) < instant(bill_billing_period_start_date) THEN 'Correction'  -- I
    END AS charge_class,
    charge_frequency,
    pricing_category,
    commitment_discount_status,
    line_item_line_item_type AS line_item_type,

    coalesce(bill_payer_account_id, line_item_usage_account_id) AS billing_account_id,
    bill_payer_account_name AS billing_account_name,
    'Payer Account' AS billing_account_type,                                                                     -- I
    line_item_usage_account_id AS sub_account_id,
    line_item_usage_account_name AS sub_account_name,
    'Member Account' AS sub_account_type,                                                                        -- I

    'AWS' AS provider_name,                                                                                      -- D
    coalesce(line_item_legal_entity, 'AWS') AS publisher_name,                                                   -- C, D
    coalesce(bill_invoicing_entity, line_item_legal_entity, 'AWS') AS invoice_issuer_name,                       -- C, I
    coalesce(product_servicecode, line_item_product_code) AS service_code,                                       -- A
    coalesce(product_name, product_servicecode, line_item_product_code, 'Other') AS service_name,                -- D
    CASE                                                                                                         -- D
        WHEN line_item_usage_type LIKE '%EBS:%' THEN 'Storage'
        ELSE coalesce(service_category.service_category, 'Other')
    END AS service_category,
    CASE
        WHEN line_item_usage_type LIKE '%EBS:Snapshot%' THEN 'Backup Storage'
        WHEN line_item_usage_type LIKE '%EBS:%' THEN 'Block Storage'
        ELSE coalesce(service_category.service_subcategory, 'Other (Other)')
    END AS service_subcategory,

    product_region_code AS region_id,
    CASE WHEN product_region_code IS NOT NULL THEN coalesce(region_name.region_name, product_region_code) END AS region_name,
    line_item_availability_zone AS availability_zone,

    CASE
        WHEN part = 1 OR kind IN ('plan fee', 'plan upfront', 'reservation fee', 'reservation upfront') THEN commitment_id  -- S
        ELSE line_item_resource_id
    END AS resource_id,
    NULL::VARCHAR AS resource_name,                                                                              -- D
    CASE
        WHEN part = 0 AND line_item_resource_id LIKE 'arn:%' THEN nullif(split_part(split_part(line_item_resource_id, ':', 6), '/', 1), '')
    END AS resource_type,                                                                                        -- C

    CASE WHEN charge_category NOT IN ('Tax', 'Credit') THEN product_sku END AS sku_id,                           -- S, D
    CASE WHEN charge_category NOT IN ('Tax', 'Credit') THEN coalesce(pricing_rate_code, pricing_rate_id) END AS sku_price_id,
    CASE WHEN charge_category NOT IN ('Tax', 'Credit') AND product_sku IS NOT NULL THEN line_item_usage_type END AS sku_meter,
    NULL::VARCHAR AS sku_price_details,
    line_item_operation AS operation,
    line_item_line_item_description AS charge_description,
    CASE
        WHEN charge_category = 'Tax' THEN NULL                                                                   -- S
        WHEN part = 1 AND kind = 'plan fee' THEN NULL
        ELSE pricing_unit
    END AS pricing_unit,
    CASE WHEN charge_category = 'Usage' AND part = 0 THEN pricing_unit END AS consumed_unit,

    commitment_id AS commitment_discount_id,
    NULL::VARCHAR AS commitment_discount_name,                                                                   -- D
    CASE
        WHEN savings_plan_savings_plan_a_r_n IS NOT NULL THEN 'Spend'
        WHEN reservation_reservation_a_r_n IS NOT NULL THEN 'Usage'
    END AS commitment_discount_category,
    CASE
        WHEN savings_plan_savings_plan_a_r_n IS NOT NULL THEN 'Savings Plan'                                     -- D
        WHEN reservation_reservation_a_r_n IS NOT NULL THEN 'Reserved Instance'                                  -- I
    END AS commitment_discount_type,
    CASE
        WHEN savings_plan_savings_plan_a_r_n IS NOT NULL THEN line_item_currency_code                            -- S
        WHEN reservation_reservation_a_r_n IS NOT NULL THEN 'Hours'                                              -- I
    END AS commitment_discount_unit,

    resource_tags AS tags,
    cost_category AS cost_categories,
    discounts_text(discount) AS discounts,

    bill_invoice_id AS invoice_id,
    line_item_currency_code AS billing_currency,
    coalesce(pricing_currency, line_item_currency_code) AS pricing_currency,
    capacity_reservation_capacity_reservation_arn AS capacity_reservation_id,
    CASE WHEN capacity_reservation_capacity_reservation_arn IS NOT NULL
        THEN capacity_reservation_capacity_reservation_status END AS capacity_reservation_status,

    -- BilledCost: the row's cost; nothing where a commitment covers it (S).
    CASE WHEN bills THEN cost ELSE '0' END AS billed_cost,
    -- EffectiveCost is (cost - less + more) * net / gross of the columns effective_…: a missing term counts nothing.
    CASE effective
        WHEN 'cost' THEN cost
        WHEN 'plan share' THEN
            on_basis(number_text(savings_plan_savings_plan_effective_cost), number_text(savings_plan_net_savings_plan_effective_cost))
        WHEN 'reservation share' THEN
            on_basis(number_text(reservation_effective_cost), number_text(reservation_net_effective_cost))
        WHEN 'unused' THEN
            CASE kind
                WHEN 'plan fee' THEN number_text(savings_plan_total_commitment_to_date)
                ELSE on_basis(
                    number_text(reservation_unused_amortized_upfront_fee_for_billing_period),
                    number_text(reservation_net_unused_amortized_upfront_fee_for_billing_period))
            END
    END AS effective_cost,
    CASE WHEN effective = 'unused' AND kind = 'plan fee' THEN number_text(savings_plan_used_commitment) END AS effective_cost_less,
    CASE WHEN effective = 'unused' AND kind = 'reservation fee' THEN
        on_basis(number_text(reservation_unused_recurring_fee), number_text(reservation_net_unused_recurring_fee))
    END AS effective_cost_more,
    -- No net total commitment exists in CUR: the unused part is reduced as the recurring or amortised part is (C).
    -- AWS writes 0, not nothing, as the recurring part of an all-upfront plan.
    CASE WHEN effective = 'unused' AND kind = 'plan fee' AND is_net_basis() THEN
        CASE WHEN has_recurring THEN number_text(savings_plan_net_recurring_commitment_for_billing_period)
            ELSE number_text(savings_plan_net_amortized_upfront_commitment_for_billing_period) END
    END AS effective_net,
    CASE WHEN effective = 'unused' AND kind = 'plan fee' AND is_net_basis() THEN
        CASE WHEN has_recurring THEN number_text(savings_plan_recurring_commitment_for_billing_period)
            ELSE number_text(savings_plan_amortized_upfront_commitment_for_billing_period) END
    END AS effective_gross,

    -- ListCost: the public rate times the amount; else the public cost; else the cost before commitments (A, C, S).
    CASE
        WHEN part = 1 THEN '0'                                                                                   -- I
        WHEN charge_category IN ('Tax', 'Credit') THEN cost                                                      -- S, D
        WHEN charge_category <> 'Usage' OR kind IN ('spot', 'discount', 'usage refund') THEN number_text(line_item_unblended_cost)
        WHEN number_text(pricing_public_on_demand_rate) IS NOT NULL AND number_text(line_item_usage_amount) IS NOT NULL THEN NULL
        WHEN NOT is_zero(number_text(pricing_public_on_demand_cost)) THEN number_text(pricing_public_on_demand_cost)
        ELSE number_text(line_item_unblended_cost)
    END AS list_cost,
    CASE
        WHEN part = 0 AND charge_category = 'Usage' AND kind NOT IN ('discount', 'usage refund', 'spot')
            THEN number_text(pricing_public_on_demand_rate)
    END AS list_unit_price,
    -- ContractedCost excludes commitments and includes negotiated prices; CUR does not hold it (I). Null: as ListCost.
    CASE
        WHEN part = 1 THEN '0'
        WHEN kind = 'reserved usage' THEN NULL
        ELSE cost
    END AS contracted_cost,
    NULL::VARCHAR AS contracted_unit_price,
    CASE
        WHEN charge_category = 'Tax' THEN NULL                                                                   -- S
        WHEN charge_category = 'Credit' THEN '0'                                                                 -- D
        WHEN part = 1 AND kind = 'reservation fee' THEN number_text(reservation_unused_quantity)
        WHEN part = 1 THEN NULL
        WHEN charge_category = 'Purchase' AND coalesce(is_zero(number_text(line_item_usage_amount)), true) THEN '1'
        ELSE number_text(line_item_usage_amount)
    END AS pricing_quantity,
    CASE WHEN charge_category = 'Usage' AND part = 0 THEN number_text(line_item_usage_amount) END AS consumed_quantity,
    CASE
        WHEN commitment_id IS NULL OR charge_category NOT IN ('Usage', 'Purchase') THEN NULL
        WHEN kind = 'plan upfront' THEN cost
        WHEN kind = 'plan fee' AND part = 0 THEN cost
        WHEN kind = 'reserved usage' THEN number_text(line_item_usage_amount)
        WHEN kind = 'reservation fee' AND part = 1 THEN number_text(reservation_unused_quantity)
        WHEN kind IN ('reservation fee', 'reservation upfront') THEN number_text(reservation_total_reserved_units)
    END AS commitment_discount_quantity,
    -- What a covered row drew from its Savings Plan: rate times amount (A).
    CASE WHEN kind = 'plan usage' THEN number_text(savings_plan_savings_plan_rate) END AS commitment_discount_rate,
    NULL::VARCHAR AS pricing_currency_effective_cost,
    NULL::VARCHAR AS pricing_currency_list_unit_price,
    NULL::VARCHAR AS pricing_currency_contracted_unit_price
FROM charge_part
LEFT JOIN service_category ON service_category.product_code = coalesce(charge_part.product_servicecode, charge_part.line_item_product_code)
LEFT JOIN region_name ON region_name.region_id = charge_part.product_region_code;
