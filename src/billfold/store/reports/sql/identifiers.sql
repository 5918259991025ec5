-- Ids that somebody names, whole or by their beginnings.

-- name: find_deliveries_between
-- The ids that begin alike lie side by side in the index; `most` of them are enough to say that there are several.
SELECT delivery_id FROM billing_deliveries
WHERE delivery_id BETWEEN %(first)s::uuid AND %(last)s::uuid
ORDER BY delivery_id
LIMIT %(most)s

-- name: find_named
-- Whether there are a client, a statement and a delivery of these ids, and whose these two are.
SELECT
    EXISTS (SELECT FROM billing_clients WHERE client_id = %(client)s) AS has_client,
    (SELECT client_id FROM billing_statements WHERE statement_id = %(statement)s::bigint) AS statement_client,
    (SELECT client_id FROM billing_deliveries WHERE delivery_id = %(delivery)s::uuid) AS delivery_client,
    coalesce((SELECT max(number) FROM billing_publications WHERE statement_id = %(statement)s::bigint), 0)::integer
        AS last_number

-- name: list_neighbours
-- The ids that come before and after each of these: no others have more of their beginning in common with them.
SELECT neighbour.delivery_id
FROM unnest(%(delivery_ids)s::uuid[]) AS shown (delivery_id),
    LATERAL (
        (SELECT delivery_id FROM billing_deliveries WHERE delivery_id < shown.delivery_id
            ORDER BY delivery_id DESC LIMIT 1)
        UNION ALL
        (SELECT delivery_id FROM billing_deliveries WHERE delivery_id > shown.delivery_id
            ORDER BY delivery_id LIMIT 1)
    ) AS neighbour
