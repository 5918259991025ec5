-- The one queue: everything that waits to be ingested, wherever it came from.
CREATE TABLE billing_jobs (
    job_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_id text NOT NULL REFERENCES billing_clients,
    kind text NOT NULL DEFAULT 'ingest' CHECK (kind IN ('ingest', 'visit', 'doctor')),
    bucket text NOT NULL,
    key text NOT NULL,
    billing_period date CHECK (billing_period = date_trunc('month', billing_period)),
    work text NOT NULL,
    trigger_source text NOT NULL CHECK (trigger_source IN ('api', 'sqs', 'eventbridge', 'schedule')),
    is_event boolean NOT NULL DEFAULT false,
    delivery_id uuid REFERENCES billing_deliveries,
    message_id text,
    queue_url text,
    body text,
    attributes jsonb,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'dead')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz DEFAULT clock_timestamp(),
    worker_id uuid,
    worker text,
    began_at timestamptz,
    is_wanted_again boolean NOT NULL DEFAULT false,
    is_suspect boolean NOT NULL DEFAULT false,
    take_count integer NOT NULL DEFAULT 0 CHECK (take_count >= 0),
    failure_count integer NOT NULL DEFAULT 0 CHECK (failure_count >= 0),
    error_code text,
    reason text,
    ended_at timestamptz,
    CHECK ((state = 'waiting') = (due_at IS NOT NULL)),
    CHECK ((state = 'running') = (worker_id IS NOT NULL)),
    CHECK ((state = 'running') = (worker IS NOT NULL)),
    CHECK (began_at IS NULL OR state = 'running'),
    CHECK ((state = 'dead') = (ended_at IS NOT NULL)),
    CHECK (NOT is_wanted_again OR state = 'running'),
    CHECK ((message_id IS NULL) = (body IS NULL)),
    CHECK ((message_id IS NULL) = (queue_url IS NULL))
);
COMMENT ON TABLE billing_jobs IS 'What waits to be ingested, is being ingested, or was given up; the row of a job that is done goes.';
COMMENT ON COLUMN billing_jobs.kind IS 'ingest: the object is ingested; visit: what is not current in the folder waits to be ingested; doctor: doctor runs for the client.';
COMMENT ON COLUMN billing_jobs.work IS 'The statement or the key: no two workers have the same work of a client at once.';
COMMENT ON COLUMN billing_jobs.delivery_id IS 'The delivery that was requested, or that the schedule found; empty for what a message announced.';
COMMENT ON COLUMN billing_jobs.body IS 'The message of SQS that announced it, for its dead-letter queue.';
COMMENT ON COLUMN billing_jobs.due_at IS 'When it is tried next.';
COMMENT ON COLUMN billing_jobs.worker_id IS 'One life of the worker that has taken it; that one holds the advisory lock of this id while it lives.';
COMMENT ON COLUMN billing_jobs.worker IS 'The machine and the process of that worker, for people.';
COMMENT ON COLUMN billing_jobs.began_at IS 'When the attempt began; empty while the worker waits until the job can be alone.';
COMMENT ON COLUMN billing_jobs.is_wanted_again IS 'It was announced or requested again while it was worked on: it is worked on once more.';
COMMENT ON COLUMN billing_jobs.is_suspect IS 'Its last worker died during the attempt: the next attempt is made alone.';
COMMENT ON COLUMN billing_jobs.take_count IS 'How often a worker took it, waits for others included.';
COMMENT ON COLUMN billing_jobs.failure_count IS 'How many attempts failed.';

