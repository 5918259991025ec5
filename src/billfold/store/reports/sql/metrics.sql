-- What /metrics shows. Each scrape reads what is new since the last one or open now, never the whole history.
-- Parts of counts: `client_id` is NULL for counts that are not by client, `labels` are the other labels. `holds` is for
-- durations: how many of the ascending bounds contain the counted ones; NULL is their sum in seconds.

-- name: measure_database
-- Everything up to `settled_at` is committed: a publication takes its moment just before it commits.
SELECT transaction_timestamp() AS read_at, transaction_timestamp() - interval '10 minutes' AS settled_at,
    pg_database_size(current_database()) AS size_bytes,
    (SELECT numbackends FROM pg_stat_database WHERE datname = current_database()) AS connection_count,
    current_setting('max_connections')::integer AS connection_limit, queue.*
FROM (
    SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting_count,
        count(*) FILTER (WHERE state = 'running') AS running_count,
        count(*) FILTER (WHERE state = 'dead') AS dead_count,
        coalesce(extract(epoch FROM transaction_timestamp() - min(created_at) FILTER (WHERE state = 'waiting')), 0)::float8
            AS waiting_seconds,
        count(*) FILTER (WHERE is_asked) AS asked_count,
        coalesce(extract(epoch FROM transaction_timestamp() - min(created_at) FILTER (WHERE is_asked)), 0)::float8
            AS asked_seconds
    FROM billing_jobs, LATERAL (
        SELECT delivery_id IS NOT NULL AND trigger_source IN ('api', 'eventbridge') AND state <> 'dead'
    ) AS of_request (is_asked)
) AS queue

-- name: list_eldest_clients
-- The oldest first: a new client never takes the place of an older one.
SELECT client_id FROM billing_clients ORDER BY created_at, client_id LIMIT %(limit)s

-- name: tally_runs
-- File versions that came in since a moment, each counted once: a success stays a success. They are added up before they are
-- split: the first scrape reads years.
WITH added AS (
    SELECT client_id, finished_at <= %(settled_at)s AS is_settled, count(*) AS runs, sum(rows_read) AS rows,
        coalesce(sum(size_bytes), 0) AS bytes
    FROM billing_ingestion_runs
    WHERE status = 'success' AND finished_at > coalesce(%(since)s::timestamptz, '-infinity')
    GROUP BY 1, 2
)
SELECT part.name, added.client_id, part.labels, NULL::integer AS holds, added.is_settled, part.value
FROM added CROSS JOIN LATERAL (VALUES
    ('runs', ARRAY['success'], added.runs), ('read_rows', '{}', added.rows), ('read_bytes', '{}', added.bytes)
) AS part (name, labels, value)

-- name: tally_publications
-- Publications since a moment; they are never changed.
WITH added AS (
    SELECT statement_id, kind, published_at <= %(settled_at)s AS is_settled, count(*) AS publications,
        sum(rows_added) AS added, sum(rows_removed) AS removed
    FROM billing_publications
    WHERE published_at > coalesce(%(since)s::timestamptz, '-infinity')
    GROUP BY 1, 2, 3
)
SELECT part.name, statement.client_id, part.labels, NULL::integer AS holds, added.is_settled, sum(part.value) AS value
FROM added JOIN billing_statements AS statement USING (statement_id)
CROSS JOIN LATERAL (VALUES
    ('publications', ARRAY[added.kind], added.publications), ('added_rows', '{}', added.added),
    ('removed_rows', '{}', added.removed)
) AS part (name, labels, value)
GROUP BY 1, 2, 3, 5

-- name: tally_durations
-- How long the stages of these publications took, and how long after AWS's delivery they came. Each duration is read
-- once, by several processes if there are years of them: a set-returning function beside other branches allows only one.
WITH published AS NOT MATERIALIZED (
    SELECT publication.published_at, publication.published_at <= %(settled_at)s AS is_settled, delivery.timings,
        delivery.delivered_at, delivery.started_at, delivery.finished_at
    FROM billing_publications AS publication JOIN billing_deliveries AS delivery USING (delivery_id)
    WHERE publication.kind = 'delivery'
        AND publication.published_at > coalesce(%(since)s::timestamptz, '-infinity')
), lasted AS (
    SELECT timing.key AS stage, published.is_settled, timing.value::double precision AS seconds
    FROM published CROSS JOIN LATERAL jsonb_each_text(published.timings) AS timing
    UNION ALL
    SELECT whole.stage, published.is_settled, whole.seconds
    FROM published CROSS JOIN LATERAL (VALUES
        ('whole', extract(epoch FROM published.finished_at - published.started_at)::double precision),
        (NULL, extract(epoch FROM published.published_at - published.delivered_at)::double precision)
    ) AS whole (stage, seconds)
), placed AS (
    -- Negative, because width_bucket puts a value that equals a bound above it.
    SELECT stage, is_settled, width_bucket(-greatest(seconds, 0), CASE WHEN stage IS NULL
            THEN %(publication_delay)s::double precision[]
            ELSE %(stage_duration)s::double precision[] END) AS holds,
        count(*)::numeric AS count, sum(greatest(seconds, 0))::numeric AS seconds
    FROM lasted GROUP BY 1, 2, 3
)
SELECT CASE WHEN placed.stage IS NULL THEN 'publication_delay' ELSE 'stage_duration' END AS name, NULL AS client_id,
    CASE WHEN placed.stage IS NULL THEN '{}' ELSE ARRAY[placed.stage] END AS labels, part.holds, placed.is_settled,
    sum(part.value) AS value
FROM placed CROSS JOIN LATERAL (VALUES (placed.holds, placed.count), (NULL, placed.seconds)) AS part (holds, value)
GROUP BY 1, 3, 4, 5

-- name: count_open
-- The present state. `check_warned_rows` and `check_warned_cost` are what the checks of current bills found;
-- `reconciliation_difference` is the absolute difference between these bills and their source.
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
