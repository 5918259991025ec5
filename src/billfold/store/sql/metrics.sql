-- What /metrics shows. Each scrape reads what is new since the last one, or what is open now: never all that was ever done.
-- Parts of counts: `client_id` is NULL where no client parts them, `labels` are the further ones. `holds` is for durations:
-- how many of the ascending bounds are no less than what is counted; NULL is their sum in seconds.

-- name: measure_database
-- What is of the time up to `settled_at` is committed: a publication takes its moment just before it commits.
SELECT transaction_timestamp() AS read_at, transaction_timestamp() - interval '10 minutes' AS settled_at,
    pg_database_size(current_database()) AS size_bytes,
    (SELECT numbackends FROM pg_stat_database WHERE datname = current_database()) AS connection_count,
    current_setting('max_connections')::integer AS connection_limit, asked.*
FROM (
    SELECT count(*) AS asked_count,
        coalesce(extract(epoch FROM transaction_timestamp() - min(asked_at)), 0)::float8 AS asked_seconds
    FROM billing_deliveries WHERE asked_at IS NOT NULL
) AS asked

-- name: list_eldest_clients
-- In the order in which they came: a new client never takes the place of an older one.
SELECT client_id FROM billing_clients ORDER BY created_at, client_id LIMIT %(limit)s

-- name: tally_runs
-- File versions that came in since a moment, each counted once: a success stays a success.
SELECT part.name, run.client_id, part.labels, NULL::integer AS holds, run.finished_at <= %(settled_at)s AS is_settled,
    sum(part.value) AS value
FROM billing_ingestion_runs AS run
CROSS JOIN LATERAL (VALUES
    ('runs', ARRAY['success'], 1), ('read_rows', '{}', run.rows_read), ('read_bytes', '{}', coalesce(run.size_bytes, 0))
) AS part (name, labels, value)
WHERE run.status = 'success' AND run.finished_at > coalesce(%(since)s::timestamptz, '-infinity')
GROUP BY 1, 2, 3, 5

-- name: tally_publications
-- Publications since a moment; they are never changed.
SELECT part.name, statement.client_id, part.labels, NULL::integer AS holds,
    publication.published_at <= %(settled_at)s AS is_settled, sum(part.value) AS value
FROM billing_publications AS publication JOIN billing_statements AS statement USING (statement_id)
CROSS JOIN LATERAL (VALUES
    ('publications', ARRAY[publication.kind], 1), ('added_rows', '{}', publication.rows_added),
    ('removed_rows', '{}', publication.rows_removed)
) AS part (name, labels, value)
WHERE publication.published_at > coalesce(%(since)s::timestamptz, '-infinity')
GROUP BY 1, 2, 3, 5

-- name: tally_durations
-- How long the stages of the same took, and how long after AWS's delivery they came.
WITH duration AS (
    SELECT lasted.name, lasted.labels, publication.published_at <= %(settled_at)s AS is_settled,
        greatest(lasted.seconds, 0) AS seconds
    FROM billing_publications AS publication JOIN billing_deliveries AS delivery USING (delivery_id)
    CROSS JOIN LATERAL (
        SELECT 'stage_duration' AS name, ARRAY[timing.key] AS labels, timing.value::double precision AS seconds
        FROM jsonb_each_text(delivery.timings) AS timing
        UNION ALL
        SELECT 'stage_duration', ARRAY['whole'], extract(epoch FROM delivery.finished_at - delivery.started_at)
        UNION ALL
        SELECT 'publication_delay', '{}', extract(epoch FROM publication.published_at - delivery.delivered_at)
    ) AS lasted
    WHERE publication.kind = 'delivery'
        AND publication.published_at > coalesce(%(since)s::timestamptz, '-infinity')
), placed AS (
    -- Turned round, because width_bucket takes a value that equals a bound for one above it.
    SELECT name, labels, is_settled, seconds, width_bucket(-seconds, CASE name
        WHEN 'stage_duration' THEN %(stage_duration)s::double precision[]
        ELSE %(publication_delay)s::double precision[] END) AS holds
    FROM duration
)
SELECT name, NULL AS client_id, labels, holds, is_settled, count(*)::numeric AS value FROM placed GROUP BY 1, 3, 4, 5
UNION ALL
SELECT name, NULL, labels, NULL, is_settled, sum(seconds)::numeric FROM placed GROUP BY 1, 3, 5

-- name: count_open
-- What stands at this moment. Of `check_warned_rows` and `check_warned_cost` it is what the checks of the bills that stand found, of
-- `reconciliation_difference` what these bills are off what their source says, whatever its sign.
SELECT 'runs' AS name, client_id, ARRAY[status] AS labels, NULL::integer AS holds, false AS is_settled,
    count(*)::numeric AS value
FROM billing_ingestion_runs WHERE status <> 'success' GROUP BY 2, 3
UNION ALL
SELECT 'refused_files', client_id, ARRAY[error_code], NULL, false, count(*)
FROM billing_ingestion_runs WHERE status <> 'success' AND status = 'failed' GROUP BY 2, 3
UNION ALL
SELECT 'deliveries', client_id, ARRAY[state], NULL, false, count(*)
FROM billing_deliveries WHERE state IN ('pending', 'running', 'held', 'failed') GROUP BY 2, 3
UNION ALL
SELECT 'retries', client_id, '{}', NULL, false, sum(attempts - 1)
FROM billing_deliveries WHERE attempts > 1 GROUP BY 2
UNION ALL
SELECT found.name, statement.client_id, found.labels, NULL, false, sum(found.value)
FROM billing_statements AS statement
JOIN billing_checks AS checked ON checked.publication_id = statement.current_publication_id AND checked.state = 'warned'
CROSS JOIN LATERAL (
    SELECT 'check_warned_rows' AS name, ARRAY[checked.name] AS labels, checked.row_count::numeric AS value
    UNION ALL
    SELECT 'check_warned_cost', ARRAY[checked.name, cost.key], cost.value::numeric FROM jsonb_each_text(checked.cost) AS cost
) AS found
GROUP BY 1, 2, 3
UNION ALL
SELECT 'reconciliation_difference', statement.client_id, ARRAY[money.currency], NULL, false, sum(abs(money.difference))
FROM billing_statements AS statement
JOIN billing_deliveries AS delivery ON delivery.delivery_id = statement.current_delivery_id
JOIN billing_publications AS publication ON publication.publication_id = statement.current_publication_id
CROSS JOIN LATERAL (
    SELECT currency, coalesce(said.cost::numeric, 0) - coalesce(held.cost::numeric, 0) AS difference
    FROM jsonb_each_text(delivery.source_cost) AS said (currency, cost)
    FULL JOIN jsonb_each_text(publication.billed_cost_after) AS held (currency, cost) USING (currency)
) AS money
GROUP BY 2, 3
