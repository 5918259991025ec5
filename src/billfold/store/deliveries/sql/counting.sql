-- Which statements are counted: all parts of one bill, and one of several duplicates.

-- name: list_overlaps
SELECT statement_id, export_name, counted FROM billfold_overlaps($1::integer, $2::text::uuid, $3::text)

-- name: list_candidates
-- Statements that may hold the same bill, the result of their last comparison, and an operator's choice.
SELECT statement_id, export_name, counted, relation, choice
FROM billfold_candidates($1::integer, $2::text::uuid, $3::text)

-- name: read_counted
SELECT counted, yields FROM billing_statements WHERE statement_id = $1::integer

-- name: keep_counted
UPDATE billing_statements SET counted = $2::integer = 1, yields = $3::integer = 1 WHERE statement_id = $1::integer

-- name: is_empty
SELECT NOT EXISTS (SELECT FROM billing_daily_cost WHERE statement_id = $1::integer)

-- name: read_form
-- The form in which a statement was delivered: line items of the same form can be compared. The names of the columns
-- are sorted.
SELECT delivery.format, statement.hash_version, array_to_json(ARRAY(
    SELECT name FROM jsonb_object_keys(delivery.columns) AS name ORDER BY name COLLATE "C"))::text
FROM billing_statements AS statement
JOIN billing_deliveries AS delivery ON delivery.delivery_id = coalesce($2::text::uuid, statement.current_delivery_id)
WHERE statement.statement_id = $1::integer

-- name: read_period
SELECT billing_period::text FROM billing_statements WHERE statement_id = $1::integer

-- name: compare_line_items
-- The equal line items of two statements, by currency. Identical ones are counted with their multiplicity, because each
-- has its own occurrence. The residual of Savings Plans (occurrence 0) is not a line item.
WITH line_item AS (
    SELECT billing_currency, here_count > 0 AS is_here, there_count > 0 AS is_there,
        coalesce(here_amount, 0) AS here_amount, coalesce(there_amount, 0) AS there_amount,
        coalesce(here_billed, 0) AS here_billed, coalesce(there_billed, 0) AS there_billed
    FROM (
        SELECT billing_currency,
            count(*) FILTER (WHERE statement_id = $1::integer) AS here_count,
            count(*) FILTER (WHERE statement_id = $2::integer) AS there_count,
            sum(CASE WHEN billed_cost <> 0 THEN billed_cost ELSE effective_cost END)
                FILTER (WHERE statement_id = $1::integer) AS here_amount,
            sum(CASE WHEN billed_cost <> 0 THEN billed_cost ELSE effective_cost END)
                FILTER (WHERE statement_id = $2::integer) AS there_amount,
            sum(billed_cost) FILTER (WHERE statement_id = $1::integer) AS here_billed,
            sum(billed_cost) FILTER (WHERE statement_id = $2::integer) AS there_billed
        FROM {fact}
        WHERE statement_id IN ($1::integer, $2::integer) AND occurrence > 0
        GROUP BY row_hash, occurrence, billing_currency
    ) AS counted
)
SELECT billing_currency,
    sum(abs(here_amount))::text, sum(abs(there_amount))::text,
    sum(abs(billfold_in_both(here_amount, there_amount)))::text,
    count(*) FILTER (WHERE here_amount <> 0), count(*) FILTER (WHERE there_amount <> 0),
    count(*) FILTER (WHERE here_amount <> 0 AND there_amount <> 0),
    count(*) FILTER (WHERE is_here), count(*) FILTER (WHERE is_there), count(*) FILTER (WHERE is_here AND is_there),
    sum(here_billed)::text, sum(there_billed)::text, sum(billfold_in_both(here_billed, there_billed))::text
FROM line_item
GROUP BY billing_currency

-- name: count_charges
SELECT coalesce(sum(charge_count), 0)::bigint FROM billing_daily_cost WHERE statement_id = $1::integer

