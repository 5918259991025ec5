-- Three roles with the least rights. The role that migrates owns everything (billfold_owner, where one is made for it);
-- billfold_ingest writes rows and makes the partitions of new months, but no tables; billfold_reader reads.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'billfold_ingest') THEN
        CREATE ROLE billfold_ingest NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'role billfold_ingest is missing: an administrator creates it, then the owner runs SELECT billfold_grant_rights()';
END
$$;

-- Whoever ingests makes new months with the owner's rights, and can do nothing else with them: the names are Billfold's
-- own, each is sought in Billfold's schema alone, and a period is the first day of a month.
CREATE OR REPLACE FUNCTION billfold_create_partitions(period date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
    parent text;
    partition text;
    key_columns text;
BEGIN
    IF period IS NULL OR extract(day FROM period) <> 1 OR period NOT BETWEEN '2000-01-01' AND '2199-12-01' THEN
        RAISE EXCEPTION 'a billing period is the first day of a month, not %', period;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('billfold partitions ' || period, 0));
    FOREACH parent IN ARRAY ARRAY['raw_aws_billing_rows', 'raw_aws_billing_rows_history',
                                  'billing_usage_fact', 'billing_usage_fact_history'] LOOP
        partition := parent || to_char(period, '_YYYY_MM');
        CONTINUE WHEN to_regclass(format('%I.%I', home, partition)) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS, CHECK (billing_period = %L))',
            home, partition, home, parent, period);
        key_columns := 'statement_id, row_hash, occurrence' || CASE WHEN parent LIKE '%fact%' THEN ', part' ELSE '' END;
        EXECUTE format('CREATE %s INDEX ON %I.%I (%s)', CASE WHEN parent LIKE '%history' THEN '' ELSE 'UNIQUE' END,
            home, partition, key_columns);
        -- Compressing rows of more than 2 KB with pglz takes as long as the whole load: lz4 where the server has it, else
        -- rows stay as they are as long as one fits a page.
        IF parent LIKE 'raw%' AND EXISTS (SELECT FROM pg_settings
                WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
            EXECUTE format('ALTER TABLE %I.%I ALTER row_data SET COMPRESSION lz4', home, partition);
        ELSIF parent LIKE 'raw%' THEN
            EXECUTE format('ALTER TABLE %I.%I SET (toast_tuple_target = 8160)', home, partition);
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'billfold_ingest') THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO billfold_ingest', home, partition);
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'billfold_reader') THEN
            EXECUTE format('GRANT SELECT ON %I.%I TO billfold_reader', home, partition);
        END IF;
        EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES IN (%L)', home, parent, home, partition, period);
    END LOOP;
END
$$;

-- Give both roles, as far as they exist, what they need, and nothing else. The owner of the tables runs it again after an
-- administrator has made a role.
CREATE FUNCTION billfold_grant_rights() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
    relation text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'billfold_reader') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO billfold_reader', home);
        -- The schema may hold tables that are not Billfold's: they are not ours to open.
        FOR relation IN
            SELECT relname FROM pg_class WHERE relnamespace = home::regnamespace AND relkind IN ('r', 'p', 'v')
                AND (relname ~ '^(billing_|raw_aws_billing_rows|dim_)'
                    OR relname IN ('billfold_migrations', 'focus_cost_and_usage'))
        LOOP
            EXECUTE format('GRANT SELECT ON %I.%I TO billfold_reader', home, relation);
        END LOOP;
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO billfold_reader', home);
        -- An external id is between a client and us.
        EXECUTE format('REVOKE SELECT ON %I.billing_clients FROM billfold_reader', home);
        EXECUTE (
            SELECT format('GRANT SELECT (%s) ON %I.billing_clients TO billfold_reader',
                string_agg(quote_ident(attname), ', ' ORDER BY attnum), home)
            FROM pg_attribute
            WHERE attrelid = format('%I.billing_clients', home)::regclass AND attnum > 0 AND NOT attisdropped
                AND attname <> 'external_id'
        );
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'billfold_ingest') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO billfold_ingest', home);
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO billfold_ingest', current_database());
        FOR relation IN
            SELECT relname FROM pg_class WHERE relnamespace = home::regnamespace AND relkind IN ('r', 'p')
                AND relname ~ '^(billing_|raw_aws_billing_rows|dim_)'
        LOOP
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO billfold_ingest', home, relation);
        END LOOP;
        -- The number of a publication is drawn before its row is written.
        FOR relation IN
            SELECT relname FROM pg_class WHERE relnamespace = home::regnamespace AND relkind = 'S'
                AND relname ~ '^(billing_|dim_)'
        LOOP
            EXECUTE format('GRANT USAGE ON SEQUENCE %I.%I TO billfold_ingest', home, relation);
        END LOOP;
        EXECUTE format('GRANT SELECT ON %I.billfold_migrations, %I.focus_cost_and_usage TO billfold_ingest', home, home);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO billfold_ingest',
            home);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE ON SEQUENCES TO billfold_ingest', home);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I.billfold_create_partitions(date) TO billfold_ingest', home);
    END IF;
END
$$;

-- A function runs in the schema that it was made in, whatever its caller's search_path is, and temporary tables come last.
DO $$
DECLARE
    home text := current_schema();
BEGIN
    EXECUTE format('ALTER FUNCTION %I.billfold_create_partitions(date) SECURITY DEFINER SET search_path = %I, pg_temp', home, home);
    EXECUTE format('ALTER FUNCTION %I.billfold_grant_rights() SET search_path = %I, pg_temp', home, home);
    EXECUTE format('REVOKE ALL ON FUNCTION %I.billfold_create_partitions(date), %I.billfold_grant_rights() FROM PUBLIC', home, home);
END
$$;

SELECT billfold_grant_rights();
