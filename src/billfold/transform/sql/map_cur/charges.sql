-- The table `charge`: what the added line items make, one rule for each column.

CREATE OR REPLACE TABLE charge AS
WITH made AS (
    SELECT * EXCLUDE (kind, makes), unnest(makes) AS kind FROM classified WHERE is_added
), priced AS (
    SELECT
        *,
        -- 0 is the charge of the row itself, 1 the unused share of its fee.
        (effective = 'unused')::SMALLINT AS part,
        -- A product without a region is in the region of its availability zone.
        coalesce(product_region_code, nullif(regexp_extract(line_item_availability_zone, '^(([a-z]+-)+[0-9]+)[a-z]$', 1), ''))
            AS region_code,
        -- A seller's product, a support plan or a fee has no SKU: its product code replaces it.
        CASE WHEN charge_category IN ('Usage', 'Purchase') THEN line_item_product_code END AS other_sku,
        charge_category = 'Usage' AND kind NOT IN ('spot', 'discount', 'usage refund') AS has_list_price,
        CASE
            WHEN kind = 'on demand' AND NOT is_net_basis() AND NOT is_zero(line_item_unblended_rate)
                AND pricing_public_on_demand_rate IS NOT NULL THEN line_item_unblended_rate
            ELSE pricing_public_on_demand_rate
        END AS list_price,
        coalesce(line_item_usage_amount, '0') AS amount,
        -- A cost without an amount has the amount 1: some subscription charges have the amount 0 (A).
        is_zero(amount) AND (NOT is_free
            OR line_item_usage_amount IS NULL AND NOT coalesce(is_zero(pricing_public_on_demand_cost), true))
            AS is_one,
        -- A reservation that also applies to other instance sizes is counted in normalized units.
        NOT is_zero(coalesce(
            CASE WHEN kind = 'reserved usage' THEN line_item_normalized_usage_amount
                ELSE reservation_total_reserved_normalized_units END, '0')) AS is_size_flexible
    FROM made
    JOIN kind_rule USING (kind)
)
SELECT
    row_hash,
    occurrence,
    part,
    line_item_usage_start_date AS charge_period_start,
    coalesce(line_item_usage_end_date, line_item_usage_start_date) AS charge_period_end,

    charge_category,
    CASE
        WHEN line_item_line_item_type IN ('Refund', 'Credit')
            AND line_item_usage_start_date < bill_billing_period_start_date THEN 'Correction'                    -- I
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
    -- A quantity has a unit (S), in FOCUS's spelling (D) if it is known; a discount or a fee without one counts in Units.
    CASE
        WHEN charge_category = 'Tax' THEN NULL                                                                   -- S
        WHEN kind = 'unused plan' THEN line_item_currency_code                                                   -- I
        WHEN kind = 'discount' THEN 'Units'                                                                      -- I
        WHEN charge_category = 'Adjustment' AND line_item_usage_amount IS NULL THEN NULL
        ELSE coalesce(focus_unit, pricing_unit, 'Units')
    END AS pricing_unit,
    CASE
        WHEN charge_category = 'Usage' AND part = 0 THEN
            CASE WHEN kind = 'discount' THEN 'Units' ELSE coalesce(focus_unit, pricing_unit, 'Units') END
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

    -- `tags` holds what the two older columns hold, and more (A); macros/cur_tags.sql merges the three.
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

    -- BilledCost: the row's cost; 0 if a commitment covers it (S).
    CASE WHEN bills THEN cost ELSE '0' END AS billed_cost,
    CASE WHEN bills THEN cost_more END AS billed_cost_more,
    -- EffectiveCost is (cost - less + more) * net / gross of the columns effective_…; a missing term is left out.
    CASE effective
        WHEN 'cost' THEN cost
        WHEN 'plan share' THEN
            on_basis(savings_plan_savings_plan_effective_cost, savings_plan_net_savings_plan_effective_cost)
        WHEN 'reservation share' THEN
            on_basis(reservation_effective_cost, reservation_net_effective_cost)
        WHEN 'unused' THEN
            CASE kind
                WHEN 'unused plan' THEN savings_plan_total_commitment_to_date
                ELSE on_basis(
                    reservation_unused_amortized_upfront_fee_for_billing_period,
                    reservation_net_unused_amortized_upfront_fee_for_billing_period)
            END
    END AS effective_cost,
    CASE WHEN kind = 'unused plan' THEN savings_plan_used_commitment END AS effective_cost_less,
    CASE WHEN kind = 'unused reservation' THEN
        on_basis(reservation_unused_recurring_fee, reservation_net_unused_recurring_fee)
        WHEN effective = 'cost' THEN cost_more
    END AS effective_cost_more,
    is_return,
    -- CUR has no net total commitment: the unused share is reduced like the recurring or amortized part (C).
    -- The recurring part of an all-upfront plan is 0, not empty.
    CASE WHEN kind = 'unused plan' AND is_net_basis() THEN
        CASE WHEN has_recurring THEN savings_plan_net_recurring_commitment_for_billing_period
            ELSE savings_plan_net_amortized_upfront_commitment_for_billing_period END
    END AS effective_net,
    CASE WHEN kind = 'unused plan' AND is_net_basis() THEN
        CASE WHEN has_recurring THEN savings_plan_recurring_commitment_for_billing_period
            ELSE savings_plan_amortized_upfront_commitment_for_billing_period END
    END AS effective_gross,

    -- ListCost: the public price times the quantity, if there is one, else the cost before commitments (A, C, S).
    CASE
        WHEN part = 1 THEN '0'                                                                                   -- I
        WHEN charge_category IN ('Tax', 'Credit') THEN cost                                                      -- S, D
        WHEN NOT has_list_price THEN line_item_unblended_cost
        WHEN list_price IS NOT NULL AND NOT is_one THEN NULL
        WHEN NOT is_zero(pricing_public_on_demand_cost) THEN pricing_public_on_demand_cost
        ELSE line_item_unblended_cost
    END AS list_cost,
    CASE WHEN part = 0 AND charge_category IN ('Tax', 'Credit') THEN cost_more END AS list_cost_more,
    CASE WHEN part = 0 AND has_list_price AND NOT is_one THEN list_price END AS list_unit_price,
    -- ContractedCost excludes commitments and includes negotiated prices; CUR does not have it (I). NULL: as ListCost.
    CASE
        WHEN part = 1 THEN '0'
        WHEN kind = 'reserved usage' THEN NULL
        ELSE cost
    END AS contracted_cost,
    CASE WHEN part = 0 AND kind <> 'reserved usage' THEN cost_more END AS contracted_cost_more,
    -- The rate is the unit price if it gives the exact cost; otherwise the cost is divided by the quantity (I).
    NULL::VARCHAR AS contracted_unit_price,
    CASE WHEN part = 0 THEN on_basis(line_item_unblended_rate, line_item_net_unblended_rate) END
        AS contracted_rate,
    charge_category IN ('Usage', 'Purchase') AS has_unit_price,                                                  -- S
    CASE
        WHEN charge_category = 'Tax' THEN NULL                                                                   -- S
        WHEN charge_category = 'Credit' THEN '0'                                                                 -- D
        WHEN kind = 'unused reservation' THEN coalesce(reservation_unused_quantity, '0')
        WHEN part = 1 THEN savings_plan_total_commitment_to_date                                                 -- I
        -- One unit that lowers the bill, so that a positive price gives a negative cost (S, I).
        WHEN kind = 'discount' THEN CASE WHEN starts_with(cost, '-') THEN '-1' ELSE '1' END
        WHEN kind IN ('usage refund', 'purchase refund', 'returned commitment') OR part = 0 AND is_returned_fee THEN
            signed_as(cost, CASE WHEN is_zero(amount) THEN '1' ELSE amount END)
        WHEN charge_category = 'Purchase' AND is_zero(amount) OR charge_category = 'Usage' AND is_one THEN '1'
        WHEN charge_category = 'Adjustment' THEN line_item_usage_amount
        ELSE amount
    END AS pricing_quantity,
    CASE WHEN kind = 'unused plan' THEN savings_plan_used_commitment END AS pricing_quantity_less,
    CASE
        WHEN kind IN ('discount', 'usage refund') THEN '0'                                                       -- I
        WHEN charge_category = 'Usage' AND part = 0 THEN amount
    END AS consumed_quantity,
    -- For unused shares of plans, PostgreSQL takes the pricing quantity (S).
    CASE
        WHEN commitment_id IS NULL OR charge_category NOT IN ('Usage', 'Purchase') THEN NULL
        WHEN kind = 'unused plan' THEN NULL
        WHEN kind IN ('plan upfront', 'plan fee') THEN cost
        WHEN kind = 'returned commitment' THEN
            CASE WHEN savings_plan_savings_plan_a_r_n IS NOT NULL THEN cost ELSE signed_as(cost, amount) END
        WHEN kind = 'reserved usage' THEN CASE WHEN is_size_flexible THEN line_item_normalized_usage_amount ELSE amount END
        WHEN kind = 'unused reservation' THEN coalesce(
            CASE WHEN is_size_flexible THEN reservation_unused_normalized_unit_quantity END,
            reservation_unused_quantity, '0')
        WHEN kind IN ('reservation fee', 'reservation upfront') THEN signed_as(cost, coalesce(
            CASE WHEN is_size_flexible THEN reservation_total_reserved_normalized_units END,
            reservation_total_reserved_units, amount))
    END AS commitment_discount_quantity,
    -- What a covered row drew from its Savings Plan: rate times amount (A).
    CASE WHEN kind = 'plan usage' AND commitment_id IS NOT NULL THEN coalesce(savings_plan_savings_plan_rate, '0')
    END AS commitment_discount_rate,
    NULL::VARCHAR AS pricing_currency_effective_cost,
    NULL::VARCHAR AS pricing_currency_list_unit_price,
    NULL::VARCHAR AS pricing_currency_contracted_unit_price,

    -- Split cost allocation: the instance's amortized cost, after discounts if they are billed (A).
    kind = 'split cost' AS is_workload,
    split_line_item_parent_resource_id AS parent_resource_id,
    after_discounts(split_line_item_split_cost, split_line_item_net_split_cost) AS split_cost,
    after_discounts(split_line_item_unused_cost, split_line_item_net_unused_cost) AS unused_cost,
    split_line_item_public_on_demand_split_cost AS public_on_demand_split_cost,
    split_line_item_public_on_demand_unused_cost AS public_on_demand_unused_cost,
    split_line_item_split_usage AS split_usage,
    split_line_item_actual_usage AS actual_usage,
    split_line_item_reserved_usage AS reserved_usage,
    split_line_item_split_usage_ratio AS split_usage_ratio
FROM priced
JOIN sold
    ON sold.service IS NOT DISTINCT FROM priced.product_servicecode
    AND sold.product IS NOT DISTINCT FROM priced.line_item_product_code
    AND sold.usage_type IS NOT DISTINCT FROM priced.line_item_usage_type
    AND sold.family IS NOT DISTINCT FROM priced.product_product_family
    AND sold.name IS NOT DISTINCT FROM priced.product_name
LEFT JOIN region_lookup ON region_lookup.region_id = lower(trim(priced.region_code))
LEFT JOIN unit_lookup ON unit_lookup.unit = lower(trim(priced.pricing_unit));
