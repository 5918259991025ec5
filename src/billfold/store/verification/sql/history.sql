-- What `billfold verify` reads of a statement's history: what its publications did, and what they withdrew.

-- name: count_moved_rows
-- What each publication added and withdrew, by the marks of the rows.
SELECT publication_id, sum(added)::bigint, sum(removed)::bigint FROM (
    SELECT added_by AS publication_id, count(*) AS added, 0 AS removed FROM {raw}
    WHERE statement_id = $1 GROUP BY added_by
    UNION ALL
    SELECT added_by, count(*), 0 FROM {raw_history} WHERE statement_id = $1 GROUP BY added_by
    UNION ALL
    SELECT removed_by, 0, count(*) FROM {raw_history} WHERE statement_id = $1 GROUP BY removed_by
) AS moved GROUP BY publication_id ORDER BY publication_id

-- name: sum_charges_as_of
-- The state after each publication, in one pass: what every publication added and withdrew, summed up to it.
WITH moved AS (
    SELECT publication_id, billing_currency, sum(charge_count) AS charge_count, sum(billed_cost) AS billed_cost FROM (
        SELECT added_by AS publication_id, billing_currency, count(*) AS charge_count, sum(billed_cost) AS billed_cost
        FROM {fact} WHERE statement_id = $1 GROUP BY 1, 2
        UNION ALL
        SELECT added_by, billing_currency, count(*), sum(billed_cost)
        FROM {fact_history} WHERE statement_id = $1 GROUP BY 1, 2
        UNION ALL
        SELECT removed_by, billing_currency, -count(*), -sum(billed_cost)
        FROM {fact_history} WHERE statement_id = $1 GROUP BY 1, 2
    ) AS counted GROUP BY 1, 2
)
SELECT publication_id, billing_currency,
    -- Before the first remaining mark there is nothing: earlier states are pruned.
    coalesce(sum(charge_count) OVER up_to, 0)::bigint, coalesce(sum(billed_cost) OVER up_to, 0)::text,
    publication.publication_id IS NOT NULL
FROM (SELECT publication_id FROM billing_publications WHERE statement_id = $1) AS publication
CROSS JOIN (SELECT DISTINCT billing_currency FROM moved) AS currency
FULL JOIN moved USING (publication_id, billing_currency)
WINDOW up_to AS (PARTITION BY billing_currency ORDER BY publication_id)
ORDER BY 1, 2

-- name: find_row_out_of_order
-- Versions of one line item follow each other: each is removed after it is added, and added after the previous one is
-- removed.
SELECT row_hash::text, occurrence, NULL::integer, added_by, removed_by, next_added_by FROM (
    SELECT row_hash, occurrence, added_by, removed_by, lead(added_by) OVER (
        PARTITION BY row_hash, occurrence ORDER BY added_by, removed_by NULLS LAST) AS next_added_by
    FROM (
        SELECT row_hash, occurrence, added_by, removed_by FROM {raw_history} WHERE statement_id = $1
        UNION ALL
        SELECT row_hash, occurrence, added_by, NULL FROM {raw} AS raw
        WHERE statement_id = $1 AND EXISTS (
            SELECT FROM {raw_history} AS gone
            WHERE gone.statement_id = $1 AND gone.row_hash = raw.row_hash AND gone.occurrence = raw.occurrence)
    ) AS version
) AS followed
WHERE removed_by <= added_by OR next_added_by < removed_by OR (removed_by IS NULL AND next_added_by IS NOT NULL)
ORDER BY row_hash, occurrence, added_by LIMIT 1

-- name: find_charge_out_of_order
SELECT row_hash::text, occurrence, part::integer, added_by, removed_by, next_added_by FROM (
    SELECT row_hash, occurrence, part, added_by, removed_by, lead(added_by) OVER (
        PARTITION BY row_hash, occurrence, part ORDER BY added_by, removed_by NULLS LAST) AS next_added_by
    FROM (
        SELECT row_hash, occurrence, part, added_by, removed_by FROM {fact_history} WHERE statement_id = $1
        UNION ALL
        SELECT row_hash, occurrence, part, added_by, NULL FROM {fact} AS fact
        WHERE statement_id = $1 AND EXISTS (
            SELECT FROM {fact_history} AS gone
            WHERE gone.statement_id = $1 AND gone.row_hash = fact.row_hash AND gone.occurrence = fact.occurrence
                AND gone.part = fact.part)
    ) AS version
) AS followed
WHERE removed_by <= added_by OR next_added_by < removed_by OR (removed_by IS NULL AND next_added_by IS NOT NULL)
ORDER BY row_hash, occurrence, part, added_by LIMIT 1

