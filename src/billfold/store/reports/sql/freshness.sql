-- When AWS delivered last, which clients are late, and which folders are due to be listed.
-- A delivery is late after one and a half of the client's refresh intervals: 90 minutes for each hour of it.

-- name: list_client_freshness
-- Every client; `default_client` is NULL if the settings describe none. A client is not expected to deliver if it is
-- disabled, has no bucket, or comes from earlier settings.
SELECT client.client_id, client.refresh_hours, client.backfilled_at, newest.delivered_at AS last_delivered_at,
    expected.is_expected,
    CASE WHEN expected.is_expected AND expected.latest_at < clock_timestamp() THEN expected.latest_at END AS late_since
FROM billing_clients AS client
CROSS JOIN LATERAL (
    SELECT max(delivered_at) AS delivered_at FROM billing_deliveries
    WHERE client_id = client.client_id AND state <> 'failed'
) AS newest
CROSS JOIN LATERAL (
    SELECT coalesce(newest.delivered_at, client.created_at) + client.refresh_hours * interval '90 minutes' AS latest_at,
        client.enabled AND client.bucket IS NOT NULL
            AND (client.is_registered OR client.client_id IS NOT DISTINCT FROM %(default_client)s::text) AS is_expected
) AS expected
WHERE %(client)s::text IS NULL OR client.client_id = %(client)s
ORDER BY client.client_id

-- name: list_statement_freshness
-- Every statement; AWS is expected to refresh only the newest month of each export, of clients as above.
SELECT statement.statement_id, statement.client_id, statement.export_name,
    to_char(statement.billing_period, 'YYYY-MM') AS billing_period, newest.delivered_at AS last_delivered_at,
    publication.published_at,
    CASE WHEN client.enabled AND client.bucket IS NOT NULL
            AND (client.is_registered OR client.client_id IS NOT DISTINCT FROM %(default_client)s::text)
            AND statement.billing_period = max(statement.billing_period)
                OVER (PARTITION BY statement.client_id, statement.bucket, statement.export_path)
            AND newest.delivered_at + client.refresh_hours * interval '90 minutes' < clock_timestamp()
        THEN newest.delivered_at + client.refresh_hours * interval '90 minutes' END AS late_since
FROM billing_statements AS statement
JOIN billing_clients AS client USING (client_id)
LEFT JOIN billing_publications AS publication ON publication.publication_id = statement.current_publication_id
CROSS JOIN LATERAL (
    SELECT max(delivered_at) AS delivered_at FROM billing_deliveries
    WHERE client_id = statement.client_id AND bucket = statement.bucket AND export_path = statement.export_path
        AND billing_period = statement.billing_period AND state <> 'failed'
) AS newest
WHERE %(client)s::text IS NULL OR statement.client_id = %(client)s
ORDER BY statement.client_id, statement.export_name, statement.billing_period DESC, statement.statement_id

-- name: list_due
-- The clients whose folder was not visited within their interval, the longest overdue first.
SELECT client_id FROM billing_clients
WHERE enabled AND (is_registered OR client_id = %(default_client)s::text)
    AND (backfilled_at IS NULL OR backfilled_at + refresh_hours * interval '1 hour' <= clock_timestamp())
    AND NOT EXISTS (SELECT FROM billing_jobs AS visit
        WHERE (visit.client_id, visit.kind, visit.state) = (billing_clients.client_id, 'visit', 'dead')
            AND visit.ended_at > clock_timestamp() - make_interval(secs => %(patience_seconds)s))
ORDER BY backfilled_at + refresh_hours * interval '1 hour' NULLS FIRST, client_id

-- name: mark_backfilled
-- The next listing finds what came after this one began.
UPDATE billing_clients SET backfilled_at = %(began_at)s
WHERE client_id = %(client_id)s AND (backfilled_at IS NULL OR backfilled_at < %(began_at)s)

-- name: read_clock
SELECT clock_timestamp()
