-- The checks of a statement's bill. Each query returns, by currency, how many charges it found (or what its comment
-- counts), their exact cost, and their names, the most expensive first.

-- name: find_subject
-- No row if the statement is empty.
SELECT statement.statement_id, statement.billing_period, publication.publication_id, publication.delivery_id,
    publication.cost_basis, statement.currency, publication.rows_added, statement.row_count,
    delivery.format IS DISTINCT FROM 'focus'
FROM billing_statements AS statement
JOIN billing_publications AS publication ON publication.publication_id = statement.current_publication_id
LEFT JOIN billing_deliveries AS delivery ON delivery.delivery_id = publication.delivery_id
WHERE statement.statement_id = %(statement_id)s AND publication.delivery_id IS NOT NULL

-- name: lock_checks
-- Two that check one statement take turns. A lock of the session, so that the transaction sees the first one's result.
SELECT pg_advisory_lock(hashtextextended('billfold checks of ' || %(statement_id)s::text, 0))

-- name: unlock_checks
SELECT pg_advisory_unlock(hashtextextended('billfold checks of ' || %(statement_id)s::text, 0))

-- name: create_checked_charge
-- One scan of the charges, summed by everything except resources and prices.
CREATE TEMP TABLE checked_charge ON COMMIT DROP AS
SELECT commitment_key, tag_set_key, charge_key, billing_currency, occurrence = 0 AS is_residual,
    sum(billed_cost) AS billed_cost, sum(effective_cost) AS effective_cost, count(*) AS charge_count
FROM {fact} WHERE statement_id = {statement_id}
GROUP BY commitment_key, tag_set_key, charge_key, billing_currency, occurrence = 0

-- name: has_commitments
SELECT EXISTS (SELECT FROM checked_charge WHERE commitment_key IS NOT NULL)

-- name: create_checked_line_item
-- The line items of commitments, in the headers of legacy CUR and of CUR 2.0. A text search is many times faster than
-- reading the JSON of every row to find the few; the type then excludes false matches.
CREATE TEMP TABLE checked_line_item ON COMMIT DROP AS
SELECT line_item_type, commitment_id, coalesce(currency, {default_currency}) AS billing_currency, starts_at::timestamptz AS starts_at,
    CASE WHEN {is_net} THEN coalesce(billfold_number(net_cost), billfold_number(gross_cost))
        ELSE billfold_number(gross_cost) END AS cost,
    -- On net basis a number without a net counterpart is used as it is, as in the mapping.
    coalesce(billfold_number(recurring), billfold_number(amortized)) IS NOT NULL AS has_fee,
    coalesce(CASE WHEN {is_net} THEN billfold_number(net_recurring) END, billfold_number(recurring), 0)
        + coalesce(CASE WHEN {is_net} THEN billfold_number(net_amortized) END, billfold_number(amortized), 0) AS fee,
    coalesce(CASE WHEN {is_net} THEN billfold_number(net_upfront_fee) END, billfold_number(upfront_fee), 0) AS upfront_fee
