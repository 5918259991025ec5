-- What `billfold verify` reads of one statement, all in one snapshot. Nothing but temporary tables is ever written.
-- {raw}, {fact} and their histories are the partitions of the statement's month.

-- name: list_statements
SELECT statement_id, client_id, export_name, billing_period FROM billing_statements
WHERE (%(client)s::text IS NULL OR client_id = %(client)s)
    AND (%(export)s::text IS NULL OR export_name = %(export)s)
    AND (%(period)s::date IS NULL OR billing_period = %(period)s)
    AND (%(statement_id)s::bigint IS NULL OR statement_id = %(statement_id)s)
ORDER BY billing_period, statement_id

-- name: begin
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ

-- name: prefer_hashing
-- A partition that was never analysed looks empty: a nested loop over it would never end.
SELECT set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true)

-- name: find_partitions
SELECT to_regclass('{raw}') IS NOT NULL AND to_regclass('{raw_history}') IS NOT NULL
    AND to_regclass('{fact}') IS NOT NULL AND to_regclass('{fact_history}') IS NOT NULL

-- name: read_statement
SELECT statement.bucket, statement.currency, statement.row_count, statement.hash_version::integer,
    statement.mapping_version::integer, statement.cost_basis, statement.current_publication_id,
    statement.current_delivery_id::text, client.role_arn, client.external_id, client.region, client.bucket,
    client.prefix, client.account_id, client.currency, client.source_identity, client.kms_key_arn, client.is_registered,
    client.max_file_bytes
FROM billing_statements AS statement JOIN billing_clients AS client USING (client_id)
WHERE statement_id = $1

-- name: list_publications
-- Withdrawals up to `remembered_since` may be pruned; states and additions are whole from then on.
SELECT publication_id, number, rows_before, rows_added, rows_removed, rows_after, charges_before, charges_after,
    billed_cost_before::text, billed_cost_after::text, gross_cost_after::text, net_cost_after::text,
    coalesce(published_at >= remembered_since, true), coalesce(published_at > remembered_since, true), kind,
    published_at, restored_publication_id
FROM billing_publications JOIN billing_statements USING (statement_id)
WHERE statement_id = $1 ORDER BY number

-- name: list_files
SELECT run.source_s3_key, run.source_etag, file.rows_read FROM billing_delivery_files AS file
JOIN billing_ingestion_runs AS run USING (ingestion_run_id)
WHERE file.delivery_id = $1::text::uuid ORDER BY file.file_number

-- name: stream_rows
-- The statement's id is part of the text: with a bound parameter the driver would hold the whole result in memory.
SELECT row_hash, occurrence, row_data::text AS row_data FROM {raw} WHERE statement_id = {statement_id}

-- name: find_row
SELECT source_s3_key FROM {raw}
WHERE statement_id = $1 AND row_hash = $2::text::uuid AND occurrence = $3::bigint

-- name: sum_charges
SELECT billing_currency, count(*)::bigint, sum(billed_cost)::text FROM {fact}
WHERE statement_id = $1 GROUP BY billing_currency

-- name: find_charge_without_row
-- The residual of Savings Plans (occurrence 0) comes from many rows.
SELECT row_hash::text, occurrence, part::integer FROM {fact} AS fact
WHERE statement_id = $1 AND occurrence <> 0 AND NOT EXISTS (
    SELECT FROM {raw} AS raw
    WHERE raw.statement_id = $1 AND raw.row_hash = fact.row_hash AND raw.occurrence = fact.occurrence
        AND raw.added_by <= fact.added_by)
ORDER BY 1, 2, 3 LIMIT 1

