-- Which statements make up the costs: two exports of one bill must not both.

-- name: list_overlaps
SELECT statement_id, export_name, counted FROM billfold_overlaps($1::integer, $2::text::uuid, $3::text)

-- name: read_counted
SELECT counted, yields FROM billing_statements WHERE statement_id = $1::integer

-- name: keep_counted
UPDATE billing_statements SET counted = $2::integer = 1, yields = $3::integer = 1 WHERE statement_id = $1::integer