FROM (
    SELECT
        coalesce(item."lineItem/LineItemType", item.line_item_line_item_type) AS line_item_type,
        coalesce(nullif(item."savingsPlan/SavingsPlanARN", ''), nullif(item."savingsPlan/SavingsPlanArn", ''),
            nullif(item.savings_plan_savings_plan_a_r_n, ''), nullif(item.savings_plan_savings_plan_arn, ''),
            nullif(item."reservation/ReservationARN", ''), nullif(item.reservation_reservation_a_r_n, '')) AS commitment_id,
        coalesce(item."lineItem/CurrencyCode", item.line_item_currency_code) AS currency,
        coalesce(item."lineItem/UsageStartDate", item.line_item_usage_start_date) AS starts_at,
        coalesce(item."lineItem/UnblendedCost", item.line_item_unblended_cost) AS gross_cost,
        coalesce(item."lineItem/NetUnblendedCost", item.line_item_net_unblended_cost) AS net_cost,
        coalesce(item."savingsPlan/RecurringCommitmentForBillingPeriod",
            item.savings_plan_recurring_commitment_for_billing_period) AS recurring,
        coalesce(item."savingsPlan/NetRecurringCommitmentForBillingPeriod",
            item.savings_plan_net_recurring_commitment_for_billing_period) AS net_recurring,
        coalesce(item."savingsPlan/AmortizedUpfrontCommitmentForBillingPeriod",
            item.savings_plan_amortized_upfront_commitment_for_billing_period) AS amortized,
        coalesce(item."savingsPlan/NetAmortizedUpfrontCommitmentForBillingPeriod",
            item.savings_plan_net_amortized_upfront_commitment_for_billing_period) AS net_amortized,
        coalesce(item."reservation/AmortizedUpfrontFeeForBillingPeriod",
            item.reservation_amortized_upfront_fee_for_billing_period) AS upfront_fee,
        coalesce(item."reservation/NetAmortizedUpfrontFeeForBillingPeriod",
            item.reservation_net_amortized_upfront_fee_for_billing_period) AS net_upfront_fee
    FROM (
        SELECT row_data FROM {raw} AS raw WHERE raw.statement_id = {statement_id} AND (
            strpos(row_data::text, '"SavingsPlan') > 0 OR strpos(row_data::text, '"RIFee"') > 0)
    ) AS raw,
    json_to_record(raw.row_data) AS item (
        "lineItem/LineItemType" text, line_item_line_item_type text,
        "savingsPlan/SavingsPlanARN" text, "savingsPlan/SavingsPlanArn" text, savings_plan_savings_plan_a_r_n text,
        savings_plan_savings_plan_arn text, "reservation/ReservationARN" text, reservation_reservation_a_r_n text,
        "lineItem/CurrencyCode" text, line_item_currency_code text,
        "lineItem/UsageStartDate" text, line_item_usage_start_date text,
        "lineItem/UnblendedCost" text, line_item_unblended_cost text,
        "lineItem/NetUnblendedCost" text, line_item_net_unblended_cost text,
        "savingsPlan/RecurringCommitmentForBillingPeriod" text, savings_plan_recurring_commitment_for_billing_period text,
        "savingsPlan/NetRecurringCommitmentForBillingPeriod" text,
        savings_plan_net_recurring_commitment_for_billing_period text,
        "savingsPlan/AmortizedUpfrontCommitmentForBillingPeriod" text,
        savings_plan_amortized_upfront_commitment_for_billing_period text,
        "savingsPlan/NetAmortizedUpfrontCommitmentForBillingPeriod" text,
        savings_plan_net_amortized_upfront_commitment_for_billing_period text,
        "reservation/AmortizedUpfrontFeeForBillingPeriod" text, reservation_amortized_upfront_fee_for_billing_period text,
        "reservation/NetAmortizedUpfrontFeeForBillingPeriod" text,
        reservation_net_amortized_upfront_fee_for_billing_period text)
) AS item
WHERE line_item_type IN ('SavingsPlanCoveredUsage', 'SavingsPlanNegation', 'SavingsPlanRecurringFee', 'RIFee')

-- name: check_unmapped_services
-- An AWS product in the category Other that no mapping puts there; a Marketplace seller's product has no category.
SELECT billing_currency, sum(charge_count)::bigint, sum(billed_cost), array_agg(service ORDER BY billed_cost DESC, service)
FROM (
    SELECT daily.billing_currency, coalesce(service.service_code, service.service_name, 'without a name') AS service,
        sum(daily.charge_count) AS charge_count, sum(daily.billed_cost) AS billed_cost
    FROM billing_daily_cost AS daily
    JOIN dim_service AS service USING (service_key)
    JOIN dim_charge AS charge USING (charge_key)
    WHERE daily.statement_id = %(statement_id)s
        AND service.service_category = 'Other'
        AND charge.charge_category NOT IN ('Tax', 'Credit')
        -- The residual of Savings Plans has no service.
        AND NOT (charge.charge_category = 'Adjustment' AND charge.line_item_type IS NULL AND service.service_code IS NULL)
        AND coalesce(service.service_code <> ALL (%(known)s::text[]), true)
        AND coalesce(service.service_name <> ALL (%(known)s), true)
        AND (service.publisher_name = service.invoice_issuer_name OR service.publisher_name ~* '^(aws|amazon)')
    GROUP BY 1, 2
) AS unmapped GROUP BY billing_currency

-- name: check_unmapped_regions
SELECT billing_currency, sum(charge_count)::bigint, sum(billed_cost), array_agg(region ORDER BY billed_cost DESC, region)
FROM (
    SELECT daily.billing_currency, region.region_id AS region, sum(daily.charge_count) AS charge_count,
        sum(daily.billed_cost) AS billed_cost
    FROM billing_daily_cost AS daily JOIN dim_region AS region USING (region_key)
    WHERE daily.statement_id = %(statement_id)s AND coalesce(region.region_name, region.region_id) = region.region_id
    GROUP BY 1, 2
) AS unmapped GROUP BY billing_currency

