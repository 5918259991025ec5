-- Split cost allocation of one publication: the workloads, the charges of their parents, and what is not allocated.
-- {split} is the month's partition, {split_history} its history, {fact} that of the charges.

-- name: has_split
SELECT EXISTS (SELECT FROM {split} WHERE statement_id = $1)

-- name: create_split_staging
CREATE TEMP TABLE split_staging (
    statement_id integer, billing_period date, added_by bigint, row_hash uuid, occurrence integer, part smallint,
    charge_period_start timestamptz, charge_period_end timestamptz, billing_currency text, parent_resource_id text,
    split_cost text, unused_cost text, public_on_demand_split_cost text, public_on_demand_unused_cost text,
    split_usage text, actual_usage text, reserved_usage text, split_usage_ratio text,
    billing_account_key integer, sub_account_key integer, service_key integer, region_key integer, resource_key integer,
    sku_key integer, charge_key integer, commitment_key integer, tag_set_key integer
) ON COMMIT DROP

-- name: create_split_place
-- The unit that is split: the cost of one parent in one charge period, in the account that uses it.
CREATE TEMP TABLE split_place (
    account_id text, parent_resource_id text, charge_period_start timestamptz, charge_period_end timestamptz,
    billing_currency text
) ON COMMIT DROP

-- name: create_split_parent
-- The charges that are split, each with its place.
CREATE TEMP TABLE split_parent (LIKE billing_usage_fact, account_id text, parent_resource_id text) ON COMMIT DROP

-- name: create_split_flip
-- The workloads whose parent was added to the bill, or removed.
CREATE TEMP TABLE split_flip (row_hash uuid, occurrence integer, part smallint, has_parent boolean) ON COMMIT DROP

-- name: create_split_due
-- The rows that are due beside the workloads.
CREATE TEMP TABLE split_due (LIKE billing_split_cost) ON COMMIT DROP

-- name: analyze_split_staging
ANALYZE split_staging (row_hash, parent_resource_id, charge_period_start)

-- name: analyze_split_place
ANALYZE split_place

-- name: analyze_split_parent
ANALYZE split_parent (row_hash, account_id, parent_resource_id, charge_period_start)

-- name: analyze_split_due
ANALYZE split_due (row_hash, occurrence, part, allocation)

-- name: prefer_hashing
-- A partition that was never analysed looks empty: rows would be looked up one by one.
SELECT set_config('enable_nestloop', 'off', true)

-- name: allow_lookups
SELECT set_config('enable_nestloop', 'on', true)

-- name: withdraw_workloads
WITH withdrawn AS (
    DELETE FROM {split} AS split USING removed_row AS removed
    WHERE split.statement_id = $1 AND split.row_hash = removed.row_hash AND split.occurrence = removed.occurrence
        AND split.allocation = 'workload'
    RETURNING split.*
)
INSERT INTO {split_history} SELECT withdrawn.*, $2::bigint FROM withdrawn

-- name: withdraw_all_workloads
WITH withdrawn AS (
    DELETE FROM {split} AS split WHERE split.statement_id = $1 AND split.allocation = 'workload' RETURNING split.*
)
INSERT INTO {split_history} SELECT withdrawn.*, $2::bigint FROM withdrawn

-- name: find_places
INSERT INTO split_place (account_id, parent_resource_id, charge_period_start, charge_period_end, billing_currency)
SELECT DISTINCT account.account_id, workload.parent_resource_id, workload.charge_period_start,
    workload.charge_period_end, workload.billing_currency
FROM (
    SELECT sub_account_key, parent_resource_id, charge_period_start, charge_period_end, billing_currency
    FROM {split} WHERE statement_id = $1 AND allocation = 'workload'
    UNION ALL
    SELECT sub_account_key, parent_resource_id, charge_period_start, charge_period_end, billing_currency
    FROM split_staging
) AS workload
JOIN dim_account AS account ON account.account_key = workload.sub_account_key
WHERE workload.parent_resource_id IS NOT NULL