-- name: sum_rows_as_of
-- Gross and net cost of the raw rows after each publication. A cost that is not a number counts as nothing here.
WITH item AS (
    SELECT added_by, NULL::bigint AS removed_by, row_data FROM {raw} WHERE statement_id = $1
    UNION ALL
    SELECT added_by, removed_by, row_data FROM {raw_history} WHERE statement_id = $1
),
summed AS (
    SELECT added_by, removed_by,
        coalesce(item."lineItem/CurrencyCode", item.line_item_currency_code, item."BillingCurrency", statement.currency)
            AS currency,
        sum(billfold_number(coalesce(item."lineItem/UnblendedCost", item.line_item_unblended_cost, item."BilledCost")))
            AS gross_cost,
        sum(billfold_number(coalesce(item."lineItem/NetUnblendedCost", item.line_item_net_unblended_cost))) AS net_cost
    FROM item AS raw, billing_statements AS statement,
        json_to_record(CASE WHEN json_typeof(raw.row_data) = 'object' THEN raw.row_data ELSE json_build_object() END) AS item (
            "lineItem/CurrencyCode" text, line_item_currency_code text, "BillingCurrency" text,
            "lineItem/UnblendedCost" text, line_item_unblended_cost text, "BilledCost" text,
            "lineItem/NetUnblendedCost" text, line_item_net_unblended_cost text)
    WHERE statement.statement_id = $1
    GROUP BY 1, 2, 3
),
moved AS (
    SELECT publication_id, currency, sum(gross_cost) AS gross_cost, sum(net_cost) AS net_cost FROM (
        SELECT added_by AS publication_id, currency, gross_cost, net_cost FROM summed
        UNION ALL
        SELECT removed_by, currency, -gross_cost, -net_cost FROM summed WHERE removed_by IS NOT NULL
    ) AS each_moved GROUP BY 1, 2
)
SELECT publication_id, currency, coalesce(sum(gross_cost) OVER up_to, 0)::text,
    coalesce(sum(net_cost) OVER up_to, 0)::text
FROM (SELECT publication_id FROM billing_publications WHERE statement_id = $1) AS publication
CROSS JOIN (SELECT DISTINCT currency FROM moved) AS known
FULL JOIN moved USING (publication_id, currency)
WINDOW up_to AS (PARTITION BY currency ORDER BY publication_id)
ORDER BY 1, 2

-- name: has_withdrawn
SELECT EXISTS (SELECT FROM {raw_history} WHERE statement_id = $1)
    OR EXISTS (SELECT FROM {fact_history} WHERE statement_id = $1)
    OR EXISTS (SELECT FROM {split_history} WHERE statement_id = $1)

-- name: find_charge_without_version
-- A withdrawn charge was current no longer than one version of its row; a remap withdraws charges of rows that stay.
-- The residual of Savings Plans (occurrence 0) came from many rows.
SELECT row_hash::text, occurrence, part::integer, removed_by FROM {fact_history} AS gone
WHERE statement_id = $1 AND occurrence <> 0 AND NOT EXISTS (
    SELECT FROM (
        SELECT row_hash, occurrence, added_by, NULL::bigint AS removed_by FROM {raw} WHERE statement_id = $1
        UNION ALL
        SELECT row_hash, occurrence, added_by, removed_by FROM {raw_history} WHERE statement_id = $1
    ) AS version
    WHERE version.row_hash = gone.row_hash AND version.occurrence = gone.occurrence
        AND version.added_by <= gone.added_by AND coalesce(version.removed_by >= gone.removed_by, true))
ORDER BY 1, 2, 3, 4 LIMIT 1

-- name: list_hash_versions
SELECT DISTINCT hash_version::integer FROM billing_publications
WHERE publication_id IN (SELECT added_by FROM {raw_history} WHERE statement_id = $1)
ORDER BY 1

-- name: stream_withdrawn
-- Every withdrawn row, and the current rows of withdrawn charges. One row may have several versions: here each has a
-- number of its own. The statement's id is part of the text, as in stream_rows.
SELECT row_hash, (row_number() OVER ())::integer AS occurrence, row_data::text AS row_data FROM (
    SELECT row_hash, row_data FROM {raw_history} WHERE statement_id = {statement_id}
    UNION ALL
    SELECT row_hash, row_data FROM {raw} AS raw
    WHERE statement_id = {statement_id}
        AND (EXISTS (
            SELECT FROM {fact_history} AS charge WHERE charge.statement_id = {statement_id}
                AND charge.row_hash = raw.row_hash AND charge.occurrence = raw.occurrence)
        OR EXISTS (
            SELECT FROM {split_history} AS split WHERE split.statement_id = {statement_id}
                AND split.row_hash = raw.row_hash AND split.occurrence = raw.occurrence))
        AND NOT EXISTS (
            SELECT FROM {raw_history} AS gone WHERE gone.statement_id = {statement_id} AND gone.row_hash = raw.row_hash)
) AS version

