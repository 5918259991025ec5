-- How often messages of the queue have failed.

-- name: count_failure
INSERT INTO billing_message_failures (message_id, failures, error_code, last_failed_at)
VALUES (%(message_id)s, 1, %(error_code)s, clock_timestamp())
ON CONFLICT (message_id) DO UPDATE SET failures = billing_message_failures.failures + 1,
    error_code = excluded.error_code, last_failed_at = excluded.last_failed_at
RETURNING failures

-- name: forget_failures
-- With it goes what SQS no longer keeps.
DELETE FROM billing_message_failures
WHERE message_id = %(message_id)s OR last_failed_at < clock_timestamp() - interval '14 days'