-- name: find_parents
-- AWS splits the amortised cost of the instance's hours alone: not data transfer, CPU credits or software (A). Hours have
-- usage types such as BoxUsage:m5.large, or the product family (I). In an export without any of these columns, all usage
-- of the resource counts (I).
INSERT INTO split_parent
SELECT fact.*, place.account_id, place.parent_resource_id
FROM {fact} AS fact
JOIN dim_resource AS resource ON resource.resource_key = fact.resource_key
JOIN dim_account AS account ON account.account_key = fact.sub_account_key
JOIN split_place AS place
    ON place.parent_resource_id = resource.resource_id AND place.account_id = account.account_id
    AND place.charge_period_start = fact.charge_period_start AND place.charge_period_end = fact.charge_period_end
    AND place.billing_currency = fact.billing_currency
JOIN dim_charge AS charge ON charge.charge_key = fact.charge_key
LEFT JOIN dim_sku AS sku ON sku.sku_key = fact.sku_key
WHERE fact.statement_id = $1 AND fact.part = 0
    AND charge.line_item_type IN ('Usage', 'SavingsPlanCoveredUsage', 'DiscountedUsage')
    AND CASE
        WHEN sku.sku_meter ~ '(^|-)(BoxUsage|SpotUsage|HeavyUsage|DedicatedUsage|HostBoxUsage)(:|$)' THEN true
        WHEN sku.sku_price_details ->> 'x_product_family' IS NOT NULL
            THEN sku.sku_price_details ->> 'x_product_family' LIKE 'Compute Instance%'
        ELSE sku.sku_meter IS NULL AND coalesce(sku.operation LIKE 'RunInstances%', true)
    END

-- name: insert_workloads
INSERT INTO {split} (
    statement_id, billing_period, row_hash, occurrence, part, allocation, added_by, charge_period_start, charge_period_end,
    billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, commitment_key,
    tag_set_key, parent_resource_id, has_parent, billing_currency, cost, split_cost, unused_cost,
    public_on_demand_split_cost, public_on_demand_unused_cost, split_usage, actual_usage, reserved_usage,
    split_usage_ratio
)
SELECT
    workload.statement_id, workload.billing_period, workload.row_hash, workload.occurrence, workload.part, 'workload',
    workload.added_by, workload.charge_period_start, workload.charge_period_end, workload.billing_account_key,
    workload.sub_account_key, workload.service_key, workload.region_key, workload.resource_key, workload.sku_key,
    workload.charge_key, workload.commitment_key, workload.tag_set_key, workload.parent_resource_id,
    found.account_id IS NOT NULL, workload.billing_currency,
    CASE WHEN found.account_id IS NOT NULL THEN coalesce(workload.split_cost::numeric, 0) + coalesce(workload.unused_cost::numeric, 0)
        ELSE 0 END,
    workload.split_cost::numeric, workload.unused_cost::numeric, workload.public_on_demand_split_cost::numeric,
    workload.public_on_demand_unused_cost::numeric, workload.split_usage::numeric, workload.actual_usage::numeric,
    workload.reserved_usage::numeric, workload.split_usage_ratio::numeric
FROM split_staging AS workload
LEFT JOIN dim_account AS account ON account.account_key = workload.sub_account_key
LEFT JOIN (
    SELECT DISTINCT account_id, parent_resource_id, charge_period_start, charge_period_end, billing_currency
    FROM split_parent
) AS found
    ON found.account_id = account.account_id AND found.parent_resource_id = workload.parent_resource_id
    AND found.charge_period_start = workload.charge_period_start
    AND found.charge_period_end = workload.charge_period_end AND found.billing_currency = workload.billing_currency

-- name: find_flips
INSERT INTO split_flip (row_hash, occurrence, part, has_parent)
SELECT workload.row_hash, workload.occurrence, workload.part, found.account_id IS NOT NULL
FROM {split} AS workload
LEFT JOIN dim_account AS account ON account.account_key = workload.sub_account_key
LEFT JOIN (
    SELECT DISTINCT account_id, parent_resource_id, charge_period_start, charge_period_end, billing_currency
    FROM split_parent
) AS found
    ON found.account_id = account.account_id AND found.parent_resource_id = workload.parent_resource_id
    AND found.charge_period_start = workload.charge_period_start
    AND found.charge_period_end = workload.charge_period_end AND found.billing_currency = workload.billing_currency
WHERE workload.statement_id = $1 AND workload.allocation = 'workload'
    AND workload.has_parent IS DISTINCT FROM (found.account_id IS NOT NULL)

