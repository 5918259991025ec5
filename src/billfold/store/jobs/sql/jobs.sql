-- The queue: jobs wait, are taken by a worker, and go when they are done.

-- name: forget_dead
-- A message that comes again finds its dead job: it is in the dead-letter queue already. The lock waits for one that is
-- just given up, and keeps it from that until it is wanted again.
WITH known AS (
    SELECT job_id, state, message_id FROM billing_jobs
    WHERE (client_id, kind, bucket, key) = (%(client_id)s, %(kind)s, %(bucket)s, %(key)s)
        AND billing_period IS NOT DISTINCT FROM %(period)s
    FOR UPDATE
)
DELETE FROM billing_jobs AS job USING known
WHERE job.job_id = known.job_id AND known.state = 'dead' AND (known.message_id = %(message_id)s::text) IS NOT TRUE

-- name: add
-- An object waits once: its job reads it as it is when it begins. If it is being worked on, it is read once more, unless
-- the same message comes again. A request makes it due at once; one of many equal events does not.
WITH known AS (
    DELETE FROM billing_message_failures WHERE message_id = %(message_id)s RETURNING failures, error_code
)
INSERT INTO billing_jobs AS job (client_id, kind, bucket, key, billing_period, work, trigger_source, is_event,
    delivery_id, message_id, queue_url, body, attributes, failure_count, error_code, is_suspect)
SELECT %(client_id)s, %(kind)s, %(bucket)s, %(key)s, %(period)s, %(work)s, %(trigger)s, %(is_event)s, %(delivery_id)s,
    %(message_id)s::text, %(queue_url)s::text, %(body)s::text, %(attributes)s::jsonb, coalesce(known.failures, 0), known.error_code,
    coalesce(known.error_code = 'interrupted', false)
FROM (SELECT) AS one LEFT JOIN known ON true
ON CONFLICT (client_id, kind, bucket, key, billing_period) DO UPDATE SET
    is_wanted_again = job.is_wanted_again OR job.state = 'running' AND job.kind = 'ingest'
        AND (job.message_id = excluded.message_id) IS NOT TRUE,
    is_event = job.is_event AND excluded.is_event,
    delivery_id = coalesce(excluded.delivery_id, job.delivery_id),
    message_id = coalesce(excluded.message_id, job.message_id),
    queue_url = coalesce(excluded.queue_url, job.queue_url),
    body = coalesce(excluded.body, job.body),
    attributes = CASE WHEN excluded.body IS NULL THEN job.attributes ELSE excluded.attributes END,
    due_at = CASE WHEN job.state = 'waiting' AND excluded.body IS NULL THEN least(job.due_at, excluded.due_at)
        ELSE job.due_at END
RETURNING job_id

-- name: announce
SELECT pg_notify('billfold_jobs', '')

-- name: live
-- The lock of a worker's life, which ends with its connection.
SELECT pg_advisory_lock(hashtextextended(concat_ws(' ', 'billfold worker', %(worker_id)s::uuid), 0))

-- name: end_if_silent
-- A stopped process keeps its connection: PostgreSQL ends it, and with it the lock.
SELECT set_config('idle_session_timeout', %(silence)s, false),
    set_config('idle_in_transaction_session_timeout', %(silence)s, false)

-- name: lock_takes
-- Two that take at once would give a client more than its slots. All wait for one whose process was stopped here.
SELECT set_config('idle_in_transaction_session_timeout', %(silence)s, true),
    pg_advisory_xact_lock(hashtextextended('billfold take', 0))

-- name: look
-- Another worker is gone if it has jobs and its lock is free.
SELECT
    extract(epoch FROM min(due_at) - clock_timestamp())::float AS due_in_seconds,
    coalesce(min(due_at) FILTER (WHERE is_suspect) <= clock_timestamp(), false) AS is_suspect_due,
    EXISTS (SELECT FROM billing_jobs WHERE kind = 'doctor' AND state = 'waiting' AND due_at <= clock_timestamp())
        AS is_doctor_due,
    ARRAY(
        SELECT worker_id FROM (SELECT DISTINCT worker_id FROM billing_jobs WHERE state = 'running') AS taken
        WHERE worker_id <> %(worker_id)s
            -- Others may look at the same moment.
            AND pg_try_advisory_xact_lock_shared(hashtextextended(concat_ws(' ', 'billfold worker', worker_id), 0))
    ) AS gone
FROM billing_clients AS client CROSS JOIN (VALUES (false), (true)) AS kind (is_suspect) CROSS JOIN LATERAL (
    SELECT due_at FROM billing_jobs AS job
    WHERE job.client_id = client.client_id AND job.is_suspect = kind.is_suspect AND state = 'waiting'
    ORDER BY due_at LIMIT 1
) AS first

