-- Whether the charges of a statement follow the rules of FOCUS. {view} is the definition of focus_cost_and_usage in
-- PostgreSQL, so that exactly the view is judged, even for a statement that is not counted or for a part of one. In it,
-- `billing_usage_fact` and `billing_statements` are the two names defined before it here.

-- name: read_view
SELECT pg_get_viewdef('focus_cost_and_usage'::regclass)

-- name: list_view_columns
SELECT attname::text FROM pg_attribute
WHERE attrelid = 'focus_cost_and_usage'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum

-- name: find_broken_types
-- An empty row: {conditions} look only at the types of its columns.
SELECT {conditions} FROM (SELECT) AS nothing LEFT JOIN focus_cost_and_usage ON false

-- name: list_judged
SELECT statement.statement_id, statement.client_id, statement.export_name, statement.billing_period, statement.counted,
    statement.row_count
FROM billing_statements AS statement
WHERE statement.current_publication_id IS NOT NULL
    AND (%(client)s::text IS NULL OR statement.client_id = %(client)s)
    AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)
    AND (%(period)s::date IS NULL OR statement.billing_period = %(period)s)
    AND (%(statement)s::numeric IS NULL OR statement.statement_id = %(statement)s)
ORDER BY statement.billing_period DESC, statement.client_id, statement.export_name, statement.statement_id

-- name: judged
-- Both lists have one element: with an equals sign nothing would be left to join the two by but a nested loop, and that
-- is not shared among processes.
WITH billing_usage_fact AS NOT MATERIALIZED (
    SELECT * FROM {fact} AS fact WHERE fact.statement_id = ANY (%(statement_ids)s) {added}
),
billing_statements AS NOT MATERIALIZED (
    SELECT statement.statement_id, statement.client_id, true AS counted
    FROM billing_statements AS statement WHERE statement.statement_id = ANY (%(statement_ids)s)
)

-- name: count_broken
-- One scan: how many charges there are, and how many break each rule.
{judged} SELECT count(*), {counts} FROM ({view}) AS charge

-- name: sum_broken
-- Of the rules that are broken: the charges that break one of the musts, and what those cost that break each rule.
{judged} SELECT "BillingCurrency", count(*) FILTER (WHERE {any_must}), sum("BilledCost") FILTER (WHERE {any_must}), {sums}
FROM ({view}) AS charge GROUP BY "BillingCurrency" ORDER BY "BillingCurrency"

-- name: find_example
-- A charge that breaks a rule, as exact text.
{judged} SELECT to_jsonb(charge)::text FROM ({view}) AS charge WHERE {condition} LIMIT 1