-- name: withdraw_flipped
WITH withdrawn AS (
    DELETE FROM {split} AS split USING split_flip AS flip
    WHERE split.statement_id = $1 AND split.allocation = 'workload' AND split.row_hash = flip.row_hash
        AND split.occurrence = flip.occurrence AND split.part = flip.part
    RETURNING split.*
)
INSERT INTO {split_history} SELECT withdrawn.*, $2::bigint FROM withdrawn

-- name: insert_flipped
-- The same workload, with its cost if its parent was added, without if it was removed.
INSERT INTO {split} (
    statement_id, billing_period, row_hash, occurrence, part, allocation, added_by, charge_period_start, charge_period_end,
    billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, commitment_key,
    tag_set_key, parent_resource_id, has_parent, billing_currency, cost, split_cost, unused_cost,
    public_on_demand_split_cost, public_on_demand_unused_cost, split_usage, actual_usage, reserved_usage,
    split_usage_ratio
)
SELECT
    gone.statement_id, gone.billing_period, gone.row_hash, gone.occurrence, gone.part, gone.allocation, $2::bigint,
    gone.charge_period_start, gone.charge_period_end, gone.billing_account_key, gone.sub_account_key, gone.service_key,
    gone.region_key, gone.resource_key, gone.sku_key, gone.charge_key, gone.commitment_key, gone.tag_set_key,
    gone.parent_resource_id, flip.has_parent, gone.billing_currency,
    CASE WHEN flip.has_parent THEN coalesce(gone.split_cost, 0) + coalesce(gone.unused_cost, 0) ELSE 0 END,
    gone.split_cost, gone.unused_cost, gone.public_on_demand_split_cost, gone.public_on_demand_unused_cost,
    gone.split_usage, gone.actual_usage, gone.reserved_usage, gone.split_usage_ratio
FROM split_flip AS flip
JOIN {split_history} AS gone ON gone.row_hash = flip.row_hash AND gone.occurrence = flip.occurrence AND gone.part = flip.part
WHERE gone.statement_id = $1 AND gone.removed_by = $2 AND gone.allocation = 'workload'
    AND gone.has_parent IS DISTINCT FROM flip.has_parent

-- name: find_due
-- The parents' charges with the opposite sign, and for each parent the part that its workloads do not cost: under the
-- keys of its first charge, and the hash of a line item with only its account, resource, charge period and currency.
INSERT INTO split_due
SELECT
    statement_id, billing_period, row_hash, occurrence, part, 'parent', $2::bigint, charge_period_start, charge_period_end,
    billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, commitment_key,
    tag_set_key, parent_resource_id, true, billing_currency, -effective_cost
FROM split_parent
UNION ALL
SELECT
    statement_id, billing_period,
    md5('23:line_item_currency_code' || octet_length(billing_currency) || ':' || billing_currency
        || '21:line_item_resource_id' || octet_length(parent_resource_id) || ':' || parent_resource_id
        || '26:line_item_usage_account_id' || octet_length(account_id) || ':' || account_id
        || '24:line_item_usage_end_date' || extract(epoch FROM charge_period_end)
        || '26:line_item_usage_start_date' || extract(epoch FROM charge_period_start))::uuid,
    0, 0, 'not allocated', $2::bigint, charge_period_start, charge_period_end, billing_account_key, sub_account_key,
    service_key, region_key, resource_key, sku_key, charge_key, commitment_key, tag_set_key, parent_resource_id, true,
    billing_currency, effective_cost - coalesce(workload_cost, 0)
FROM (
    SELECT DISTINCT ON (account_id, parent_resource_id, charge_period_start, charge_period_end, billing_currency)
        account_id, parent_resource_id, charge_period_start, charge_period_end, billing_currency, statement_id,
        billing_period, billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key,
        commitment_key, tag_set_key,
        sum(effective_cost) OVER (
            PARTITION BY account_id, parent_resource_id, charge_period_start, charge_period_end, billing_currency
        ) AS effective_cost
    FROM split_parent
    ORDER BY account_id, parent_resource_id, charge_period_start, charge_period_end, billing_currency, row_hash,
        occurrence, part
) AS parent
LEFT JOIN (
    SELECT account.account_id, workload.parent_resource_id, workload.charge_period_start, workload.charge_period_end,
        workload.billing_currency, sum(workload.cost) AS workload_cost
    FROM {split} AS workload JOIN dim_account AS account ON account.account_key = workload.sub_account_key
    WHERE workload.statement_id = $1 AND workload.allocation = 'workload' AND workload.has_parent
    GROUP BY 1, 2, 3, 4, 5
) AS allocated
    USING (account_id, parent_resource_id, charge_period_start, charge_period_end, billing_currency)
