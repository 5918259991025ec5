-- What `billfold verify` reads of a statement's split cost allocation. {split} and {split_history} are the partitions of the
-- statement's month.

-- name: has_split_costs
SELECT EXISTS (SELECT FROM {split} WHERE statement_id = $1)
    OR EXISTS (SELECT FROM {split_history} WHERE statement_id = $1)

-- name: create_expected_split
-- As the table, without its constraints.
CREATE TEMP TABLE expected_split ON COMMIT DROP AS SELECT * FROM billing_split_cost WITH NO DATA

-- name: drop_expected_split
DROP TABLE IF EXISTS expected_split

-- name: analyze_expected_split
ANALYZE expected_split (row_hash, occurrence, part, allocation)

-- name: find_split_sum
-- The first parent and charge period whose rows do not sum to zero.
SELECT parent_resource_id, charge_period_start::text, billing_currency, sum(cost)::text
FROM {split} AS split LEFT JOIN dim_account AS account ON account.account_key = split.sub_account_key
WHERE statement_id = $1
GROUP BY account.account_id, parent_resource_id, charge_period_start, charge_period_end, billing_currency
HAVING sum(cost) <> 0
ORDER BY 1, 2, 3 LIMIT 1

-- name: find_split_parent
-- The first parent that is not a charge with the opposite sign.
SELECT split.row_hash::text, split.occurrence, split.part::integer, (-fact.effective_cost)::text, split.cost::text
FROM {split} AS split
LEFT JOIN {fact} AS fact
    ON fact.statement_id = $1 AND fact.row_hash = split.row_hash AND fact.occurrence = split.occurrence
    AND fact.part = split.part
WHERE split.statement_id = $1 AND split.allocation = 'parent'
    AND split.cost IS DISTINCT FROM -fact.effective_cost
ORDER BY 1, 2, 3 LIMIT 1

-- name: find_split_without_row
SELECT row_hash::text, occurrence, part::integer FROM {split} AS split
WHERE statement_id = $1 AND allocation = 'workload' AND NOT EXISTS (
    SELECT FROM {raw} AS raw
    WHERE raw.statement_id = $1 AND raw.row_hash = split.row_hash AND raw.occurrence = split.occurrence
        AND raw.added_by <= split.added_by)
ORDER BY 1, 2, 3 LIMIT 1

-- name: find_split_key
-- There are no foreign keys: each key must have a member.
WITH held AS MATERIALIZED (
    SELECT billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, commitment_key,
        tag_set_key
    FROM {split} WHERE statement_id = $1
    UNION
    SELECT billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, commitment_key,
        tag_set_key
    FROM {split_history} WHERE statement_id = $1
)
SELECT name, key::text FROM (
    SELECT 'billing_account_key' AS name, billing_account_key AS key FROM held
    WHERE billing_account_key NOT IN (SELECT account_key FROM dim_account)
    UNION ALL
    SELECT 'sub_account_key', sub_account_key FROM held WHERE sub_account_key NOT IN (SELECT account_key FROM dim_account)
    UNION ALL
    SELECT 'service_key', service_key FROM held WHERE service_key NOT IN (SELECT service_key FROM dim_service)
    UNION ALL
    SELECT 'region_key', region_key FROM held WHERE region_key NOT IN (SELECT region_key FROM dim_region)
    UNION ALL
    SELECT 'resource_key', resource_key FROM held WHERE resource_key NOT IN (SELECT resource_key FROM dim_resource)
    UNION ALL
    SELECT 'sku_key', sku_key FROM held WHERE sku_key NOT IN (SELECT sku_key FROM dim_sku)
    UNION ALL
    SELECT 'charge_key', charge_key FROM held WHERE charge_key NOT IN (SELECT charge_key FROM dim_charge)
    UNION ALL
    SELECT 'commitment_key', commitment_key FROM held
    WHERE commitment_key NOT IN (SELECT commitment_key FROM dim_commitment)
    UNION ALL
    SELECT 'tag_set_key', tag_set_key FROM held WHERE tag_set_key NOT IN (SELECT tag_set_key FROM dim_tag_set)
) AS unknown WHERE key IS NOT NULL ORDER BY 1, 2 LIMIT 1

-- name: find_split_difference
-- The first row that differs from the mapping of its line item or of its parent's charges, and the first such column.
SELECT row_hash::text, occurrence, part::integer, NULL::bigint, expected IS NOT NULL, held IS NOT NULL, name,
    trim('"' FROM wanted::text), trim('"' FROM found::text)