-- name: find_unknown_key
-- There are no foreign keys: each key must have a member.
SELECT row_hash::text, occurrence, part::integer, removed_by, role.name, role.key
FROM (
    SELECT NULL::bigint AS removed_by, statement_id, row_hash, occurrence, part, billing_account_key, sub_account_key,
        service_key, region_key, resource_key, sku_key, charge_key, commitment_key, tag_set_key
    FROM {fact}
    UNION ALL
    SELECT removed_by, statement_id, row_hash, occurrence, part, billing_account_key, sub_account_key, service_key,
        region_key, resource_key, sku_key, charge_key, commitment_key, tag_set_key
    FROM {fact_history}
) AS fact
LEFT JOIN dim_account AS billing_account ON billing_account.account_key = fact.billing_account_key
LEFT JOIN dim_account AS sub_account ON sub_account.account_key = fact.sub_account_key
LEFT JOIN dim_service AS service ON service.service_key = fact.service_key
LEFT JOIN dim_region AS region ON region.region_key = fact.region_key
LEFT JOIN dim_resource AS resource ON resource.resource_key = fact.resource_key
LEFT JOIN dim_sku AS sku ON sku.sku_key = fact.sku_key
LEFT JOIN dim_charge AS charge ON charge.charge_key = fact.charge_key
LEFT JOIN dim_commitment AS commitment ON commitment.commitment_key = fact.commitment_key
LEFT JOIN dim_tag_set AS tag_set ON tag_set.tag_set_key = fact.tag_set_key
CROSS JOIN LATERAL (VALUES
    ('billing_account_key', fact.billing_account_key, billing_account.account_key),
    ('sub_account_key', fact.sub_account_key, sub_account.account_key),
    ('service_key', fact.service_key, service.service_key),
    ('region_key', fact.region_key, region.region_key),
    ('resource_key', fact.resource_key, resource.resource_key),
    ('sku_key', fact.sku_key, sku.sku_key),
    ('charge_key', fact.charge_key, charge.charge_key),
    ('commitment_key', fact.commitment_key, commitment.commitment_key),
    ('tag_set_key', fact.tag_set_key, tag_set.tag_set_key)
) AS role (name, key, known)
WHERE fact.statement_id = $1
    AND (billing_account.account_key IS NULL
        OR (fact.sub_account_key IS NOT NULL AND sub_account.account_key IS NULL)
        OR service.service_key IS NULL
        OR (fact.region_key IS NOT NULL AND region.region_key IS NULL)
        OR (fact.resource_key IS NOT NULL AND resource.resource_key IS NULL)
        OR (fact.sku_key IS NOT NULL AND sku.sku_key IS NULL)
        OR charge.charge_key IS NULL
        OR (fact.commitment_key IS NOT NULL AND commitment.commitment_key IS NULL)
        OR (fact.tag_set_key IS NOT NULL AND tag_set.tag_set_key IS NULL))
    AND role.key IS NOT NULL AND role.known IS NULL
ORDER BY 1, 2, 3, 4 NULLS FIRST, 5 LIMIT 1

-- name: create_expected
-- As the facts, without their constraints: the charges of a damaged row must be comparable too.
CREATE TEMP TABLE expected_charge ON COMMIT DROP AS SELECT * FROM billing_usage_fact WITH NO DATA

-- name: drop_expected
DROP TABLE IF EXISTS expected_charge

-- name: drop_staging
DROP TABLE charge_staging

-- name: analyze_expected
ANALYZE expected_charge (row_hash, occurrence, part)

-- name: find_charge_difference
-- The first charge that differs from the mapping of its line item, and the first differing column; a side may be missing.
SELECT row_hash::text, occurrence, part::integer, NULL::bigint, expected IS NOT NULL, held IS NOT NULL, name,
    trim('"' FROM wanted::text), trim('"' FROM found::text)
FROM (
    SELECT row_hash, occurrence, part, to_jsonb(expected) - 'added_by' AS expected, to_jsonb(held) - 'added_by' AS held
    FROM expected_charge AS expected
    FULL JOIN (SELECT * FROM {fact} WHERE statement_id = $1) AS held USING (row_hash, occurrence, part)
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
    ORDER BY row_hash, occurrence, part LIMIT 1
) AS differing
LEFT JOIN LATERAL (
    SELECT name, wanted, found
    FROM jsonb_each(expected) AS of_expected (name, wanted) FULL JOIN jsonb_each(held) AS of_held (name, found) USING (name)
    WHERE wanted IS DISTINCT FROM found
    ORDER BY name LIMIT 1
) AS differing_column ON true

