-- The calendar of deliveries.

-- name: list_calendar
-- What AWS delivered on each day (UTC) of a span, by client, billing month and state; the first `limit` months of clients.
-- `delivery_id` is NULL where several came.
SELECT client_id, to_char(billing_period, 'YYYY-MM') AS billing_period, day, jsonb_object_agg(state, came) AS states,
    CASE WHEN sum(came) = 1 THEN min(delivery_id)::uuid END AS delivery_id
FROM (
    SELECT client_id, billing_period, day, state, count(*) AS came, min(delivery_id::text) AS delivery_id,
        dense_rank() OVER (ORDER BY client_id, billing_period DESC NULLS LAST) AS place
    FROM (
        SELECT client_id, billing_period, state, delivery_id, (delivered_at AT TIME ZONE 'UTC')::date AS day
        FROM billing_deliveries
        WHERE delivered_at >= %(since)s::date::timestamp AT TIME ZONE 'UTC'
            AND delivered_at < (%(until)s::date + 1)::timestamp AT TIME ZONE 'UTC'
            AND (%(client)s::text IS NULL OR client_id = %(client)s)
    ) AS delivery
    GROUP BY client_id, billing_period, day, state
) AS numbered
WHERE place <= %(limit)s
GROUP BY place, client_id, billing_period, day
ORDER BY place, day
