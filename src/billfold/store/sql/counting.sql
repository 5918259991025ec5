-- Which statements make up the costs: two exports of one bill must not both.

-- name: list_overlaps
SELECT statement_id, export_name, counted FROM billfold_overlaps($1::integer, $2::text::uuid, $3::text)

-- name: is_counted
SELECT counted FROM billing_statements WHERE statement_id = $1::integer

-- name: set_counted
UPDATE billing_statements SET counted = $2::boolean WHERE statement_id = $1::integer
