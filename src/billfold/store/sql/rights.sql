-- What doctor reads from PostgreSQL: its version, and what writer and reader may do.

-- name: describe_server
SELECT current_setting('server_version_num')::integer AS version_number, current_setting('server_version') AS version,
    session_user::text AS role_name, (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) AS is_superuser

-- name: list_missing_rights
-- The rights that an ingest needs and the connected role lacks; the first few.
WITH needed AS (
    SELECT format('%s on %s', privilege, relname) AS missing, 1 AS place FROM pg_class
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
    WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
        AND relname ~ '^(billing_|raw_aws_billing_rows|dim_)' AND NOT has_table_privilege(oid, privilege)
    UNION ALL
    SELECT 'USAGE on ' || relname, 1 FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relname ~ '^(billing_|dim_)'
        -- Only a sequence is tested for a sequence's rights: the planner may test the rights first.
        AND CASE WHEN relkind = 'S' THEN NOT has_sequence_privilege(oid, 'USAGE') END
    UNION ALL
    SELECT 'SELECT on billfold_migrations', 2 WHERE NOT has_table_privilege('billfold_migrations', 'SELECT')
    UNION ALL
    SELECT 'TEMPORARY on database ' || current_database(), 3
    WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
)
SELECT missing FROM needed ORDER BY place, missing LIMIT 5

-- name: may_create_partitions
-- New months need the function that makes their partitions: its owner's rights, or the tables themselves.
SELECT has_function_privilege(oid, 'EXECUTE') AND (prosecdef OR pg_has_role(session_user,
    (SELECT relowner FROM pg_class WHERE oid = 'raw_aws_billing_rows'::regclass), 'USAGE'))
FROM pg_proc WHERE oid = 'billfold_create_partitions(date)'::regprocedure

-- name: describe_reader
SELECT session_user::text AS role_name,
    has_table_privilege('focus_cost_and_usage', 'SELECT') AND has_column_privilege('billing_jobs', 'state', 'SELECT')
        AS may_read,
    has_column_privilege('billing_clients', 'external_id', 'SELECT') AS sees_external_ids,
    has_column_privilege('billing_jobs', 'body', 'SELECT') OR has_column_privilege('billing_jobs', 'attributes', 'SELECT')
        AS sees_messages

-- name: find_last_event
-- When the last message about one of the client's objects was handled.
SELECT greatest(
    (SELECT max(created_at) FROM billing_ingestion_runs
        WHERE client_id = %(client_id)s AND trigger_source IN ('sqs', 'eventbridge')),
    (SELECT max(created_at) FROM billing_deliveries
        WHERE client_id = %(client_id)s AND trigger_source IN ('sqs', 'eventbridge')))