-- name: find_day_difference
-- The first key of the daily costs whose sums differ from the charges', or that only one side has. They distinguish sets
-- of tags if their tag_set_key is not always NULL.
SELECT jsonb_build_object('charge_date', charge_date, 'billing_account_key', billing_account_key, 'sub_account_key',
        sub_account_key, 'service_key', service_key, 'region_key', region_key, 'charge_key', charge_key,
        'tag_set_key', tag_set_key, 'billing_currency', billing_currency, 'billing_period', billing_period)::text,
    jsonb_build_object('billed_cost', sum(billed_cost) FILTER (WHERE is_charged), 'effective_cost', sum(effective_cost)
        FILTER (WHERE is_charged), 'list_cost', sum(list_cost) FILTER (WHERE is_charged), 'contracted_cost',
        sum(contracted_cost) FILTER (WHERE is_charged), 'charge_count', sum(charge_count) FILTER (WHERE is_charged))::text,
    jsonb_build_object('billed_cost', sum(billed_cost) FILTER (WHERE NOT is_charged), 'effective_cost',
        sum(effective_cost) FILTER (WHERE NOT is_charged), 'list_cost', sum(list_cost) FILTER (WHERE NOT is_charged),
        'contracted_cost', sum(contracted_cost) FILTER (WHERE NOT is_charged), 'charge_count',
        sum(charge_count) FILTER (WHERE NOT is_charged))::text
FROM (
    SELECT true AS is_charged, billing_period, (charge_period_start AT TIME ZONE 'UTC')::date AS charge_date,
        billing_account_key, sub_account_key, service_key, region_key, charge_key, {tag_set_key} AS tag_set_key,
        billing_currency, sum(billed_cost) AS billed_cost, sum(effective_cost) AS effective_cost, sum(list_cost) AS list_cost,
        sum(contracted_cost) AS contracted_cost, count(*) AS charge_count
    FROM {fact} WHERE statement_id = $1 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    UNION ALL
    SELECT false, billing_period, charge_date, billing_account_key, sub_account_key, service_key, region_key, charge_key,
        {tag_set_key}, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, charge_count
    FROM {daily_table} WHERE statement_id = $1
) AS summed
GROUP BY billing_period, charge_date, billing_account_key, sub_account_key, service_key, region_key, charge_key,
    tag_set_key, billing_currency
HAVING NOT (bool_or(is_charged) AND bool_or(NOT is_charged))
    OR ROW(sum(billed_cost) FILTER (WHERE is_charged), sum(effective_cost) FILTER (WHERE is_charged),
            sum(list_cost) FILTER (WHERE is_charged), sum(contracted_cost) FILTER (WHERE is_charged),
            sum(charge_count) FILTER (WHERE is_charged))
        IS DISTINCT FROM ROW(sum(billed_cost) FILTER (WHERE NOT is_charged),
            sum(effective_cost) FILTER (WHERE NOT is_charged), sum(list_cost) FILTER (WHERE NOT is_charged),
            sum(contracted_cost) FILTER (WHERE NOT is_charged), sum(charge_count) FILTER (WHERE NOT is_charged))
ORDER BY charge_date, billing_account_key, sub_account_key, service_key, region_key, charge_key, tag_set_key,
    billing_currency
LIMIT 1

-- name: find_restatement_difference
-- The first key of a publication's restatement that differs from the charges it added less those it withdrew.
-- Publications up to $2 are left out: the first one has none, and withdrawals up to a later one may be pruned.
SELECT publication_id,
    jsonb_build_object('charge_date', charge_date, 'billing_account_key', billing_account_key, 'sub_account_key',
        sub_account_key, 'service_key', service_key, 'region_key', region_key, 'charge_key', charge_key,
        'billing_currency', billing_currency, 'billing_period', billing_period)::text,
    jsonb_build_object('billed_cost', sum(billed_cost) FILTER (WHERE is_moved), 'effective_cost', sum(effective_cost)
        FILTER (WHERE is_moved), 'list_cost', sum(list_cost) FILTER (WHERE is_moved), 'contracted_cost',
        sum(contracted_cost) FILTER (WHERE is_moved), 'charge_count', sum(charge_count) FILTER (WHERE is_moved))::text,
    jsonb_build_object('billed_cost', sum(billed_cost) FILTER (WHERE NOT is_moved), 'effective_cost',
        sum(effective_cost) FILTER (WHERE NOT is_moved), 'list_cost', sum(list_cost) FILTER (WHERE NOT is_moved),
        'contracted_cost', sum(contracted_cost) FILTER (WHERE NOT is_moved), 'charge_count',
        sum(charge_count) FILTER (WHERE NOT is_moved))::text