WHERE effective_cost <> coalesce(workload_cost, 0)

-- name: withdraw_undue
-- The rows beside the workloads that are not due, or differ from the due ones.
WITH withdrawn AS (
    DELETE FROM {split} AS split
    WHERE split.statement_id = $1 AND split.allocation <> 'workload' AND NOT EXISTS (
        SELECT FROM split_due AS due
        WHERE due.row_hash = split.row_hash AND due.occurrence = split.occurrence AND due.part = split.part
            AND due.allocation = split.allocation
            AND (due.charge_period_start, due.charge_period_end, due.billing_account_key, due.service_key,
                    due.charge_key, due.parent_resource_id, due.billing_currency, due.cost)
                = (split.charge_period_start, split.charge_period_end, split.billing_account_key, split.service_key,
                    split.charge_key, split.parent_resource_id, split.billing_currency, split.cost)
            AND (due.sub_account_key, due.region_key, due.resource_key, due.sku_key, due.commitment_key, due.tag_set_key)
                IS NOT DISTINCT FROM (split.sub_account_key, split.region_key, split.resource_key, split.sku_key,
                    split.commitment_key, split.tag_set_key)
    )
    RETURNING split.*
)
INSERT INTO {split_history} SELECT withdrawn.*, $2::bigint FROM withdrawn

-- name: insert_due
INSERT INTO {split} SELECT due.* FROM split_due AS due
WHERE NOT EXISTS (
    SELECT FROM {split} AS split
    WHERE split.statement_id = $1 AND split.row_hash = due.row_hash AND split.occurrence = due.occurrence
        AND split.part = due.part AND split.allocation = due.allocation
)

-- name: drop_split
DROP TABLE split_staging, split_place, split_parent, split_flip, split_due

-- name: sum_split
-- By currency: the absolute amount that is not allocated, and the cost of workloads whose parents are not in the bill.
SELECT billing_currency,
    coalesce(sum(abs(cost)) FILTER (WHERE allocation = 'not allocated'), 0)::text,
    count(*) FILTER (WHERE NOT has_parent AND coalesce(split_cost, 0) + coalesce(unused_cost, 0) <> 0)::bigint,
    coalesce(sum(coalesce(split_cost, 0) + coalesce(unused_cost, 0)) FILTER (WHERE NOT has_parent), 0)::text
FROM {split} WHERE statement_id = $1
GROUP BY billing_currency ORDER BY billing_currency

-- name: withdraw_split_since
-- The rows added after the publication $3.
WITH withdrawn AS (DELETE FROM {split} AS split WHERE split.statement_id = $1 AND split.added_by > $3 RETURNING split.*)
INSERT INTO {split_history} SELECT withdrawn.*, $2::bigint FROM withdrawn

-- name: restore_split
INSERT INTO {split} (
    statement_id, billing_period, row_hash, occurrence, part, allocation, added_by, charge_period_start, charge_period_end,
    billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, commitment_key,
    tag_set_key, parent_resource_id, has_parent, billing_currency, cost, split_cost, unused_cost,
    public_on_demand_split_cost, public_on_demand_unused_cost, split_usage, actual_usage, reserved_usage,
    split_usage_ratio
)
SELECT
    statement_id, billing_period, row_hash, occurrence, part, allocation, $2::bigint, charge_period_start,
    charge_period_end, billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key,
    commitment_key, tag_set_key, parent_resource_id, has_parent, billing_currency, cost, split_cost, unused_cost,
    public_on_demand_split_cost, public_on_demand_unused_cost, split_usage, actual_usage, reserved_usage,
    split_usage_ratio
FROM {split_history} WHERE statement_id = $1 AND added_by <= $3 AND removed_by > $3
