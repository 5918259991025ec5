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
    ('returned commitment', 'Purchase',   'One-Time',    'Standard',  NULL,   true,  'nothing'),
    ('purchase refund',     'Purchase',   'One-Time',    'Standard',  NULL,   true,  'cost'),
    ('usage refund',        'Usage',      'One-Time',    'Standard',  NULL,   true,  'cost'),
    ('discount',            'Usage',      'Usage-Based', 'Standard',  NULL,   true,  'cost'),
    ('unknown',             'Adjustment', 'One-Time',    'Other',     NULL,   true,  'cost'),
    ('split cost',          'Usage',      'Usage-Based', NULL,        NULL,   false, 'nothing')
) AS rule (kind, charge_category, charge_frequency, pricing_category, commitment_discount_status, bills, effective);

-- What the refund of a commitment is for, by its description: its fee (A, C: the rows have no ARN), a discount (C), or
-- neither word. A fee is named as AWS names the fee itself; where a discount is named too, that is given back (I).
CREATE OR REPLACE TEMP MACRO names_discount(description) AS
    regexp_matches(description, '(?i)discount|\b(edp|ppa|spp)\b|private (rate|pricing)');
CREATE OR REPLACE TEMP MACRO refunds_fee(description) AS coalesce(regexp_matches(description,
    '(?i)^refund (for|of) .*\bfee for ([^ ]+ ){0,4}savings plan|sign up charge for subscription')
    AND NOT names_discount(description), false);
CREATE OR REPLACE TEMP MACRO refunds_discount(description) AS coalesce(names_discount(description)
    OR regexp_matches(description, '(?i)\bcredit'), false);
CREATE OR REPLACE TEMP MACRO refunds_purchase(description) AS coalesce(regexp_matches(description,
    '(?i)\bfee\b|return|cancel|upfront|purchase|reserved (instance|node|capacity)'), false);
-- A refund that has nothing but its description to say that it is of a commitment: what was paid for it, not its usage (I).
CREATE OR REPLACE TEMP MACRO refunds_named_purchase(description) AS coalesce(
    regexp_matches(description, '(?i)\b(savings plan|reserved ([a-z]+ )?(instance|node|capacity))')
    AND regexp_matches(description, '(?i)\bfee\b|return|cancel|upfront|purchase')
    AND NOT regexp_matches(description, '(?i)\busage\b|\bcover')
    AND NOT refunds_discount(description), false);

-- A quantity with the sign of the cost, so that its price is not below 0 (S, I).
CREATE OR REPLACE TEMP MACRO signed_as(cost, quantity) AS
    CASE WHEN starts_with(cost, '-') AND NOT is_zero(quantity) THEN '-' ELSE '' END || ltrim(quantity, '+-');