-- name: check_unknown_line_types
-- Of a FOCUS export the charge category is the type.
SELECT billing_currency, sum(charge_count)::bigint, sum(billed_cost),
    array_agg(line_item_type ORDER BY billed_cost DESC, line_item_type)
FROM (
    SELECT daily.billing_currency, coalesce(charge.line_item_type, charge.charge_category) AS line_item_type,
        sum(daily.charge_count) AS charge_count, sum(daily.billed_cost) AS billed_cost
    FROM billing_daily_cost AS daily JOIN dim_charge AS charge USING (charge_key)
    WHERE daily.statement_id = %(statement_id)s
        AND (charge.charge_category = 'Adjustment' AND charge.line_item_type IS NOT NULL
            OR charge.charge_category NOT IN ('Usage', 'Purchase', 'Tax', 'Credit', 'Adjustment'))
    GROUP BY 1, 2
) AS unknown GROUP BY billing_currency

-- name: check_untagged_cost
-- Usage without a tag of the client's own, by its effective cost: usage that a commitment covers is billed 0. The unused
-- part of a commitment cannot be tagged. Tags of the account, the user or the principal count; a key whose value is null does not.
SELECT charged.billing_currency, sum(charge_count)::bigint, sum(effective_cost), ARRAY[]::text[]
FROM checked_charge AS charged
JOIN dim_charge AS charge USING (charge_key)
WHERE charge.charge_category = 'Usage' AND charge.commitment_discount_status IS DISTINCT FROM 'Unused'
    AND NOT EXISTS (
        SELECT FROM dim_tag_set AS tag_set, jsonb_each(
            CASE WHEN jsonb_typeof(tag_set.tags) = 'object' THEN tag_set.tags ELSE '{}' END) AS tag
        WHERE tag_set.tag_set_key = charged.tag_set_key AND NOT starts_with(tag.key, 'aws:') AND tag.value <> 'null'
    )
GROUP BY charged.billing_currency

-- name: sum_usage
SELECT charged.billing_currency, sum(effective_cost)
FROM checked_charge AS charged JOIN dim_charge AS charge USING (charge_key)
WHERE charge.charge_category = 'Usage' AND charge.commitment_discount_status IS DISTINCT FROM 'Unused'
GROUP BY charged.billing_currency

-- name: check_savings_plan_residual
SELECT billing_currency, sum(charge_count)::bigint, sum(billed_cost), ARRAY[]::text[]
FROM checked_charge WHERE is_residual GROUP BY billing_currency

