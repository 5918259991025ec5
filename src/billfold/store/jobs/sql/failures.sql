-- How often messages of the queue have failed, and which of them are being ingested.

-- name: begin_attempt
INSERT INTO billing_message_attempts (message_id, client_id, worker_id, began_at)
VALUES (%(message_id)s, %(client_id)s, %(worker_id)s, clock_timestamp())
ON CONFLICT (message_id) DO UPDATE SET client_id = excluded.client_id, worker_id = excluded.worker_id,
    began_at = excluded.began_at

-- name: end_attempt
DELETE FROM billing_message_attempts WHERE message_id = %(message_id)s AND worker_id = %(worker_id)s

-- name: end_attempts
-- The attempts that a worker ended while the database was gone.
DELETE FROM billing_message_attempts WHERE worker_id = %(worker_id)s AND message_id <> ALL(%(working_ids)s::text[])

-- name: find_interrupted
-- An attempt that another worker began, and never ended.
SELECT began_at FROM billing_message_attempts WHERE message_id = %(message_id)s AND worker_id <> %(worker_id)s

-- name: count_failure
-- An attempt that ended with its worker is over once it is counted.
WITH ended AS (DELETE FROM billing_message_attempts WHERE message_id = %(message_id)s)
INSERT INTO billing_message_failures (message_id, client_id, failures, error_code, last_failed_at)
VALUES (%(message_id)s, %(client_id)s, 1, %(error_code)s, clock_timestamp())
ON CONFLICT (message_id) DO UPDATE SET failures = billing_message_failures.failures + 1,
    client_id = excluded.client_id, error_code = excluded.error_code, last_failed_at = excluded.last_failed_at
RETURNING failures

-- name: list_suspects
SELECT message_id FROM billing_message_failures
WHERE message_id = ANY(%(message_ids)s) AND error_code = 'interrupted'

-- name: forget_failures
-- Messages that SQS no longer keeps are deleted too.
WITH left_behind AS (
    DELETE FROM billing_message_attempts
    WHERE message_id = %(message_id)s OR began_at < clock_timestamp() - interval '14 days'
)
DELETE FROM billing_message_failures
WHERE message_id = %(message_id)s OR last_failed_at < clock_timestamp() - interval '14 days'