-- name: take
-- The next due jobs: of each client the first, then of each the second, and so on, counting those that run already, so
-- that a client with many jobs keeps no other waiting. Of each work one; none of a client whose slots are taken.
WITH client AS MATERIALIZED (
    SELECT client_id, max_deliveries,
        (SELECT count(*) FROM billing_jobs AS running
            WHERE running.client_id = billing_clients.client_id AND running.state = 'running'
                AND running.kind <> 'doctor') AS running_count
    FROM billing_clients
), placed AS (
    SELECT job_id, due_at, max_deliveries,
        running_count + row_number() OVER (PARTITION BY client_id ORDER BY due_at, job_id) AS place
    FROM client CROSS JOIN LATERAL (
        SELECT DISTINCT ON (work) job_id, due_at
        FROM (
            SELECT job_id, due_at, work FROM billing_jobs AS due
            WHERE due.client_id = client.client_id AND state = 'waiting' AND due_at <= statement_timestamp()
                AND kind <> 'doctor' AND is_suspect = %(suspects)s
                AND (%(trigger)s::text IS NULL OR trigger_source = %(trigger)s)
                AND (%(job_ids)s::bigint[] IS NULL OR job_id = ANY(%(job_ids)s))
                AND NOT EXISTS (SELECT FROM billing_jobs AS running WHERE running.client_id = client.client_id
                    AND running.state = 'running' AND running.work = due.work)
            ORDER BY due_at, job_id LIMIT 100
        ) AS first
        ORDER BY work, due_at, job_id
    ) AS due
    WHERE running_count < max_deliveries
), chosen AS (
    SELECT job_id FROM placed WHERE place <= max_deliveries ORDER BY place, due_at, job_id LIMIT %(limit)s
)
UPDATE billing_jobs AS job SET state = 'running', due_at = NULL, worker_id = %(worker_id)s, worker = %(worker)s,
    began_at = CASE WHEN is_suspect THEN NULL ELSE clock_timestamp() END, take_count = take_count + 1
FROM chosen WHERE job.job_id = chosen.job_id
RETURNING job.job_id, client_id, kind, bucket, key, billing_period AS period, work, trigger_source AS trigger, is_event,
    delivery_id, message_id, queue_url, body, attributes, is_suspect, take_count, failure_count

-- name: take_doctor
-- A doctor run reads no bill: it needs no slot.
UPDATE billing_jobs AS job SET state = 'running', due_at = NULL, worker_id = %(worker_id)s, worker = %(worker)s,
    began_at = clock_timestamp(), take_count = take_count + 1
