-- Ids of deliveries by their beginnings.

-- name: find_deliveries_between
-- The ids that begin alike lie side by side in the index; `most` of them are enough to say that there are several.
SELECT delivery_id FROM billing_deliveries
WHERE delivery_id BETWEEN %(first)s::uuid AND %(last)s::uuid
ORDER BY delivery_id
LIMIT %(most)s

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
