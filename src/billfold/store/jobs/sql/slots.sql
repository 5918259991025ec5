-- What workers hold while they work: session locks, which end with the connection.

-- name: take_slot
-- The first free one; the others are not tried.
SELECT slot FROM generate_series(1, %(slot_count)s::integer) AS slot
WHERE pg_try_advisory_lock(hashtextextended(concat_ws(' ', 'billfold slot', %(client_id)s::text, slot), 0))
LIMIT 1

-- name: take_turn
SELECT pg_try_advisory_lock(hashtextextended(concat_ws(' ', 'billfold turn', %(client_id)s::text, %(work)s::text), 0))
