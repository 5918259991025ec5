-- The control rows that the publishing transaction writes.

-- name: lock_publication
-- Rows that refer to the statement may still be written by others: NO KEY.
SELECT current_publication_id FROM billing_statements WHERE statement_id = $1 FOR NO KEY UPDATE

-- name: next_publication
SELECT nextval(pg_get_serial_sequence('billing_publications', 'publication_id'))::bigint

-- name: lock_bucket
SELECT pg_advisory_xact_lock(hashtextextended('billfold publications of ' || $1::text, 0))

-- name: take_moment
-- The time of this publication. A statement's times only go forward, even if the server's clock does not.
SELECT greatest(clock_timestamp(), max(published_at) + interval '1 microsecond')::text
FROM billing_publications WHERE statement_id = ANY (string_to_array($1::text, ',')::integer[])

-- name: insert_publication
INSERT INTO billing_publications (publication_id, statement_id, number, kind, delivery_id, restored_publication_id,
    published_at, counted, hash_version, mapping_version, cost_basis, rows_before, rows_added, rows_removed, rows_after,
    charges_before, charges_after, billed_cost_before, billed_cost_after, gross_cost_after, net_cost_after, left_out,
    unproved_cost, undiscounted_cost_after)
OVERRIDING SYSTEM VALUE
SELECT $1::bigint, $2::integer, coalesce(max(number), 0) + 1, $3::text, $4::text::uuid, $5::bigint,
    $20::text::timestamptz,
    (SELECT counted FROM billing_statements WHERE statement_id = $2::integer), $6::smallint, $7::smallint, $8::text,
    $9::bigint, $10::bigint, $11::bigint, $12::bigint, $13::bigint, $14::bigint, $15::text::jsonb, $16::text::jsonb,
    $17::text::jsonb, $18::text::jsonb, $19::text::jsonb, $21::text::jsonb,
    -- A publication that adds no line items has those of the publication that it restores, or of the one before it.
    CASE WHEN $12::bigint = 0 THEN '{}' ELSE coalesce($22::text::jsonb, (
        SELECT known.undiscounted_cost_after FROM billing_publications AS known
        WHERE known.publication_id = coalesce($5::bigint,
            (SELECT current_publication_id FROM billing_statements WHERE statement_id = $2::integer)))) END
FROM billing_publications WHERE statement_id = $2::integer

-- name: update_statement
UPDATE billing_statements SET current_publication_id = $2::bigint, current_delivery_id = $3::text::uuid,
    row_count = $4::bigint, cost_basis = $5::text, mapping_version = $6::smallint, hash_version = $7::smallint
WHERE statement_id = $1::integer

-- name: update_delivery
UPDATE billing_deliveries SET state = 'published', statement_id = $2::integer, billing_period = $3::text::date,
    format = $4::text, rows_read = $5::bigint, rows_added = $6::bigint, rows_removed = $7::bigint,
    rows_unchanged = $8::bigint, source_cost = $9::text::jsonb, billed_cost = $10::text::jsonb,
    mapping_version = $11::smallint, findings = $12::text::jsonb, timings = $13::text::jsonb, columns = $14::text::jsonb,
    publication_id = $15::bigint, rolled_back_by = NULL, released_at = NULL,
    started_at = coalesce(started_at, clock_timestamp()), finished_at = clock_timestamp(),
    error_code = NULL, error_message = NULL, reason = NULL
WHERE delivery_id = $1::text::uuid

-- name: update_mapping
UPDATE billing_deliveries SET mapping_version = $2::smallint, source_cost = $3::text::jsonb, billed_cost = $3::text::jsonb
WHERE delivery_id = $1::text::uuid

-- name: update_run
UPDATE billing_ingestion_runs SET status = 'success', delivery_id = $2::text::uuid, rows_read = $3::bigint,
    rows_inserted = $4::bigint, rows_skipped = $5::bigint, finished_at = clock_timestamp(), error_code = NULL,
    error_message = NULL
WHERE ingestion_run_id = $1::text::uuid AND status <> 'success'

-- name: update_delivery_file
UPDATE billing_delivery_files SET outcome = 'success', rows_read = $3::bigint, rows_inserted = $4::bigint,
    rows_skipped = $5::bigint
WHERE delivery_id = $1::text::uuid AND file_number = $2::integer
