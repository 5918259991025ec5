-- What `billfold export` reads, all of it in one snapshot. A filter that is NULL matches everything.

-- name: prefer_hashing
-- A partition that was not analysed yet looks empty: a nested loop over it would never end.
SELECT set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true)

-- name: share_snapshot
SELECT pg_export_snapshot()

-- name: list_statements
SELECT statement.statement_id, to_char(statement.billing_period, 'YYYY-MM') AS billing_period, statement.counted,
    coalesce(publication.charges_after, 0) AS charge_count, coalesce(publication.billed_cost_after, '{}') AS billed_cost
FROM billing_statements AS statement
LEFT JOIN billing_publications AS publication ON publication.publication_id = statement.current_publication_id
WHERE (%(client)s::text IS NULL OR statement.client_id = %(client)s)
    AND (%(statement)s::numeric IS NULL OR statement.statement_id = %(statement)s)
    AND (%(first)s::date IS NULL OR statement.billing_period >= %(first)s)
    AND (%(last)s::date IS NULL OR statement.billing_period <= %(last)s)
ORDER BY statement.billing_period, statement.statement_id

-- name: list_columns
-- The view's columns, those that FOCUS does not define last, and the form of each: CSV is all text; for Arrow exact
-- numbers are text and instants are instants.
SELECT name, type, spelled AS csv_expression,
    CASE type WHEN 'numeric' THEN spelled || '::text' WHEN 'timestamptz' THEN quoted ELSE spelled END
        || ' AS ' || quoted AS arrow_expression,
    format('max(min_scale(%1$s)), max(trunc(abs(%1$s)))::text', quoted) AS measure
FROM (
    SELECT
        attnum AS place, attname::text AS name, type.typname::text AS type, quote_ident(attname) AS quoted,
        CASE
            WHEN type.typname = 'numeric' THEN format('trim_scale(%I)', attname)
            WHEN type.typname = 'timestamptz' THEN format(
                $$rtrim(rtrim(to_char(%I AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '0'), '.') || 'Z'$$, attname)
            WHEN type.typname IN ('json', 'jsonb') THEN format('%I::text', attname)
            ELSE quote_ident(attname)
        END AS spelled
    FROM pg_attribute JOIN pg_type AS type ON type.oid = atttypid
    WHERE attrelid = 'focus_cost_and_usage'::regclass AND attnum > 0 AND NOT attisdropped
) AS focus
ORDER BY starts_with(name, 'x_'), place

-- The view is filtered by statement, which is a column of the charges, so that an index skips other months. The month
-- is not: the view turns it into an instant.

-- name: copy_csv
COPY (SELECT {columns} FROM focus_cost_and_usage WHERE "x_StatementId" IN ({statements})) TO STDOUT (FORMAT csv, HEADER)

-- name: read_charges
SELECT {columns} FROM focus_cost_and_usage WHERE "x_StatementId" IN ({statements})

-- name: use_snapshot
SET TRANSACTION SNAPSHOT '{snapshot}'