-- name: find_versions
SELECT occurrence, removed_by, source_s3_key FROM {raw_history}
WHERE statement_id = $1 AND row_hash = $2::text::uuid ORDER BY added_by, occurrence LIMIT 2

-- name: list_bases
-- The cost bases that withdrawn charges were made on by this version of the mapping ($2).
SELECT DISTINCT cost_basis FROM billing_publications
WHERE mapping_version = $2 AND publication_id IN (
    SELECT added_by FROM {fact_history} WHERE statement_id = $1
    UNION ALL
    SELECT added_by FROM {split_history} WHERE statement_id = $1)
ORDER BY 1

-- name: count_other_mappings
-- Withdrawn charges that another version of the mapping made.
SELECT count(*)::bigint FROM {fact_history} AS charge JOIN billing_publications AS publication
    ON publication.publication_id = charge.added_by
WHERE charge.statement_id = $1 AND publication.mapping_version <> $2

-- name: list_withdrawn_residuals
-- The residuals of Savings Plans, as charged.
SELECT DISTINCT coalesce(account.account_id, ''), charge.billing_currency, charge.billed_cost::text
FROM {fact_history} AS charge
JOIN billing_publications AS publication ON publication.publication_id = charge.added_by
LEFT JOIN dim_account AS account ON account.account_key = charge.billing_account_key
WHERE charge.statement_id = $1 AND charge.occurrence = 0 AND publication.cost_basis = $2
    AND publication.mapping_version = $3
ORDER BY 1, 2, 3

-- name: find_withdrawn_difference
-- The first withdrawn charge that differs from the mapping of its line item. All versions of a row map alike; a
-- residual (occurrence 0) is found by its amount, which the sums of the publications prove.
SELECT row_hash::text, occurrence, part::integer, removed_by, expected IS NOT NULL, true, name,
    trim('"' FROM wanted::text), trim('"' FROM found::text)
FROM (
    SELECT held.row_hash, held.occurrence, held.part, held.removed_by,
        to_jsonb(expected) - ARRAY['added_by', 'occurrence'] AS expected,
        to_jsonb(held) - ARRAY['added_by', 'occurrence', 'removed_by'] AS held
    FROM (
        SELECT charge.* FROM {fact_history} AS charge
        JOIN billing_publications AS publication ON publication.publication_id = charge.added_by
        WHERE charge.statement_id = $1 AND publication.cost_basis = $2 AND publication.mapping_version = $3
    ) AS held
    LEFT JOIN expected_charge AS expected ON expected.row_hash = held.row_hash AND expected.part = held.part
        AND (expected.occurrence = 0) = (held.occurrence = 0)
        AND (held.occurrence <> 0 OR expected.billed_cost = held.billed_cost)
    WHERE ROW(
            expected.statement_id, expected.billing_period, expected.charge_period_start, expected.charge_period_end,
            expected.billing_account_key, expected.sub_account_key, expected.service_key, expected.region_key,
            expected.resource_key, expected.sku_key, expected.charge_key, expected.commitment_key,
            expected.tag_set_key, expected.billing_currency, expected.billed_cost, expected.effective_cost,
            expected.list_cost, expected.contracted_cost, expected.list_unit_price, expected.contracted_unit_price,
            expected.pricing_quantity, expected.consumed_quantity, expected.commitment_discount_quantity,
            expected.invoice_id, expected.pricing_currency, expected.pricing_currency_effective_cost,
            expected.pricing_currency_list_unit_price, expected.pricing_currency_contracted_unit_price,
            expected.capacity_reservation_id, expected.capacity_reservation_status, expected.discounts)
        IS DISTINCT FROM ROW(
            held.statement_id, held.billing_period, held.charge_period_start, held.charge_period_end,
            held.billing_account_key, held.sub_account_key, held.service_key, held.region_key,
            held.resource_key, held.sku_key, held.charge_key, held.commitment_key,
            held.tag_set_key, held.billing_currency, held.billed_cost, held.effective_cost,
            held.list_cost, held.contracted_cost, held.list_unit_price, held.contracted_unit_price,
            held.pricing_quantity, held.consumed_quantity, held.commitment_discount_quantity,
            held.invoice_id, held.pricing_currency, held.pricing_currency_effective_cost,
            held.pricing_currency_list_unit_price, held.pricing_currency_contracted_unit_price,
            held.capacity_reservation_id, held.capacity_reservation_status, held.discounts)
    ORDER BY row_hash, occurrence, part, removed_by LIMIT 1
) AS differing
LEFT JOIN LATERAL (
    SELECT name, wanted, found
    FROM jsonb_each(expected) AS of_expected (name, wanted) FULL JOIN jsonb_each(held) AS of_held (name, found) USING (name)
    WHERE wanted IS DISTINCT FROM found
    ORDER BY name LIMIT 1
) AS differing_column ON true