FROM (
    SELECT true AS is_moved, publication_id, billing_period, (charge_period_start AT TIME ZONE 'UTC')::date AS charge_date,
        billing_account_key, sub_account_key, service_key, region_key, charge_key, billing_currency,
        sum(sign * billed_cost) AS billed_cost, sum(sign * effective_cost) AS effective_cost,
        sum(sign * list_cost) AS list_cost, sum(sign * contracted_cost) AS contracted_cost, sum(sign) AS charge_count
    FROM (
        SELECT 1 AS sign, added_by AS publication_id, billing_period, charge_period_start, billing_account_key,
            sub_account_key, service_key, region_key, charge_key, billing_currency, billed_cost, effective_cost,
            list_cost, contracted_cost
        FROM {fact} WHERE statement_id = $1 AND added_by > $2
        UNION ALL
        SELECT 1, added_by, billing_period, charge_period_start, billing_account_key, sub_account_key, service_key,
            region_key, charge_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost
        FROM {fact_history} WHERE statement_id = $1 AND added_by > $2
        UNION ALL
        SELECT -1, removed_by, billing_period, charge_period_start, billing_account_key, sub_account_key, service_key,
            region_key, charge_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost
        FROM {fact_history} WHERE statement_id = $1 AND removed_by > $2
    ) AS moved
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    HAVING sum(sign) <> 0 OR sum(sign * billed_cost) <> 0 OR sum(sign * effective_cost) <> 0
        OR sum(sign * list_cost) <> 0 OR sum(sign * contracted_cost) <> 0
    UNION ALL
    SELECT false, publication_id, billing_period, charge_date, billing_account_key, sub_account_key, service_key,
        region_key, charge_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, charge_count
    FROM billing_restatement WHERE statement_id = $1 AND publication_id > $2
) AS summed
GROUP BY publication_id, billing_period, charge_date, billing_account_key, sub_account_key, service_key, region_key,
    charge_key, billing_currency
HAVING NOT (bool_or(is_moved) AND bool_or(NOT is_moved))
    OR ROW(sum(billed_cost) FILTER (WHERE is_moved), sum(effective_cost) FILTER (WHERE is_moved),
            sum(list_cost) FILTER (WHERE is_moved), sum(contracted_cost) FILTER (WHERE is_moved),
            sum(charge_count) FILTER (WHERE is_moved))
        IS DISTINCT FROM ROW(sum(billed_cost) FILTER (WHERE NOT is_moved),
            sum(effective_cost) FILTER (WHERE NOT is_moved), sum(list_cost) FILTER (WHERE NOT is_moved),
            sum(contracted_cost) FILTER (WHERE NOT is_moved), sum(charge_count) FILTER (WHERE NOT is_moved))
ORDER BY publication_id, charge_date, billing_account_key, sub_account_key, service_key, region_key, charge_key,
    billing_currency
LIMIT 1

-- name: find_restatement_total
-- Pruned or not, a publication's restatement sums to the change of the totals; the first publication has none.
SELECT publication_id, coalesce(charge_count, 0)::bigint, charges_after - charges_before,
    coalesce(moved.billing_currency, said.billing_currency), coalesce(billed_cost, 0)::text, coalesce(difference, 0)::text
FROM (SELECT publication_id, number, charges_before, charges_after FROM billing_publications WHERE statement_id = $1)
    AS publication
LEFT JOIN (
    SELECT publication_id, billing_currency, sum(billed_cost) AS billed_cost FROM billing_restatement
    WHERE statement_id = $1 GROUP BY 1, 2
) AS moved USING (publication_id)
FULL JOIN (
    SELECT publication_id, billing_currency, sum(difference) AS difference FROM (
        SELECT publication_id, amount.key AS billing_currency, amount.value::numeric AS difference
        FROM billing_publications, jsonb_each_text(billed_cost_after) AS amount
        WHERE statement_id = $1 AND number > 1
        UNION ALL
        SELECT publication_id, amount.key, -amount.value::numeric
        FROM billing_publications, jsonb_each_text(billed_cost_before) AS amount
        WHERE statement_id = $1 AND number > 1
    ) AS amounts GROUP BY 1, 2
) AS said USING (publication_id, billing_currency)
LEFT JOIN (
    SELECT publication_id, sum(charge_count) AS charge_count FROM billing_restatement WHERE statement_id = $1 GROUP BY 1
) AS counted USING (publication_id)
WHERE coalesce(billed_cost, 0) <> coalesce(difference, 0)
    OR coalesce(charge_count, 0) <> CASE WHEN number = 1 THEN 0 ELSE charges_after - charges_before END
ORDER BY 1, 4 LIMIT 1