-- The kind of each line item, and why it becomes no charge, if it does not.
CREATE OR REPLACE TEMP VIEW classified AS
SELECT
    *,
    CASE
        -- A: the EC2 row has the cost. A new kind of split row that has a cost of its own is charged like any other (I).
        WHEN line_item_operation IN ('EKSPod-EC2', 'ECSTask-EC2') OR split_line_item_parent_resource_id IS NOT NULL
            AND is_zero(on_basis(number_text(line_item_unblended_cost), number_text(line_item_net_unblended_cost)))
            AND billed_discount(coalesce(discount_total, discount_parts)) IS NULL
            THEN 'split cost'
        WHEN line_item_line_item_type = 'Usage' THEN
            CASE WHEN pricing_term = 'Spot' OR line_item_usage_type LIKE '%SpotUsage%' THEN 'spot' ELSE 'on demand' END
        WHEN line_item_line_item_type = 'SavingsPlanCoveredUsage' THEN 'plan usage'
        WHEN line_item_line_item_type = 'SavingsPlanNegation' THEN 'plan negation'
        WHEN line_item_line_item_type = 'SavingsPlanUpfrontFee' THEN 'plan upfront'
        WHEN line_item_line_item_type = 'SavingsPlanRecurringFee' THEN 'plan fee'
        WHEN line_item_line_item_type = 'DiscountedUsage' THEN 'reserved usage'
        WHEN line_item_line_item_type = 'RIFee' THEN 'reservation fee'
        WHEN line_item_line_item_type = 'Fee' AND (reservation_reservation_a_r_n IS NOT NULL
            OR line_item_line_item_description ILIKE 'Sign up charge for subscription%') THEN 'reservation upfront'  -- A
        WHEN line_item_line_item_type = 'Fee' THEN                                                              -- C
            CASE WHEN bill_bill_type = 'Anniversary' THEN 'recurring fee' ELSE 'one-time fee' END
        WHEN line_item_line_item_type = 'FlatRateSubscription' THEN 'subscription'                              -- I
        WHEN line_item_line_item_type = 'Tax' THEN 'tax'
        WHEN line_item_line_item_type = 'Credit' THEN 'credit'
        WHEN line_item_line_item_type = 'Refund' AND line_item_tax_type IS NOT NULL THEN 'tax refund'           -- S, I
        -- A fee that covers later usage has no effective cost; what gives it back has none either. A discount on it keeps its
        -- cost (A, C). An ARN alone says that the commitment was given back (I).
        WHEN line_item_line_item_type = 'Refund' AND refunds_fee(line_item_line_item_description) THEN 'returned commitment'
        WHEN line_item_line_item_type = 'Refund' AND (savings_plan_savings_plan_a_r_n IS NOT NULL
            OR reservation_reservation_a_r_n IS NOT NULL OR line_item_product_code LIKE '%SavingsPlans'
            OR line_item_usage_type LIKE '%HeavyUsage%') THEN
            CASE WHEN refunds_discount(line_item_line_item_description) THEN 'purchase refund'
                WHEN coalesce(savings_plan_savings_plan_a_r_n, reservation_reservation_a_r_n) IS NOT NULL
                    OR refunds_purchase(line_item_line_item_description) THEN 'returned commitment'
                WHEN line_item_usage_type LIKE '%HeavyUsage%' THEN 'returned commitment'                    -- A, I
                ELSE 'purchase refund' END
        WHEN line_item_line_item_type = 'Refund' AND refunds_named_purchase(line_item_line_item_description)
            THEN 'returned commitment'
        WHEN line_item_line_item_type = 'Refund' THEN 'usage refund'
        WHEN line_item_line_item_type LIKE '%Discount' THEN 'discount'
        ELSE 'unknown'                                                                                          -- I
    END AS kind,
    -- A row of split cost allocation is a workload of the instance that it names (A): those of Fargate name none, and
    -- are charged themselves.
    coalesce(line_item_operation IN ('EKSPod-EC2', 'ECSTask-EC2'), false)
        OR split_line_item_parent_resource_id IS NOT NULL AS is_split,
    -- A discount is of what it lowers, not of the commitment that it names; nothing else that a commitment does not cover
    -- names one, or FOCUS would ask whether it was used (S), or take its cost for that of a commitment's purchase.
    CASE WHEN kind NOT IN ('on demand', 'spot', 'discount', 'usage refund', 'purchase refund', 'tax', 'tax refund')
        THEN coalesce(savings_plan_savings_plan_a_r_n, reservation_reservation_a_r_n) END AS commitment_id,
    on_basis(number_text(line_item_unblended_cost), number_text(line_item_net_unblended_cost)) AS cost,
    -- What is added to the cost: numbers with spaces between. AWS's total counts before its parts (A).
    coalesce(discount_total, discount_parts) AS named_discount,
    billed_discount(named_discount) AS cost_more,
    is_zero(cost) AND cost_more IS NULL AS is_free,
    -- A fee below 0 gives one back, and what was not used of it.
    starts_with(cost, '-') AND NOT is_zero(cost) AS is_return,
    is_return AND kind IN ('plan fee', 'plan upfront', 'reservation fee', 'reservation upfront') AS is_returned_fee,
    magnitude(savings_plan_total_commitment_to_date) - magnitude(savings_plan_used_commitment) AS unused_plan,
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
        WHEN kind = 'plan fee' AND is_free AND unused_plan <= 0
            OR kind = 'reservation fee' AND is_free AND unused_reservation <= 0
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
        WHEN kind = 'plan fee' AND NOT is_return AND unused_plan < -0.000001 THEN 'overdrawn'
        WHEN kind = 'reservation fee' AND NOT is_return AND unused_reservation < -0.000001 THEN 'overdrawn'
        WHEN is_split AND kind <> 'split cost' THEN 'split with a cost'
    END AS remark,
    number_text(line_item_unblended_cost) AS gross_cost,
    number_text(line_item_net_unblended_cost) AS net_cost,
    cost,
    cost_more,
    named_discount,
    CASE WHEN discount_total IS NOT NULL THEN discount_parts END AS discount_parts,
    has_unreadable_discount::SMALLINT AS has_unreadable_discount,
    (kind_rule.effective IS DISTINCT FROM 'cost')::SMALLINT AS is_of_commitment,
    (kind = 'discount')::SMALLINT AS is_discount,
    -- Credits, refunds and discounts: a bill that has more of them has lost nothing.
    coalesce(line_item_line_item_type IN ('Credit', 'Refund') OR line_item_line_item_type LIKE '%Discount', false)
        ::SMALLINT AS is_reduction,
    count(*) AS row_count