FROM (
    SELECT row_hash, occurrence, part, to_jsonb(expected) - 'added_by' AS expected, to_jsonb(held) - 'added_by' AS held
    FROM expected_split AS expected
    FULL JOIN (SELECT * FROM {split} WHERE statement_id = $1) AS held USING (row_hash, occurrence, part, allocation)
    WHERE ROW(
            expected.statement_id, expected.billing_period, expected.charge_period_start, expected.charge_period_end,
            expected.billing_account_key, expected.sub_account_key, expected.service_key, expected.region_key,
            expected.resource_key, expected.sku_key, expected.charge_key, expected.commitment_key, expected.tag_set_key,
            expected.parent_resource_id, expected.has_parent, expected.billing_currency, expected.cost,
            expected.split_cost, expected.unused_cost, expected.public_on_demand_split_cost,
            expected.public_on_demand_unused_cost, expected.split_usage, expected.actual_usage, expected.reserved_usage,
            expected.split_usage_ratio)
        IS DISTINCT FROM ROW(
            held.statement_id, held.billing_period, held.charge_period_start, held.charge_period_end,
            held.billing_account_key, held.sub_account_key, held.service_key, held.region_key, held.resource_key,
            held.sku_key, held.charge_key, held.commitment_key, held.tag_set_key, held.parent_resource_id,
            held.has_parent, held.billing_currency, held.cost, held.split_cost, held.unused_cost,
            held.public_on_demand_split_cost, held.public_on_demand_unused_cost, held.split_usage, held.actual_usage,
            held.reserved_usage, held.split_usage_ratio)
    ORDER BY row_hash, occurrence, part, allocation LIMIT 1
) AS differing
LEFT JOIN LATERAL (
    SELECT name, wanted, found
    FROM jsonb_each(expected) AS of_expected (name, wanted) FULL JOIN jsonb_each(held) AS of_held (name, found) USING (name)
    WHERE wanted IS DISTINCT FROM found
    ORDER BY name LIMIT 1
) AS differing_column ON true

-- name: find_split_move
-- The first parent and charge period for which a publication's additions less its withdrawals are not zero. Publications
-- up to $2 are left out: withdrawals up to then may be pruned.
SELECT publication_id, parent_resource_id, charge_period_start::text, billing_currency, sum(cost)::text
FROM (
    SELECT added_by AS publication_id, sub_account_key, parent_resource_id, charge_period_start, charge_period_end,
        billing_currency, cost
    FROM {split} WHERE statement_id = $1 AND added_by > $2
    UNION ALL
    SELECT added_by, sub_account_key, parent_resource_id, charge_period_start, charge_period_end, billing_currency, cost
    FROM {split_history} WHERE statement_id = $1 AND added_by > $2
    UNION ALL
    SELECT removed_by, sub_account_key, parent_resource_id, charge_period_start, charge_period_end, billing_currency, -cost
    FROM {split_history} WHERE statement_id = $1 AND removed_by > $2
) AS moved
LEFT JOIN dim_account AS account ON account.account_key = moved.sub_account_key
GROUP BY publication_id, account.account_id, parent_resource_id, charge_period_start, charge_period_end, billing_currency
HAVING sum(cost) <> 0
ORDER BY 1, 2, 3, 4 LIMIT 1

-- name: find_split_stranger
-- The first row that is not marked by a publication of the statement.
SELECT row_hash::text, occurrence, part::integer, name, publication_id
FROM (
    SELECT row_hash, occurrence, part, 'added_by' AS name, added_by AS publication_id FROM {split} WHERE statement_id = $1
    UNION ALL
    SELECT row_hash, occurrence, part, 'added_by', added_by FROM {split_history} WHERE statement_id = $1
    UNION ALL
    SELECT row_hash, occurrence, part, 'removed_by', removed_by FROM {split_history} WHERE statement_id = $1
) AS marked
WHERE publication_id NOT IN (SELECT publication_id FROM billing_publications WHERE statement_id = $1)
ORDER BY 1, 2, 3, 4 LIMIT 1

