-- What the role of `billfold sql` may do.

-- name: list_excess_rights
-- Everything beyond reading that the connected role, or a role that it can become, may do; the first few.
WITH role AS (
    SELECT oid, rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles
    WHERE pg_has_role(session_user, oid, 'MEMBER')
), relation AS (
    SELECT oid, relkind, relnamespace FROM pg_class
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')
)
SELECT excess FROM (
    SELECT 1 AS place, 'it is a superuser' AS excess FROM role WHERE rolsuper
    UNION ALL
    SELECT 2, 'it may create roles' FROM role WHERE rolcreaterole
    UNION ALL
    SELECT 3, 'it may create databases' FROM role WHERE rolcreatedb
    UNION ALL
    SELECT 4, 'it may replicate' FROM role WHERE rolreplication
    UNION ALL
    SELECT 5, 'it passes by row security' FROM role WHERE rolbypassrls
    UNION ALL
    SELECT 6, 'it is a member of ' || rolname FROM role
    WHERE rolname ~ '^pg_'
        AND rolname NOT IN ('pg_read_all_data', 'pg_monitor', 'pg_read_all_settings', 'pg_read_all_stats',
            'pg_stat_scan_tables')
    UNION ALL
    SELECT 7, 'it may create schemas' FROM role
    WHERE has_database_privilege(role.oid, current_database(), 'CREATE')
    UNION ALL
    SELECT 8, 'it may create in schema ' || nspname FROM role, pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
        AND has_schema_privilege(role.oid, pg_namespace.oid, 'CREATE')
    UNION ALL
    SELECT 9, 'it may write to ' || relation.oid::regclass FROM role, relation
    WHERE relkind <> 'S'
        AND (has_table_privilege(role.oid, relation.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
            OR has_any_column_privilege(role.oid, relation.oid, 'INSERT, UPDATE'))
    UNION ALL
    SELECT 10, 'it may draw from ' || relation.oid::regclass FROM role, relation
    -- Only a sequence is tested for a sequence's rights: the planner may test the rights first.
    WHERE CASE WHEN relkind = 'S' THEN has_sequence_privilege(role.oid, relation.oid, 'USAGE, UPDATE') END
) AS found
GROUP BY place, excess
ORDER BY place, excess
LIMIT 3

-- name: let_reader_connect
-- The embedded server trusts everyone who reaches its socket; only there does the reader need no password.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'billfold_reader' AND NOT rolcanlogin) THEN
        ALTER ROLE billfold_reader LOGIN;
    END IF;
EXCEPTION
    WHEN internal_error THEN
        -- Another process is doing the same ("tuple concurrently updated").
        NULL;
END
$$
