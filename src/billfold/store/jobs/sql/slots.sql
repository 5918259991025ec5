-- What workers hold while they work: locks of a session, which die with its connection.

-- name: take_slot
-- The first one that is free; the others are not tried any more.
SELECT slot FROM generate_series(1, %(slot_count)s::integer) AS slot
WHERE pg_try_advisory_lock(hashtextextended(concat_ws(' ', 'billfold slot', %(client_id)s::text, slot), 0))
LIMIT 1

-- name: take_turn
SELECT pg_try_advisory_lock(hashtextextended(concat_ws(' ', 'billfold turn', %(client_id)s::text, %(work)s::text), 0))