-- name: find_split_out_of_order
SELECT row_hash::text, occurrence, part::integer, added_by, removed_by, next_added_by FROM (
    SELECT row_hash, occurrence, part, allocation, added_by, removed_by, lead(added_by) OVER (
        PARTITION BY row_hash, occurrence, part, allocation ORDER BY added_by, removed_by NULLS LAST) AS next_added_by
    FROM (
        SELECT row_hash, occurrence, part, allocation, added_by, removed_by FROM {split_history} WHERE statement_id = $1
        UNION ALL
        SELECT row_hash, occurrence, part, allocation, added_by, NULL FROM {split} AS split
        WHERE statement_id = $1 AND EXISTS (
            SELECT FROM {split_history} AS gone
            WHERE gone.statement_id = $1 AND gone.row_hash = split.row_hash AND gone.occurrence = split.occurrence
                AND gone.part = split.part AND gone.allocation = split.allocation)
    ) AS version
) AS followed
WHERE removed_by <= added_by OR next_added_by < removed_by OR (removed_by IS NULL AND next_added_by IS NOT NULL)
ORDER BY row_hash, occurrence, part, added_by LIMIT 1

-- name: find_split_without_version
-- A withdrawn workload was current no longer than one version of its line item.
SELECT row_hash::text, occurrence, part::integer, removed_by FROM {split_history} AS gone
WHERE statement_id = $1 AND allocation = 'workload' AND NOT EXISTS (
    SELECT FROM (
        SELECT row_hash, occurrence, added_by, NULL::bigint AS removed_by FROM {raw} WHERE statement_id = $1
        UNION ALL
        SELECT row_hash, occurrence, added_by, removed_by FROM {raw_history} WHERE statement_id = $1
    ) AS version
    WHERE version.row_hash = gone.row_hash AND version.occurrence = gone.occurrence
        AND version.added_by <= gone.added_by AND coalesce(version.removed_by >= gone.removed_by, true))
ORDER BY 1, 2, 3, 4 LIMIT 1

-- name: find_withdrawn_split_difference
-- The first withdrawn workload that differs from the mapping of its line item. All versions of a row map alike; only its
-- parent decides whether it cost anything.
SELECT row_hash::text, occurrence, part::integer, removed_by, expected IS NOT NULL, true, name,
    trim('"' FROM wanted::text), trim('"' FROM found::text)
FROM (
    SELECT held.row_hash, held.occurrence, held.part, held.removed_by,
        to_jsonb(expected) - ARRAY['added_by', 'occurrence', 'has_parent', 'cost']
            || jsonb_build_object('cost', CASE WHEN held.has_parent
                THEN coalesce(expected.split_cost, 0) + coalesce(expected.unused_cost, 0) ELSE 0 END) AS expected,
        to_jsonb(held) - ARRAY['added_by', 'occurrence', 'has_parent', 'removed_by'] AS held
    FROM (
        SELECT split.* FROM {split_history} AS split
        JOIN billing_publications AS publication ON publication.publication_id = split.added_by
        WHERE split.statement_id = $1 AND split.allocation = 'workload' AND publication.cost_basis = $2
            AND publication.mapping_version = $3
    ) AS held
    LEFT JOIN expected_split AS expected ON expected.row_hash = held.row_hash AND expected.part = held.part
    WHERE ROW(
            expected.statement_id, expected.billing_period, expected.charge_period_start, expected.charge_period_end,
            expected.billing_account_key, expected.sub_account_key, expected.service_key, expected.region_key,
            expected.resource_key, expected.sku_key, expected.charge_key, expected.commitment_key, expected.tag_set_key,
            expected.parent_resource_id, expected.billing_currency,
            CASE WHEN held.has_parent THEN coalesce(expected.split_cost, 0) + coalesce(expected.unused_cost, 0) ELSE 0 END,
            expected.split_cost, expected.unused_cost, expected.public_on_demand_split_cost,
            expected.public_on_demand_unused_cost, expected.split_usage, expected.actual_usage, expected.reserved_usage,
            expected.split_usage_ratio)
        IS DISTINCT FROM ROW(
            held.statement_id, held.billing_period, held.charge_period_start, held.charge_period_end,
            held.billing_account_key, held.sub_account_key, held.service_key, held.region_key, held.resource_key,
            held.sku_key, held.charge_key, held.commitment_key, held.tag_set_key, held.parent_resource_id,
            held.billing_currency, held.cost, held.split_cost, held.unused_cost, held.public_on_demand_split_cost,
            held.public_on_demand_unused_cost, held.split_usage, held.actual_usage, held.reserved_usage,
            held.split_usage_ratio)
    ORDER BY held.row_hash, held.occurrence, held.part, held.removed_by LIMIT 1
) AS differing
LEFT JOIN LATERAL (
    SELECT name, wanted, found
    FROM jsonb_each(expected) AS of_expected (name, wanted) FULL JOIN jsonb_each(held) AS of_held (name, found) USING (name)
    WHERE wanted IS DISTINCT FROM found
    ORDER BY name LIMIT 1
) AS differing_column ON true