-- name: compare_rollups
-- The costs of two statements that are exactly equal, by account, UTC day, category and currency: sums of many charges
-- are not equal by chance, and the rollup answers at once. $3: whether both are CUR or have the same columns.
WITH cell AS (
    SELECT billing_currency,
        coalesce(sum(amount) FILTER (WHERE is_here), 0) AS here_amount,
        coalesce(sum(amount) FILTER (WHERE NOT is_here), 0) AS there_amount,
        coalesce(sum(billed_cost) FILTER (WHERE is_here), 0) AS here_billed,
        coalesce(sum(billed_cost) FILTER (WHERE NOT is_here), 0) AS there_billed,
        coalesce(sum(charge_count) FILTER (WHERE is_here), 0) AS here_count,
        coalesce(sum(charge_count) FILTER (WHERE NOT is_here), 0) AS there_count
    FROM (
        SELECT statement_id = $1::integer AS is_here, charge_date, billing_currency, billed_cost, charge_count,
            CASE WHEN billed_cost <> 0 THEN billed_cost ELSE effective_cost END AS amount,
            coalesce(member.account_id, payer.account_id) AS account_id, charge.charge_category,
            CASE WHEN $3::integer = 1 THEN charge.line_item_type END AS line_item_type
        FROM billing_daily_cost
        JOIN dim_account AS payer ON payer.account_key = billing_account_key
        JOIN dim_charge AS charge USING (charge_key)
        LEFT JOIN dim_account AS member ON member.account_key = sub_account_key
        WHERE statement_id IN ($1::integer, $2::integer)
    ) AS daily
    GROUP BY billing_currency, charge_date, account_id, charge_category, line_item_type
)
SELECT billing_currency,
    sum(abs(here_amount))::text, sum(abs(there_amount))::text,
    sum(CASE WHEN here_amount = there_amount THEN abs(here_amount) ELSE 0 END)::text,
    coalesce(sum(here_count) FILTER (WHERE here_amount <> 0), 0)::bigint,
    coalesce(sum(there_count) FILTER (WHERE there_amount <> 0), 0)::bigint,
    coalesce(sum(least(here_count, there_count)) FILTER (WHERE here_amount = there_amount AND here_amount <> 0), 0)::bigint,
    sum(here_count)::bigint, sum(there_count)::bigint,
    coalesce(sum(least(here_count, there_count)) FILTER (WHERE here_amount = there_amount), 0)::bigint,
    sum(here_billed)::text, sum(there_billed)::text, sum(billfold_in_both(here_billed, there_billed))::text
FROM cell
GROUP BY billing_currency