FROM disposed
LEFT JOIN kind_rule USING (kind)
GROUP BY ALL;

-- What was sold, and its category: by the rule for the kind of usage, else by the code of the product, else of the
-- service: AWS counts data transfer of EC2 as Compute, although its service code is AWSDataTransfer (D).
CREATE OR REPLACE TEMP TABLE sold AS
SELECT
    named.*,
    coalesce(rule.service_category, by_product.service_category, by_service.service_category, 'Other') AS service_category,
    coalesce(rule.service_subcategory, by_product.service_subcategory, by_service.service_subcategory, 'Other (Other)')
        AS service_subcategory
FROM (
    SELECT
        *,
        coalesce(
            service_rule_number(product, usage_type, family, name),
            service_rule_number(service, usage_type, family, name)) AS rule_number
    FROM (
        SELECT DISTINCT
            product_servicecode AS service, line_item_product_code AS product, line_item_usage_type AS usage_type,
            product_product_family AS family, product_name AS name
        FROM line_item
        WHERE is_added
    ) AS distinct_names
) AS named
LEFT JOIN service_rule AS rule USING (rule_number)
LEFT JOIN service_lookup AS by_service ON by_service.code = lower(trim(named.service))
LEFT JOIN service_lookup AS by_product ON by_product.code = lower(trim(named.product));

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
    AND NOT (kind IN ('plan fee', 'reservation fee') AND is_free)
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
        kind = 'plan fee' AND (unused_plan > 0 OR is_return AND unused_plan < 0)
        OR kind = 'reservation fee' AND (unused_reservation > 0 OR is_return AND unused_reservation < 0)
    )
UNION ALL BY NAME
-- The workloads of split cost allocation: no charges, but members and keys of theirs are made in the same way.
SELECT
    disposed.* REPLACE ('split cost' AS kind),
    0::SMALLINT AS part,
    kind_rule.* EXCLUDE (kind),
    true AS is_workload
FROM disposed
JOIN kind_rule ON kind_rule.kind = 'split cost'
WHERE is_added AND is_split;

-- What prices and quantities are made of. A tier of a price that has several is told by the rate that was billed: the
-- public rate is that of the highest tier (A, I); a rate of 0 is a free tier or a gift, not a price. Where prices are
-- negotiated, the billed rate is not public.
CREATE OR REPLACE TEMP VIEW priced_part AS
SELECT
    *,
    unit_name(pricing_unit) AS unit,
    -- A product without a region of its own is in that of its availability zone.
    coalesce(product_region_code, nullif(regexp_extract(line_item_availability_zone, '^(([a-z]+-)+[0-9]+)[a-z]$', 1), ''))
        AS region_code,
    -- What has no SKU is known by its product: a seller's, a support plan, a fee.
    CASE WHEN charge_category IN ('Usage', 'Purchase') THEN line_item_product_code END AS other_sku,
    charge_category = 'Usage' AND kind NOT IN ('spot', 'discount', 'usage refund') AS has_list_price,
    CASE
        WHEN kind = 'on demand' AND NOT is_net_basis() AND NOT is_zero(number_text(line_item_unblended_rate))
            AND number_text(pricing_public_on_demand_rate) IS NOT NULL THEN number_text(line_item_unblended_rate)
        ELSE number_text(pricing_public_on_demand_rate)
    END AS list_price,
    coalesce(number_text(line_item_usage_amount), '0') AS amount,
    -- A cost without an amount is of one: some subscription charges have the amount 0 (A).
    is_zero(amount) AND (NOT is_free
        OR number_text(line_item_usage_amount) IS NULL AND NOT coalesce(is_zero(number_text(pricing_public_on_demand_cost)), true))
        AS is_one,
    -- A reservation that is applied to instances of other sizes too is counted in normalised units.
    NOT is_zero(coalesce(
        CASE WHEN kind = 'reserved usage' THEN number_text(line_item_normalized_usage_amount)
            ELSE number_text(reservation_total_reserved_normalized_units) END, '0')) AS is_size_flexible
