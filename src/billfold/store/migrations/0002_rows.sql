-- Raw line items and charges, partitioned by billing period. No foreign keys on the large tables: they would cost many
-- times the load itself. Each partition has its own unique index, so that it can be loaded and attached on its own.

CREATE TABLE raw_aws_billing_rows (
    statement_id integer NOT NULL,
    billing_period date NOT NULL,
    ingestion_run_id uuid NOT NULL,
    source_bucket text NOT NULL,
    source_s3_key text NOT NULL,
    source_etag text NOT NULL,
    row_hash uuid NOT NULL,
    occurrence integer NOT NULL,
    row_data json NOT NULL,
    added_by bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY LIST (billing_period);
COMMENT ON TABLE raw_aws_billing_rows IS 'Every line item of each statement''s current delivery, as AWS wrote it; the source columns name the file that first brought it.';

CREATE TABLE raw_aws_billing_rows_history (
    LIKE raw_aws_billing_rows INCLUDING DEFAULTS,
    removed_by bigint NOT NULL
) PARTITION BY LIST (billing_period);
COMMENT ON TABLE raw_aws_billing_rows_history IS 'Line items that a later publication withdrew.';

CREATE TABLE billing_usage_fact (
    statement_id integer NOT NULL,
    billing_period date NOT NULL,
    row_hash uuid NOT NULL,
    occurrence integer NOT NULL,
    part smallint NOT NULL,
    added_by bigint NOT NULL,
    charge_period_start timestamptz NOT NULL,
    charge_period_end timestamptz NOT NULL,
    billing_account_key integer NOT NULL,
    sub_account_key integer,
    service_key integer NOT NULL,
    region_key integer,
    resource_key integer,
    sku_key integer,
    charge_key integer NOT NULL,
    commitment_key integer,
    tag_set_key integer,
    billing_currency text NOT NULL,
    billed_cost numeric NOT NULL,
    effective_cost numeric NOT NULL,
    list_cost numeric NOT NULL,
    contracted_cost numeric NOT NULL,
    list_unit_price numeric,
    contracted_unit_price numeric,
    pricing_quantity numeric,
    consumed_quantity numeric,
    commitment_discount_quantity numeric,
    invoice_id text,
    pricing_currency text,
    pricing_currency_effective_cost numeric,
    pricing_currency_list_unit_price numeric,
    pricing_currency_contracted_unit_price numeric,
    capacity_reservation_id text,
    capacity_reservation_status text,
    discounts jsonb
) PARTITION BY LIST (billing_period);
COMMENT ON TABLE billing_usage_fact IS 'The current charges: one line item gives 0, 1 or 2 of them (part). Money is exact and never summed over currencies.';

CREATE TABLE billing_usage_fact_history (
    LIKE billing_usage_fact INCLUDING DEFAULTS,
    removed_by bigint NOT NULL
) PARTITION BY LIST (billing_period);
COMMENT ON TABLE billing_usage_fact_history IS 'Charges that a later publication withdrew.';

CREATE TABLE billing_daily_cost (
    statement_id integer NOT NULL,
    billing_period date NOT NULL,
    charge_date date NOT NULL,
    billing_account_key integer NOT NULL,
    sub_account_key integer,
    service_key integer NOT NULL,
    region_key integer,
    charge_key integer NOT NULL,
    billing_currency text NOT NULL,
    billed_cost numeric NOT NULL,
    effective_cost numeric NOT NULL,
    list_cost numeric NOT NULL,
    contracted_cost numeric NOT NULL,
    charge_count bigint NOT NULL,
    UNIQUE NULLS NOT DISTINCT (statement_id, charge_date, billing_account_key, sub_account_key, service_key, region_key,
        charge_key, billing_currency)
);
COMMENT ON TABLE billing_daily_cost IS 'The rollup that dashboards read; a charge stands on the UTC day on which it starts.';
CREATE INDEX ON billing_daily_cost (billing_period);

-- Make the partitions of a billing period. A table is created first and then attached: CREATE … PARTITION OF would lock
-- every reader out, ATTACH does not. The check lets ATTACH skip its scan.
CREATE FUNCTION billfold_create_partitions(period date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    partition text;
    key_columns text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('billfold partitions ' || period, 0));
    FOREACH parent IN ARRAY ARRAY['raw_aws_billing_rows', 'raw_aws_billing_rows_history',
                                  'billing_usage_fact', 'billing_usage_fact_history'] LOOP
        partition := parent || to_char(period, '_YYYY_MM');
        CONTINUE WHEN to_regclass(partition) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS, CHECK (billing_period = %L))',
            partition, parent, period);
        key_columns := 'statement_id, row_hash, occurrence' || CASE WHEN parent LIKE '%fact%' THEN ', part' ELSE '' END;
        EXECUTE format('CREATE %s INDEX ON %I (%s)', CASE WHEN parent LIKE '%history' THEN '' ELSE 'UNIQUE' END,
            partition, key_columns);
        -- Compressing rows of more than 2 KB with pglz takes as long as the whole load: lz4 where the server has it, else
        -- rows stay as they are as long as one fits a page.
        IF parent LIKE 'raw%' AND EXISTS (SELECT FROM pg_settings
                WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
            EXECUTE format('ALTER TABLE %I ALTER row_data SET COMPRESSION lz4', partition);
        ELSIF parent LIKE 'raw%' THEN
            EXECUTE format('ALTER TABLE %I SET (toast_tuple_target = 8160)', partition);
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%L)', parent, partition, period);
    END LOOP;
END
$$;

-- A decimal number as AWS writes it, NULL for anything else: generators write the word None into numeric columns.
CREATE FUNCTION billfold_number(value text) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value ~ '^\s*[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?\s*$' THEN value::numeric END
$$;