FROM (SELECT job_id FROM billing_jobs WHERE kind = 'doctor' AND state = 'waiting' AND due_at <= statement_timestamp()
    ORDER BY due_at, job_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS chosen
WHERE job.job_id = chosen.job_id
RETURNING job.job_id, client_id, kind, bucket, key, billing_period AS period, work, trigger_source AS trigger, is_event,
    delivery_id, message_id, queue_url, body, attributes, is_suspect, take_count, failure_count

-- name: begin
UPDATE billing_jobs SET began_at = clock_timestamp()
WHERE job_id = %(job_id)s AND worker_id = %(worker_id)s AND take_count = %(take_count)s
RETURNING job_id

-- name: finish
DELETE FROM billing_jobs
WHERE job_id = %(job_id)s AND worker_id = %(worker_id)s AND take_count = %(take_count)s AND NOT is_wanted_again
RETURNING job_id

-- name: wait_again
-- A statement of its own, after the other: it sees a wish for which the other had to wait.
UPDATE billing_jobs SET state = 'waiting', due_at = clock_timestamp(), worker_id = NULL, worker = NULL, began_at = NULL,
    is_wanted_again = false, is_suspect = false, failure_count = 0, error_code = NULL, reason = NULL
WHERE job_id = %(job_id)s AND worker_id = %(worker_id)s AND take_count = %(take_count)s AND is_wanted_again

-- name: postpone
UPDATE billing_jobs SET state = 'waiting', worker_id = NULL, worker = NULL, began_at = NULL, is_wanted_again = false,
    is_suspect = is_suspect AND NOT %(is_tried)s, failure_count = failure_count + %(failures)s,
    due_at = clock_timestamp() + make_interval(secs => %(seconds)s),
    error_code = %(error_code)s, reason = %(reason)s
WHERE job_id = %(job_id)s AND worker_id = %(worker_id)s AND take_count = %(take_count)s

-- name: bury
-- What is wanted again meanwhile may have been repaired. The failure of a job whose worker died is counted already.
UPDATE billing_jobs SET state = CASE WHEN is_wanted_again THEN 'waiting' ELSE 'dead' END, worker_id = NULL, worker = NULL,
    began_at = NULL, is_wanted_again = false, is_suspect = false,
    failure_count = CASE WHEN is_wanted_again THEN 0 ELSE failure_count + (%(error_code)s <> 'interrupted')::integer END,
    due_at = CASE WHEN is_wanted_again THEN clock_timestamp() END,
    ended_at = CASE WHEN is_wanted_again THEN NULL ELSE clock_timestamp() END,
    error_code = %(error_code)s, reason = %(reason)s
WHERE job_id = %(job_id)s AND worker_id = %(worker_id)s AND take_count = %(take_count)s
RETURNING state = 'dead'

-- name: give_back
-- These attempts are not failures: their worker stops, or lost its connection before it learned that it has them.
UPDATE billing_jobs SET state = 'waiting', due_at = clock_timestamp(), worker_id = NULL, worker = NULL, began_at = NULL,
    is_wanted_again = false
WHERE worker_id = %(worker_id)s AND (job_id, take_count) NOT IN (
    SELECT * FROM unnest(%(job_ids)s::bigint[], %(take_counts)s::integer[]))

-- name: end_sessions
-- The process of a life that is gone may only be stopped: its sessions still have claims, and may publish.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = concat_ws(' ', 'billfold', %(worker_id)s::uuid) AND usename = current_user

-- name: free
-- What a dead worker had begun has failed, and is a suspect; what it had not begun waits as before.
UPDATE billing_jobs SET state = 'waiting', worker_id = NULL, worker = NULL, began_at = NULL, is_wanted_again = false,
    is_suspect = is_suspect OR began_at IS NOT NULL AND kind <> 'doctor',
    failure_count = failure_count + (began_at IS NOT NULL)::integer,
    error_code = CASE WHEN began_at IS NULL THEN error_code ELSE 'interrupted' END,
    reason = CASE WHEN began_at IS NULL THEN reason ELSE 'its worker ended before it did' END,
    due_at = clock_timestamp() + make_interval(secs => CASE WHEN began_at IS NULL THEN 0 ELSE %(seconds)s END)
WHERE worker_id = %(worker_id)s
RETURNING job_id, client_id, key

-- name: count
SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) FILTER (WHERE state = 'running') AS running,
    coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::integer AS oldest_seconds
FROM billing_jobs WHERE state <> 'dead'

-- name: count_visited
SELECT count(DISTINCT client_id) FROM billing_jobs WHERE trigger_source = 'schedule' AND state <> 'dead'

-- name: list_open
SELECT job_id, greatest(ceil(extract(epoch FROM coalesce(due_at, clock_timestamp()) - clock_timestamp())), 0)::integer
FROM billing_jobs WHERE job_id = ANY(%(job_ids)s) AND state <> 'dead'

-- name: list
SELECT job_id, state, kind, client_id, bucket, key, to_char(billing_period, 'YYYY-MM') AS billing_period, work, trigger_source,
    delivery_id, message_id, created_at, due_at, worker, began_at, is_suspect, take_count, failure_count, error_code,
    reason, ended_at
FROM billing_jobs
WHERE (%(client_id)s::text IS NULL OR client_id = %(client_id)s) AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(job_id)s::bigint IS NULL OR job_id = %(job_id)s)
ORDER BY array_position(ARRAY['running', 'waiting', 'dead'], state), coalesce(due_at, began_at, created_at), job_id
LIMIT %(limit)s

-- name: retry
-- A waiting job is due at once; a dead one waits again, as if it had never failed.
UPDATE billing_jobs SET state = 'waiting', due_at = clock_timestamp(), ended_at = NULL,
    failure_count = CASE WHEN state = 'dead' THEN 0 ELSE failure_count END
WHERE job_id = %(job_id)s AND state <> 'running' AND (%(client_id)s::text IS NULL OR client_id = %(client_id)s)
RETURNING job_id

-- name: cancel
WITH canceled AS (
    DELETE FROM billing_jobs
    WHERE job_id = %(job_id)s AND state <> 'running' AND (%(client_id)s::text IS NULL OR client_id = %(client_id)s)
    RETURNING job_id, client_id, kind
), run AS (
    UPDATE billing_doctor_runs SET started_at = coalesce(started_at, clock_timestamp()), ended_at = clock_timestamp(),
        error = 'it was canceled'
    FROM canceled WHERE canceled.kind = 'doctor' AND billing_doctor_runs.client_id = canceled.client_id
)
SELECT job_id FROM canceled
