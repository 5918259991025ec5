-- How a large part of a month's partitions is read.

-- name: count_month
SELECT coalesce(sum(row_count), 0)::bigint FROM billing_statements WHERE billing_period = '{billing_period}'

-- name: prefer_scans
SELECT set_config('enable_indexscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('parallel_setup_cost', '0', true), set_config('parallel_tuple_cost', '0', true)

-- name: allow_lookups
SELECT set_config('enable_indexscan', 'on', true), set_config('enable_bitmapscan', 'on', true)

-- name: prefer_hashing
-- For joins of a month's charges with their dimensions: else each member is looked up once for every charge, or the
-- charges are sorted on disk.
SELECT set_config('enable_nestloop', 'off', true), set_config('enable_mergejoin', 'off', true)