-- name: check_savings_plan_hours
-- The hours in which a plan's covered usage and negations do not cancel out; the cost is the sum of the absolute
-- residuals.
SELECT billing_currency, count(*)::bigint, sum(abs(left_over)),
    (array_agg(commitment_id || ' ' || to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:00') ORDER BY abs(left_over) DESC))[1:3]
FROM (
    SELECT billing_currency, coalesce(commitment_id, 'no plan') AS commitment_id, date_trunc('hour', starts_at) AS hour,
        sum(cost) AS left_over
    FROM checked_line_item WHERE line_item_type IN ('SavingsPlanCoveredUsage', 'SavingsPlanNegation')
    GROUP BY 1, 2, 3
) AS hourly
WHERE abs(left_over) > %(tolerance)s
GROUP BY billing_currency

-- name: check_commitment_identity
-- The commitments whose used and unused cost is not what they cost in the month: of a Savings Plan the recurring and the
-- amortised upfront commitment of its fee rows, of a reserved instance the amortised upfront fee and what its RIFee rows
-- cost. The cost is the sum of the absolute differences. Only commitments whose fees this bill has. A refunded
-- fee may leave its usage covered, so that it may count or not.
SELECT billing_currency, count(*)::bigint, sum(abs(difference)),
    (array_agg(commitment_id ORDER BY abs(difference) DESC, commitment_id))[1:3]
FROM (
    SELECT fee.billing_currency, fee.commitment_id,
        CASE WHEN abs(coalesce(charged.cost, 0) - fee.kept) < abs(coalesce(charged.cost, 0) - fee.cost)
            THEN coalesce(charged.cost, 0) - fee.kept ELSE coalesce(charged.cost, 0) - fee.cost END AS difference
    FROM (
        SELECT billing_currency, commitment_id,
            sum(CASE line_item_type WHEN 'RIFee' THEN upfront_fee + cost ELSE fee END) AS cost,
            coalesce(sum(CASE line_item_type WHEN 'RIFee' THEN upfront_fee + cost ELSE fee END) FILTER (WHERE cost >= 0), 0)
                AS kept
        FROM checked_line_item
        WHERE line_item_type IN ('SavingsPlanRecurringFee', 'RIFee') AND commitment_id IS NOT NULL
        GROUP BY 1, 2 HAVING bool_and(line_item_type = 'RIFee' OR has_fee)
    ) AS fee
    LEFT JOIN (
        SELECT charged.billing_currency, commitment.commitment_discount_id AS commitment_id, sum(effective_cost) AS cost
        FROM checked_charge AS charged
        JOIN dim_commitment AS commitment USING (commitment_key)
        JOIN dim_charge AS charge USING (charge_key)
        WHERE charge.commitment_discount_status IN ('Used', 'Unused')
        GROUP BY 1, 2
    ) AS charged USING (billing_currency, commitment_id)
) AS compared
WHERE abs(difference) > %(tolerance)s
GROUP BY billing_currency

-- name: check_split_cost
-- The parents whose effective cost is not what their workloads cost together, hour by hour, and those that are not in the
-- bill though workloads name them; the cost is the sum of the absolute differences.
SELECT billing_currency, count(*)::bigint, sum(abs(difference)),
    (array_agg(parent_resource_id || ' ' || to_char(charge_period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:00')
        ORDER BY abs(difference) DESC, parent_resource_id, charge_period_start))[1:3]
FROM (
    SELECT billing_currency, coalesce(parent_resource_id, 'no parent') AS parent_resource_id, charge_period_start,
        CASE allocation WHEN 'workload' THEN sum(coalesce(split_cost, 0) + coalesce(unused_cost, 0)) ELSE sum(cost) END
            AS difference
    FROM billing_split_cost
    WHERE statement_id = %(statement_id)s AND (allocation = 'not allocated' OR allocation = 'workload' AND NOT has_parent)
        AND billing_period = (SELECT billing_period FROM billing_statements WHERE statement_id = %(statement_id)s)
    GROUP BY billing_currency, parent_resource_id, charge_period_start, charge_period_end, sub_account_key, allocation
) AS compared
WHERE difference <> 0
GROUP BY billing_currency

-- name: check_overlap
-- A bill that is counted beside another statement of the same bill, or that is not counted at all: all of its cost. Else
-- the cost that is missing, because the statement counted in its place does not have it, or that two parts count twice.
WITH overlap AS (
    SELECT string_agg('statement ' || statement_id || ' (' || export_name || ')', ', ') AS named,
        string_agg('statement ' || statement_id || ' (' || export_name || ')', ', ') FILTER (WHERE counted) AS counted_named,
        coalesce(bool_or(counted), false) AS is_any_counted
    FROM billfold_overlaps(%(statement_id)s)
),
subject AS (
    SELECT statement.statement_id, statement.counted, publication.charges_after, publication.billed_cost_after, overlap.*
    FROM billing_statements AS statement
    JOIN billing_publications AS publication ON publication.publication_id = statement.current_publication_id
    CROSS JOIN overlap
    WHERE statement.statement_id = %(statement_id)s
),
in_both AS (
    SELECT related.relation, related.decided_by, shared.currency, sum(shared.cost::numeric) AS cost,
        string_agg('statement ' || other.statement_id || ' (' || other.export_name || ')', ', '
            ORDER BY other.statement_id) AS named
    FROM billing_statement_relations AS related
    JOIN billing_statements AS other ON other.statement_id = related.other_statement_id AND other.counted
    CROSS JOIN LATERAL jsonb_each_text(related.cost_in_both) AS shared (currency, cost)
    WHERE related.statement_id = %(statement_id)s
        AND (related.relation <> 'parts' OR related.other_statement_id < related.statement_id)
    GROUP BY 1, 2, 3
)
SELECT billed.currency, charges_after, billed.cost::numeric, ARRAY[
    CASE WHEN counted THEN 'counted twice, beside ' || counted_named
        ELSE 'not counted, nor is any other statement of it' || coalesce(': ' || named, '') END]
FROM subject CROSS JOIN LATERAL jsonb_each_text(billed_cost_after) AS billed (currency, cost)
WHERE counted = is_any_counted
UNION ALL
SELECT billed.currency, charges_after, billed.cost::numeric - in_both.cost,
    ARRAY['partly missing from the costs: it overlaps with ' || in_both.named]
FROM subject
CROSS JOIN LATERAL jsonb_each_text(billed_cost_after) AS billed (currency, cost)
JOIN in_both ON in_both.currency = billed.currency AND in_both.relation = 'overlap'
WHERE NOT counted AND is_any_counted AND billed.cost::numeric <> in_both.cost
UNION ALL
SELECT in_both.currency, charges_after, in_both.cost, ARRAY['counted twice in part, beside ' || in_both.named]
FROM subject JOIN in_both ON in_both.relation = 'parts' AND in_both.decided_by = 'content'
WHERE counted AND NOT is_any_counted AND in_both.cost <> 0

-- name: describe_relations
-- How the statement relates to others of its month, and the evidence for it.
SELECT 'none', 0, 0, ARRAY[
    'statement ' || other.statement_id || ' (' || other.export_name || '): ' || related.relation
    || ', decided by ' || related.decided_by
    || coalesce(', ' || trunc(100 * related.share_of_smaller, 2) || ' %% of the smaller and '
        || trunc(100 * related.share_of_larger, 2) || ' %% of the larger one in both by ' || related.measure, '')]
FROM billing_statement_relations AS related
JOIN billing_statements AS other ON other.statement_id = related.other_statement_id
WHERE related.statement_id = %(statement_id)s
ORDER BY other.statement_id

-- name: check_net_proof
-- The difference between the billed costs and the gross costs less the discounts, where it is more than rounding.
SELECT unproved.currency, publication.rows_after, unproved.cost::numeric, ARRAY[]::text[]
FROM billing_statements AS statement
JOIN billing_publications AS publication ON publication.publication_id = statement.current_publication_id
CROSS JOIN LATERAL jsonb_each_text(publication.unproved_cost) AS unproved (currency, cost)
WHERE statement.statement_id = %(statement_id)s AND abs(unproved.cost::numeric) > %(tolerance)s

-- name: count_commitments
-- How many commitments the charges name, and how many of them have their fees in this bill.
SELECT count(DISTINCT commitment.commitment_discount_id),
    count(DISTINCT commitment.commitment_discount_id) FILTER (WHERE EXISTS (
        SELECT FROM checked_line_item AS fee WHERE fee.commitment_id = commitment.commitment_discount_id
            AND fee.line_item_type IN ('SavingsPlanRecurringFee', 'RIFee') AND (fee.line_item_type = 'RIFee' OR fee.has_fee)))
FROM checked_charge AS charged JOIN dim_commitment AS commitment USING (commitment_key)

-- name: keep_checks
INSERT INTO billing_checks (publication_id, name, delivery_id, statement_id, state, row_count, cost, detail)
SELECT publication_id, name, delivery_id, statement_id, state, row_count, cost, detail
FROM jsonb_to_recordset(%(kept)s) AS kept (publication_id bigint, name text, delivery_id uuid, statement_id integer,
    state text, row_count bigint, cost jsonb, detail text)
ON CONFLICT (publication_id, name) DO UPDATE SET state = excluded.state, row_count = excluded.row_count,
    cost = excluded.cost, detail = excluded.detail, checked_at = excluded.checked_at

-- name: list_checks
SELECT
    checked.statement_id, statement.client_id, statement.export_name,
    to_char(statement.billing_period, 'YYYY-MM') AS billing_period, publication.number AS publication_number,
    statement.current_publication_id = checked.publication_id AS is_current, checked.publication_id, checked.delivery_id,
    checked.name, checked.state, checked.row_count, checked.cost, checked.detail, checked.checked_at
FROM billing_checks AS checked
JOIN billing_statements AS statement USING (statement_id)
JOIN billing_publications AS publication USING (publication_id)
WHERE (%(client)s::text IS NULL OR statement.client_id = %(client)s)
    AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)
    AND (%(period)s::date IS NULL OR statement.billing_period = %(period)s)
    AND (%(statement)s::numeric IS NULL OR statement.statement_id = %(statement)s)
    AND (%(statements)s::integer[] IS NULL OR checked.statement_id = ANY (%(statements)s))
    AND (%(state)s::text IS NULL OR checked.state = %(state)s)
    AND (%(every)s::boolean OR statement.current_publication_id = checked.publication_id)
ORDER BY statement.billing_period DESC, statement.client_id, statement.export_name, statement.statement_id,
    publication.number DESC, checked.state DESC, checked.name

-- name: list_unchecked
-- Statements whose current bill was never checked: it is older than the checks, or they failed.
SELECT statement.statement_id
FROM billing_statements AS statement
WHERE statement.current_delivery_id IS NOT NULL
    AND (%(client)s::text IS NULL OR statement.client_id = %(client)s)
    AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)
    AND (%(period)s::date IS NULL OR statement.billing_period = %(period)s)
    AND (%(statement)s::numeric IS NULL OR statement.statement_id = %(statement)s)
    AND NOT EXISTS (SELECT FROM billing_checks AS checked WHERE checked.publication_id = statement.current_publication_id)
ORDER BY statement.statement_id