FROM charge_part;

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
    CASE WHEN commitment_id IS NOT NULL THEN commitment_discount_status END AS commitment_discount_status,       -- S
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
    sold.service_category,                                                                               -- D, I
    sold.service_subcategory,                                                                            -- I

    region_code AS region_id,                                                                                    -- C, D, I
    CASE WHEN region_code IS NOT NULL THEN coalesce(region_lookup.region_name, region_code) END AS region_name,
    line_item_availability_zone AS availability_zone,

    CASE
        WHEN part = 1 OR kind IN ('plan fee', 'plan upfront', 'reservation fee', 'reservation upfront', 'returned commitment')
            THEN commitment_id                                                                                   -- S
        ELSE line_item_resource_id
    END AS resource_id,
    NULL::VARCHAR AS resource_name,                                                                              -- D
    CASE
        WHEN part = 1 OR kind IN ('plan fee', 'plan upfront', 'reservation fee', 'reservation upfront', 'returned commitment')
            THEN resource_kind(commitment_id, NULL, NULL)
        ELSE resource_kind(line_item_resource_id, line_item_product_code, product_product_family)
    END AS resource_type,                                                                                        -- C, D, I

    CASE WHEN charge_category <> 'Tax' THEN coalesce(product_sku, other_sku) END AS sku_id,                      -- S, C, D, I
    CASE
        WHEN charge_category IN ('Usage', 'Purchase') THEN coalesce(pricing_rate_code, pricing_rate_id, product_sku, other_sku)
        WHEN charge_category = 'Adjustment' THEN coalesce(pricing_rate_code, pricing_rate_id)
    END AS sku_price_id,                                                                                         -- C, S, I
    CASE WHEN charge_category <> 'Tax' AND coalesce(product_sku, other_sku) IS NOT NULL THEN line_item_usage_type END
        AS sku_meter,                                                                                            -- S
    CASE
        WHEN charge_category NOT IN ('Tax', 'Credit') AND coalesce(pricing_rate_code, pricing_rate_id) IS NOT NULL
            THEN price_details
    END AS sku_price_details,                                                                                    -- S
    line_item_operation AS operation,
    line_item_line_item_description AS charge_description,                                                       -- C
    -- A unit stands where a quantity stands (S), in FOCUS's spelling (D); a discount or a fee without one counts in Units.
    CASE
        WHEN charge_category = 'Tax' THEN NULL                                                                   -- S
        WHEN part = 1 AND kind = 'plan fee' THEN line_item_currency_code                                         -- I
        WHEN kind = 'discount' THEN 'Units'                                                                      -- I
        WHEN charge_category = 'Adjustment' AND number_text(line_item_usage_amount) IS NULL THEN NULL
        ELSE coalesce(unit, 'Units')
    END AS pricing_unit,
    CASE
        WHEN charge_category = 'Usage' AND part = 0 THEN
            CASE WHEN kind = 'discount' THEN 'Units' ELSE coalesce(unit, 'Units') END
    END AS consumed_unit,

    commitment_id AS commitment_discount_id,
    NULL::VARCHAR AS commitment_discount_name,                                                                   -- D
    CASE
        WHEN commitment_id IS NULL THEN NULL
        WHEN savings_plan_savings_plan_a_r_n IS NOT NULL THEN 'Spend'
        ELSE 'Usage'
    END AS commitment_discount_category,
    CASE
        WHEN commitment_id IS NULL THEN NULL
        WHEN savings_plan_savings_plan_a_r_n IS NOT NULL THEN 'Savings Plan'                                     -- D
        ELSE 'Reserved Instance'                                                                                 -- I
    END AS commitment_discount_type,
    CASE
        WHEN commitment_id IS NULL THEN NULL
        WHEN savings_plan_savings_plan_a_r_n IS NOT NULL THEN line_item_currency_code                            -- S
        WHEN is_size_flexible THEN 'Normalized Hours'                                                            -- I
        ELSE 'Hours'                                                                                             -- I
    END AS commitment_discount_unit,

    -- `tags` holds what the older two columns hold, and more (A); what becomes of the three is in macros.sql.
    resource_tags AS tags,
    cost_category AS cost_categories,
    tags AS tag_map,
    line_item_iam_principal AS iam_principal,                                                                    -- A
    line_item_user_identifier AS user_identifier,                                                                -- A
    discounts_text(discount) AS discounts,

    bill_invoice_id AS invoice_id,
    line_item_currency_code AS billing_currency,
    coalesce(pricing_currency, line_item_currency_code) AS pricing_currency,
    capacity_reservation_capacity_reservation_arn AS capacity_reservation_id,
    CASE WHEN capacity_reservation_capacity_reservation_arn IS NOT NULL THEN
        CASE lower(capacity_reservation_capacity_reservation_status) WHEN 'used' THEN 'Used' WHEN 'unused' THEN 'Unused' END
    END AS capacity_reservation_status,                                                                          -- A, S

    -- BilledCost: the row's cost; nothing where a commitment covers it (S).
    CASE WHEN bills THEN cost ELSE '0' END AS billed_cost,
    CASE WHEN bills THEN cost_more END AS billed_cost_more,
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
        WHEN effective = 'cost' THEN cost_more
    END AS effective_cost_more,
    is_return,
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

    -- ListCost: the public price times the quantity, where there is one; else the cost before commitments (A, C, S).
    CASE
        WHEN part = 1 THEN '0'                                                                                   -- I
        WHEN charge_category IN ('Tax', 'Credit') THEN cost                                                      -- S, D
        WHEN NOT has_list_price THEN number_text(line_item_unblended_cost)
        WHEN list_price IS NOT NULL AND NOT is_one THEN NULL
        WHEN NOT is_zero(number_text(pricing_public_on_demand_cost)) THEN number_text(pricing_public_on_demand_cost)
        ELSE number_text(line_item_unblended_cost)
    END AS list_cost,
    CASE WHEN part = 0 AND charge_category IN ('Tax', 'Credit') THEN cost_more END AS list_cost_more,
    CASE WHEN part = 0 AND has_list_price AND NOT is_one THEN list_price END AS list_unit_price,
    -- ContractedCost excludes commitments and includes negotiated prices; CUR does not hold it (I). Null: as ListCost.
    CASE
        WHEN part = 1 THEN '0'
        WHEN kind = 'reserved usage' THEN NULL
        ELSE cost
    END AS contracted_cost,
    CASE WHEN part = 0 AND kind <> 'reserved usage' THEN cost_more END AS contracted_cost_more,
    -- The rate stands as unit price where it gives the cost exactly; else the cost is divided by the quantity (I).
    NULL::VARCHAR AS contracted_unit_price,
    CASE WHEN part = 0 THEN on_basis(number_text(line_item_unblended_rate), number_text(line_item_net_unblended_rate)) END
        AS contracted_rate,
    charge_category IN ('Usage', 'Purchase') AS has_unit_price,                                                  -- S
    CASE
        WHEN charge_category = 'Tax' THEN NULL                                                                   -- S
        WHEN charge_category = 'Credit' THEN '0'                                                                 -- D
        WHEN part = 1 AND kind = 'reservation fee' THEN coalesce(number_text(reservation_unused_quantity), '0')
        WHEN part = 1 THEN number_text(savings_plan_total_commitment_to_date)                                    -- I
        -- One of what lowers the bill, so that a price above nothing gives a cost below it (S, I).
        WHEN kind = 'discount' THEN CASE WHEN starts_with(cost, '-') THEN '-1' ELSE '1' END
        WHEN kind IN ('usage refund', 'purchase refund', 'returned commitment') OR part = 0 AND is_returned_fee THEN
            signed_as(cost, CASE WHEN is_zero(amount) THEN '1' ELSE amount END)
        WHEN charge_category = 'Purchase' AND is_zero(amount) OR charge_category = 'Usage' AND is_one THEN '1'
        WHEN charge_category = 'Adjustment' THEN number_text(line_item_usage_amount)
        ELSE amount
    END AS pricing_quantity,
    CASE WHEN part = 1 AND kind = 'plan fee' THEN number_text(savings_plan_used_commitment) END AS pricing_quantity_less,
    CASE
        WHEN kind IN ('discount', 'usage refund') THEN '0'                                                       -- I
        WHEN charge_category = 'Usage' AND part = 0 THEN amount
    END AS consumed_quantity,
    -- Of unused shares of plans it is the pricing quantity (S).
    CASE
        WHEN commitment_id IS NULL OR charge_category NOT IN ('Usage', 'Purchase') THEN NULL
        WHEN part = 1 AND kind = 'plan fee' THEN NULL
        WHEN kind IN ('plan upfront', 'plan fee') THEN cost
        WHEN kind = 'returned commitment' THEN
            CASE WHEN savings_plan_savings_plan_a_r_n IS NOT NULL THEN cost ELSE signed_as(cost, amount) END
        WHEN kind = 'reserved usage' THEN CASE WHEN is_size_flexible THEN number_text(line_item_normalized_usage_amount) ELSE amount END
        WHEN kind = 'reservation fee' AND part = 1 THEN coalesce(
            CASE WHEN is_size_flexible THEN number_text(reservation_unused_normalized_unit_quantity) END,
            number_text(reservation_unused_quantity), '0')
        WHEN kind IN ('reservation fee', 'reservation upfront') THEN signed_as(cost, coalesce(
            CASE WHEN is_size_flexible THEN number_text(reservation_total_reserved_normalized_units) END,
            number_text(reservation_total_reserved_units), amount))
    END AS commitment_discount_quantity,
    -- What a covered row drew from its Savings Plan: rate times amount (A).
    CASE WHEN kind = 'plan usage' AND commitment_id IS NOT NULL THEN coalesce(number_text(savings_plan_savings_plan_rate), '0')
    END AS commitment_discount_rate,
    NULL::VARCHAR AS pricing_currency_effective_cost,
    NULL::VARCHAR AS pricing_currency_list_unit_price,
    NULL::VARCHAR AS pricing_currency_contracted_unit_price,

    -- Split cost allocation: the cost is the amortised one of the instance, after discounts where they are billed (A).
    coalesce(is_workload, false) AS is_workload,
    split_line_item_parent_resource_id AS parent_resource_id,
    after_discounts(number_text(split_line_item_split_cost), number_text(split_line_item_net_split_cost)) AS split_cost,
    after_discounts(number_text(split_line_item_unused_cost), number_text(split_line_item_net_unused_cost)) AS unused_cost,
    number_text(split_line_item_public_on_demand_split_cost) AS public_on_demand_split_cost,
    number_text(split_line_item_public_on_demand_unused_cost) AS public_on_demand_unused_cost,
    number_text(split_line_item_split_usage) AS split_usage,
    number_text(split_line_item_actual_usage) AS actual_usage,
    number_text(split_line_item_reserved_usage) AS reserved_usage,
    number_text(split_line_item_split_usage_ratio) AS split_usage_ratio
FROM priced_part
JOIN sold
    ON sold.service IS NOT DISTINCT FROM priced_part.product_servicecode
    AND sold.product IS NOT DISTINCT FROM priced_part.line_item_product_code
    AND sold.usage_type IS NOT DISTINCT FROM priced_part.line_item_usage_type
    AND sold.family IS NOT DISTINCT FROM priced_part.product_product_family
    AND sold.name IS NOT DISTINCT FROM priced_part.product_name
LEFT JOIN region_lookup ON region_lookup.region_id = lower(trim(priced_part.region_code));