-- name: read_delivery
-- The current delivery with its counts, and the one that should be current: the last publication's, or a later
-- redelivery of the same rows.
SELECT publication.delivery_id::text, publication.kind = 'delivery', publication.rows_added, publication.rows_removed,
    coalesce(delivery.state = 'published' AND delivery.publication_id = publication.publication_id, false),
    coalesce(delivery.rows_read, 0), coalesce(delivery.rows_added, 0), coalesce(delivery.rows_removed, 0),
    coalesce(delivery.rows_unchanged, 0), file.rows_read, file.rows_inserted,
    (
        SELECT later.delivery_id::text FROM billing_deliveries AS later
        WHERE later.statement_id = $1 AND later.state = 'published'
            AND later.publication_id = publication.publication_id
            AND later.finished_at > greatest(publication.published_at, delivery.finished_at)
            AND later.delivered_at > delivery.delivered_at
        ORDER BY later.finished_at DESC LIMIT 1
    )
FROM billing_statements AS statement
JOIN billing_publications AS publication ON publication.statement_id = statement.statement_id
    AND publication.number = (SELECT max(number) FROM billing_publications WHERE statement_id = $1)
LEFT JOIN billing_deliveries AS delivery ON delivery.delivery_id = statement.current_delivery_id
    AND delivery.statement_id = statement.statement_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(rows_read), 0)::bigint AS rows_read, coalesce(sum(rows_inserted), 0)::bigint AS rows_inserted
    FROM billing_delivery_files WHERE delivery_id = delivery.delivery_id
) AS file
WHERE statement.statement_id = $1

-- name: find_foreign_source
-- The first raw row, current or withdrawn, whose source is not the file version of its run, or whose run is not one of
-- the delivery that added it. A rollback restores rows of several deliveries.
SELECT first_row.row_hash::text, first_row.occurrence, first_row.removed_by, name, expected, found
FROM (
    SELECT source.*, differing.* FROM (
        SELECT added_by, ingestion_run_id, source_bucket, source_s3_key, source_etag FROM {raw} WHERE statement_id = $1
        UNION
        SELECT added_by, ingestion_run_id, source_bucket, source_s3_key, source_etag
        FROM {raw_history} WHERE statement_id = $1
    ) AS source
    LEFT JOIN billing_publications AS publication ON publication.publication_id = source.added_by
        AND publication.statement_id = $1 AND publication.kind = 'delivery'
    LEFT JOIN billing_ingestion_runs AS run ON run.ingestion_run_id = source.ingestion_run_id
    CROSS JOIN LATERAL (VALUES
        ('ingestion_run_id', 'a run of ' || coalesce('delivery ' || publication.delivery_id, 'a delivery'),
            source.ingestion_run_id::text,
            run.ingestion_run_id IS NULL OR publication.publication_id IS NOT NULL AND NOT EXISTS (
                SELECT FROM billing_delivery_files AS file WHERE file.delivery_id = publication.delivery_id
                    AND file.ingestion_run_id = source.ingestion_run_id)),
        ('source_bucket', run.source_bucket, source.source_bucket, run.source_bucket <> source.source_bucket),
        ('source_s3_key', run.source_s3_key, source.source_s3_key, run.source_s3_key <> source.source_s3_key),
        ('source_etag', run.source_etag, source.source_etag, run.source_etag <> source.source_etag)
    ) AS differing (name, expected, found, differs)
    WHERE differs
    ORDER BY added_by, name, found LIMIT 1
) AS odd
CROSS JOIN LATERAL (
    SELECT row_hash, occurrence, NULL::bigint AS removed_by FROM {raw} AS raw
    WHERE statement_id = $1 AND (raw.added_by, raw.ingestion_run_id, raw.source_bucket, raw.source_s3_key,
        raw.source_etag) = (odd.added_by, odd.ingestion_run_id, odd.source_bucket, odd.source_s3_key, odd.source_etag)
    UNION ALL
    SELECT row_hash, occurrence, removed_by FROM {raw_history} AS gone
    WHERE statement_id = $1 AND (gone.added_by, gone.ingestion_run_id, gone.source_bucket, gone.source_s3_key,
        gone.source_etag) = (odd.added_by, odd.ingestion_run_id, odd.source_bucket, odd.source_s3_key, odd.source_etag)
    ORDER BY row_hash, occurrence LIMIT 1
) AS first_row