-- A job reads its object as it is when it begins: another one that waits for the same object would do nothing more.
CREATE UNIQUE INDEX billing_jobs_object ON billing_jobs (client_id, kind, bucket, key, billing_period) NULLS NOT DISTINCT;
CREATE INDEX billing_jobs_due ON billing_jobs (client_id, is_suspect, due_at, job_id) WHERE state = 'waiting';
CREATE INDEX billing_jobs_running ON billing_jobs (client_id, work) WHERE state = 'running';
CREATE INDEX billing_jobs_doctor ON billing_jobs (due_at, job_id) WHERE kind = 'doctor' AND state = 'waiting';
CREATE INDEX billing_jobs_of_message ON billing_jobs (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX billing_jobs_of_delivery ON billing_jobs (delivery_id) WHERE delivery_id IS NOT NULL;

-- The last doctor run of each client that the dashboard requested.
CREATE TABLE billing_doctor_runs (
    client_id text PRIMARY KEY REFERENCES billing_clients,
    started_at timestamptz,
    ended_at timestamptz,
    is_cut_off boolean NOT NULL DEFAULT false,
    error text,
    probes jsonb NOT NULL DEFAULT '[]',
    CHECK (ended_at IS NULL OR started_at IS NOT NULL)
);
COMMENT ON TABLE billing_doctor_runs IS 'The last doctor run of each client that the dashboard requested.';
COMMENT ON COLUMN billing_doctor_runs.is_cut_off IS 'It reached its limit: its probes are those until then.';
COMMENT ON COLUMN billing_doctor_runs.error IS 'Why it ended early.';

-- An attempt that nobody ended has ended with its worker.
INSERT INTO billing_message_failures (message_id, client_id, failures, error_code, last_failed_at)
SELECT message_id, client_id, 1, 'interrupted', began_at FROM billing_message_attempts
ON CONFLICT (message_id) DO UPDATE SET failures = billing_message_failures.failures + 1,
    error_code = excluded.error_code, last_failed_at = excluded.last_failed_at;
DROP TABLE billing_message_attempts;

-- What was requested and still waits goes over with its failures.
INSERT INTO billing_jobs (client_id, bucket, key, billing_period, work, trigger_source, delivery_id, created_at, due_at,
    is_suspect, take_count, failure_count, error_code)
SELECT delivery.client_id, delivery.bucket, source.key, delivery.named_period,
    CASE WHEN delivery.manifest_key IS NULL THEN concat_ws(' ', delivery.bucket, source.key)
        ELSE concat_ws(' ', delivery.bucket, delivery.export_path, to_char(delivery.billing_period, 'YYYY-MM')) END,
    delivery.asked_by, delivery.delivery_id, delivery.asked_at, delivery.not_before,
    coalesce(failed.error_code = 'interrupted', false), delivery.taken_count, coalesce(failed.failures, 0),
    failed.error_code
FROM billing_deliveries AS delivery
CROSS JOIN LATERAL (
    SELECT coalesce(delivery.manifest_key, (
        SELECT run.source_s3_key FROM billing_delivery_files AS file
        JOIN billing_ingestion_runs AS run USING (ingestion_run_id)
        WHERE file.delivery_id = delivery.delivery_id ORDER BY file.file_number LIMIT 1
    )) AS key
) AS source
LEFT JOIN billing_message_failures AS failed ON failed.message_id = delivery.delivery_id::text
WHERE delivery.asked_at IS NOT NULL AND source.key IS NOT NULL
ORDER BY delivery.created_at DESC
ON CONFLICT DO NOTHING;
-- Of several at one key only the last is there.
WITH replaced AS (
    UPDATE billing_deliveries AS delivery SET state = 'superseded', started_at = clock_timestamp(),
        finished_at = clock_timestamp(), reason = 'was replaced at its key before it was read'
    WHERE asked_at IS NOT NULL AND state = 'pending'
        AND NOT EXISTS (SELECT FROM billing_jobs AS job WHERE job.delivery_id = delivery.delivery_id)
    RETURNING delivery_id
), files AS (
    UPDATE billing_delivery_files SET outcome = 'skipped' FROM replaced
    WHERE billing_delivery_files.delivery_id = replaced.delivery_id AND outcome = 'pending'
    RETURNING ingestion_run_id
)
UPDATE billing_ingestion_runs AS run SET status = 'skipped', started_at = clock_timestamp(), finished_at = clock_timestamp()
FROM files
WHERE run.ingestion_run_id = files.ingestion_run_id AND run.status = 'pending' AND NOT EXISTS (
    SELECT FROM billing_delivery_files AS file JOIN billing_jobs AS job USING (delivery_id)
    WHERE file.ingestion_run_id = run.ingestion_run_id);
DELETE FROM billing_message_failures USING billing_deliveries AS delivery
WHERE message_id = delivery.delivery_id::text AND delivery.asked_at IS NOT NULL;
ALTER TABLE billing_deliveries DROP COLUMN asked_at, DROP COLUMN asked_by, DROP COLUMN not_before, DROP COLUMN taken_count;

-- A message that SQS still has keeps the failures that are known of it until its job is written.
COMMENT ON TABLE billing_message_failures IS 'How often messages had failed before the queue was moved to billing_jobs; a row goes when the job of its message is written.';

-- The reader, whose queries are the operator's own, sees no content of a message, and nothing about our machines.
CREATE OR REPLACE FUNCTION billfold_grant_rights() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
BEGIN
    PERFORM billfold_grant_usual_rights();
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'billfold_reader') THEN
        EXECUTE format('REVOKE ALL ON %I.billing_tokens, %I.billing_jobs, %I.billing_doctor_runs FROM billfold_reader',
            home, home, home);
        EXECUTE (
            SELECT format('GRANT SELECT (%s) ON %I.billing_jobs TO billfold_reader',
                string_agg(quote_ident(attname), ', ' ORDER BY attnum), home)
            FROM pg_attribute
            WHERE attrelid = format('%I.billing_jobs', home)::regclass AND attnum > 0 AND NOT attisdropped
                AND attname NOT IN ('body', 'attributes')
        );
    END IF;
END
$$;

DO $$
DECLARE
    home text := current_schema();
BEGIN
    EXECUTE format('ALTER FUNCTION %I.billfold_grant_rights() SET search_path = %I, pg_temp', home, home);
    EXECUTE format('REVOKE ALL ON FUNCTION %I.billfold_grant_rights() FROM PUBLIC', home);
END
$$;

SELECT billfold_grant_rights();
