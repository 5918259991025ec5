-- How a month's partitions are read by who asks for a great part of them.

-- name: count_month
SELECT coalesce(sum(row_count), 0)::bigint FROM billing_statements WHERE billing_period = '{billing_period}'

-- name: prefer_scans
SELECT set_config('enable_indexscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
    set_config('parallel_setup_cost', '0', true), set_config('parallel_tuple_cost', '0', true)

-- name: allow_lookups
SELECT set_config('enable_indexscan', 'on', true), set_config('enable_bitmapscan', 'on', true)

-- name: prefer_hashing
-- For joins of a month's charges with their dimensions: each of these would be looked up once for every charge, or the
-- charges sorted on disk.
SELECT set_config('enable_nestloop', 'off', true), set_config('enable_mergejoin', 'off', true)