-- name: compare_daily_costs
-- The costs that two statements have in common, by currency: the smaller cost of each account, UTC day, charge category
-- and of what else both name. How line items split a day's cost (hours, column choices, formats) does not matter, nor
-- whether one of the statements was restated since. $3: whether both are CUR or have the same columns (then more than
-- account, service and category identifies a charge); $4: whether they have the same columns.
WITH summed AS (
    SELECT statement_id = $1::integer AS is_here, (charge_period_start AT TIME ZONE 'UTC')::date AS charge_date,
        charge_period_end - charge_period_start > interval '1 day' AS is_long,
        billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, tag_set_key,
        billing_currency, sum(CASE WHEN billed_cost <> 0 THEN billed_cost ELSE effective_cost END) AS amount,
        sum(billed_cost) AS billed, count(*) AS charge_count
    FROM {fact}
    WHERE statement_id IN ($1::integer, $2::integer)
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
),
named AS MATERIALIZED (
    SELECT is_here, charge_date, is_long, billing_currency, amount, billed, charge_count,
        coalesce(member.account_id, payer.account_id, '') AS account_id,
        coalesce(charge.charge_category, '') AS charge_category,
        -- A commitment's fees name it as their resource, even in an export without resources.
        charge.charge_category = 'Usage' AND charge.commitment_discount_status IS NULL AS is_plain,
        charge.line_item_type, service.service_code, region.region_id, sku.sku_meter, sku.operation,
        sku.charge_description, resource.resource_id, tag_set_key
    FROM summed
    JOIN dim_account AS payer ON payer.account_key = billing_account_key
    JOIN dim_service AS service USING (service_key)
    JOIN dim_charge AS charge USING (charge_key)
    LEFT JOIN dim_account AS member ON member.account_key = sub_account_key
    LEFT JOIN dim_region AS region USING (region_key)
    LEFT JOIN dim_resource AS resource USING (resource_key)
    LEFT JOIN dim_sku AS sku USING (sku_key)
),
known AS (
    SELECT
        -- FOCUS may leave out the code of a service; if few charges have one, it is ignored.
        bool_and(service_share > 0.9) AS has_service, bool_and(has_meter) AS has_meter,
        bool_and(has_operation) AS has_operation, bool_and(has_description) AS has_description,
        bool_and(has_resource) AS has_resource
    FROM (
        SELECT coalesce(sum(charge_count) FILTER (WHERE service_code IS NOT NULL), 0) / sum(charge_count) AS service_share,
            bool_or(sku_meter IS NOT NULL) AS has_meter, bool_or(operation IS NOT NULL) AS has_operation,
            bool_or(charge_description IS NOT NULL) AS has_description,
            coalesce(bool_or(resource_id IS NOT NULL) FILTER (WHERE is_plain), false) AS has_resource
        FROM named GROUP BY is_here
    ) AS each
),
identified AS (
    SELECT is_here, charge_date, is_long, billing_currency, amount, billed, charge_count,
        hash_record_extended(ROW(account_id, charge_category,
            CASE WHEN $3::integer = 1 THEN line_item_type END,
            CASE WHEN $3::integer = 1 THEN service_id END,
            CASE WHEN $4::integer = 1 THEN region_id END,
            CASE WHEN $4::integer = 1 OR $3::integer = 1 AND has_meter THEN sku_meter END,
            CASE WHEN $4::integer = 1 OR $3::integer = 1 AND has_operation THEN operation END,
            CASE WHEN $4::integer = 1 OR $3::integer = 1 AND has_description THEN charge_description END,
            CASE WHEN $4::integer = 1 OR $3::integer = 1 AND has_resource THEN resource_id END), 0) AS cell_id,
        hash_record_extended(ROW(service_id, CASE WHEN $4::integer = 1 THEN tag_set_key END), 0) AS kind_id
    FROM (
        -- The code of a service depends on the selected columns; the kind of usage names it too.
        SELECT *, CASE WHEN $4::integer = 1 OR has_service AND NOT ($3::integer = 1 AND has_meter) THEN service_code END
            AS service_id
        FROM named CROSS JOIN known
    ) AS with_service
),
-- A month's cost in one line item is compared with what its days cost together.
grained AS (
    SELECT *, bool_or(is_long) OVER (PARTITION BY billing_currency, cell_id) AS is_of_month FROM identified
),
kind AS (
    SELECT billing_currency, cell_id, CASE WHEN NOT is_of_month THEN charge_date END AS charge_date, kind_id,
        coalesce(sum(amount) FILTER (WHERE is_here), 0) AS here_amount,
        coalesce(sum(amount) FILTER (WHERE NOT is_here), 0) AS there_amount,
        coalesce(sum(billed) FILTER (WHERE is_here), 0) AS here_billed,
        coalesce(sum(billed) FILTER (WHERE NOT is_here), 0) AS there_billed,
        coalesce(sum(charge_count) FILTER (WHERE is_here), 0) AS here_count,
        coalesce(sum(charge_count) FILTER (WHERE NOT is_here), 0) AS there_count
    FROM grained
    GROUP BY 1, 2, 3, 4
),
-- Tags distinguish the charges of two teams, but a tag may be activated for the whole month between two deliveries;
-- services distinguish parts, but CUR and FOCUS may name them differently. If the sums are equal, neither matters.
cell AS (
    SELECT billing_currency, sum(here_amount) AS here_amount, sum(there_amount) AS there_amount,
        sum(billfold_in_both(here_amount, there_amount)) AS kinds_amount,
        sum(here_billed) AS here_billed, sum(there_billed) AS there_billed,
        sum(billfold_in_both(here_billed, there_billed)) AS kinds_billed,
        sum(here_count) AS here_count, sum(there_count) AS there_count
    FROM kind
    GROUP BY billing_currency, cell_id, charge_date
)
SELECT billing_currency,
    sum(abs(here_amount))::text, sum(abs(there_amount))::text,
    sum(abs(CASE WHEN here_amount = there_amount THEN here_amount
        ELSE billfold_in_both(kinds_amount, billfold_in_both(here_amount, there_amount)) END))::text,
    coalesce(sum(here_count) FILTER (WHERE here_amount <> 0), 0)::bigint,
    coalesce(sum(there_count) FILTER (WHERE there_amount <> 0), 0)::bigint,
    coalesce(sum(least(here_count, there_count)) FILTER (WHERE here_amount <> 0 AND there_amount <> 0), 0)::bigint,
    sum(here_count)::bigint, sum(there_count)::bigint, sum(least(here_count, there_count))::bigint,
    sum(here_billed)::text, sum(there_billed)::text,
    sum(CASE WHEN here_billed = there_billed THEN here_billed
        ELSE billfold_in_both(kinds_billed, billfold_in_both(here_billed, there_billed)) END)::text
FROM cell
GROUP BY billing_currency

-- name: keep_evidence
INSERT INTO billing_statement_pairs AS pair (statement_id, other_statement_id, relation, measure, share_of_smaller,
    share_of_larger, line_items_in_both, cost_in_both, cost_only_here, cost_only_there, compared_at)
VALUES ($1::integer, $2::integer, $3::text, $4::text, $5::text::numeric, $6::text::numeric, $7::text::bigint,
    $8::text::jsonb, $9::text::jsonb, $10::text::jsonb, clock_timestamp())
ON CONFLICT (statement_id, other_statement_id) DO UPDATE SET relation = excluded.relation, measure = excluded.measure,
    share_of_smaller = excluded.share_of_smaller, share_of_larger = excluded.share_of_larger,
    line_items_in_both = excluded.line_items_in_both, cost_in_both = excluded.cost_in_both,
    cost_only_here = excluded.cost_only_here, cost_only_there = excluded.cost_only_there,
    compared_at = excluded.compared_at

-- name: forget_evidence
-- Pairs that no longer have an account in common are forgotten, unless an operator has decided about them.
DELETE FROM billing_statement_pairs
WHERE (statement_id = $1::integer OR other_statement_id = $1::integer) AND choice IS NULL
    AND NOT statement_id + other_statement_id - $1::integer = ANY (string_to_array($2::text, ',')::integer[])

-- name: keep_choice
INSERT INTO billing_statement_pairs (statement_id, other_statement_id, choice, chosen_at)
VALUES ($1::integer, $2::integer, $3::text, clock_timestamp())
ON CONFLICT (statement_id, other_statement_id) DO UPDATE SET choice = excluded.choice, chosen_at = excluded.chosen_at

-- name: forget_choice
WITH unknown AS (
    DELETE FROM billing_statement_pairs
    WHERE statement_id = $1::integer AND other_statement_id = $2::integer AND relation IS NULL
)
UPDATE billing_statement_pairs SET choice = NULL, chosen_at = NULL
WHERE statement_id = $1::integer AND other_statement_id = $2::integer AND relation IS NOT NULL

-- name: order_statements
-- The statements in the order of their first publication.
SELECT statement_id FROM billing_publications
WHERE statement_id = ANY (string_to_array($1::text, ',')::integer[])
GROUP BY statement_id ORDER BY min(publication_id)

-- name: try_claim
-- Claims the statement unless another worker has it, until this transaction ends. See `claims.claim`.
SELECT pg_try_advisory_xact_lock(hashtextextended(concat_ws(' ', statement.client_id, statement.bucket, statement.export_path,
    coalesce(CASE WHEN delivery.manifest_key IS NOT NULL THEN to_char(delivery.billing_period, 'YYYY-MM') END, '')), 0))
FROM billing_statements AS statement
LEFT JOIN LATERAL (
    SELECT manifest_key, billing_period FROM billing_deliveries AS delivery
    WHERE delivery.statement_id = statement.statement_id ORDER BY created_at DESC LIMIT 1
) AS delivery ON true
WHERE statement.statement_id = $1::integer

-- name: lock_other
SELECT statement_id FROM billing_statements WHERE statement_id = $1::integer FOR NO KEY UPDATE SKIP LOCKED

-- name: insert_switch
-- A publication that changes no row: whether a statement was counted at any moment is read from its publications.
WITH switch AS (
    INSERT INTO billing_publications (publication_id, statement_id, number, kind, delivery_id, published_at, counted,
        hash_version, mapping_version, cost_basis, rows_before, rows_added, rows_removed, rows_after, charges_before,
        charges_after, billed_cost_before, billed_cost_after, gross_cost_after, net_cost_after, left_out, unproved_cost)
    OVERRIDING SYSTEM VALUE
    SELECT nextval(pg_get_serial_sequence('billing_publications', 'publication_id')), statement.statement_id,
        prior.number + 1, 'switch', statement.current_delivery_id, $2::text::timestamptz, statement.counted,
        prior.hash_version, prior.mapping_version, prior.cost_basis, prior.rows_after, 0, 0, prior.rows_after,
        prior.charges_after, prior.charges_after, prior.billed_cost_after, prior.billed_cost_after,
        prior.gross_cost_after, prior.net_cost_after, prior.left_out, prior.unproved_cost
    FROM billing_statements AS statement
    JOIN billing_publications AS prior ON prior.publication_id = statement.current_publication_id
    WHERE statement.statement_id = $1::integer
    RETURNING publication_id
)
UPDATE billing_statements SET current_publication_id = (SELECT publication_id FROM switch)
WHERE statement_id = $1::integer
