-- Split cost allocation: what the containers of an EC2 instance cost, beside the charges that bill the instance.

-- A ledger that adds up to zero for each instance and charge period: the workloads, what AWS left over, and the charges of
-- the instance that they replace, as negative amounts. Charges plus this table are the same total, told apart by workload.
CREATE TABLE billing_split_cost (
    statement_id integer NOT NULL,
    billing_period date NOT NULL,
    row_hash uuid NOT NULL,
    occurrence integer NOT NULL,
    part smallint NOT NULL,
    allocation text NOT NULL CHECK (allocation IN ('workload', 'not allocated', 'parent')),
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
    parent_resource_id text,
    has_parent boolean NOT NULL,
    billing_currency text NOT NULL,
    cost numeric NOT NULL,
    split_cost numeric,
    unused_cost numeric,
    public_on_demand_split_cost numeric,
    public_on_demand_unused_cost numeric,
    split_usage numeric,
    actual_usage numeric,
    reserved_usage numeric,
    split_usage_ratio numeric,
    CHECK (has_parent OR (allocation = 'workload' AND cost = 0))
) PARTITION BY LIST (billing_period);
COMMENT ON TABLE billing_split_cost IS 'Current split cost allocation: workloads, what is not allocated, and the charges of their parents with the opposite sign. The cost adds up to 0 for each parent, usage account, charge period and currency.';
COMMENT ON COLUMN billing_split_cost.row_hash IS 'Of the split line item; of a parent that of its charge; of what is not allocated the hash of account, parent, charge period and currency.';
COMMENT ON COLUMN billing_split_cost.has_parent IS 'Whether the statement holds the charge that is split. A workload without it costs 0 here.';
COMMENT ON COLUMN billing_split_cost.cost IS 'What the row adds to the costs where workloads stand in for their parents.';

CREATE TABLE billing_split_cost_history (
    LIKE billing_split_cost INCLUDING DEFAULTS,
    removed_by bigint NOT NULL
) PARTITION BY LIST (billing_period);
COMMENT ON TABLE billing_split_cost_history IS 'Rows of billing_split_cost that a later publication withdrew.';

CREATE INDEX ON billing_split_cost (statement_id, added_by);
CREATE INDEX ON billing_split_cost_history (statement_id, removed_by);

-- As in 0011, with the two tables.
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
    FOREACH parent IN ARRAY ARRAY['raw_aws_billing_rows', 'raw_aws_billing_rows_history', 'billing_usage_fact',
                                  'billing_usage_fact_history', 'billing_split_cost', 'billing_split_cost_history'] LOOP
        partition := parent || to_char(period, '_YYYY_MM');
        CONTINUE WHEN to_regclass(format('%I.%I', home, partition)) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS, CHECK (billing_period = %L))',
            home, partition, home, parent, period);
        key_columns := 'statement_id, row_hash, occurrence'
            || CASE WHEN parent LIKE '%fact%' THEN ', part' WHEN parent LIKE '%split%' THEN ', part, allocation' ELSE '' END;
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

-- As in 0011, with the view of split costs. billfold_grant_rights() calls it, and keeps the tokens from the reader.
CREATE OR REPLACE FUNCTION billfold_grant_usual_rights() RETURNS void LANGUAGE plpgsql AS $$
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
                    OR relname IN ('billfold_migrations', 'focus_cost_and_usage', 'focus_split_cost'))
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
        EXECUTE format('GRANT SELECT ON %I.billfold_migrations, %I.focus_cost_and_usage, %I.focus_split_cost TO billfold_ingest',
            home, home, home);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO billfold_ingest',
            home);
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT USAGE ON SEQUENCES TO billfold_ingest', home);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I.billfold_create_partitions(date) TO billfold_ingest', home);
    END IF;
END
$$;

-- To replace a function forgets what it was set to run as.
DO $$
DECLARE
    home text := current_schema();
BEGIN
    EXECUTE format('ALTER FUNCTION %I.billfold_create_partitions(date) SECURITY DEFINER SET search_path = %I, pg_temp', home, home);
    EXECUTE format('ALTER FUNCTION %I.billfold_grant_usual_rights() SET search_path = %I, pg_temp', home, home);
END
$$;

-- The months that are there already.
SELECT billfold_create_partitions(billing_period) FROM (
    SELECT DISTINCT billing_period FROM billing_statements
    WHERE to_regclass('billing_usage_fact' || to_char(billing_period, '_YYYY_MM')) IS NOT NULL
    ORDER BY billing_period
) AS known;

-- Rows of billing_split_cost of the statements that counted at that moment, as charges_as_of gives the charges.
CREATE FUNCTION split_cost_as_of(moment timestamptz) RETURNS SETOF billing_split_cost
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT split.statement_id, split.billing_period, row_hash, occurrence, part, allocation, added_by, charge_period_start,
        charge_period_end, billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key,
        charge_key, commitment_key, tag_set_key, parent_resource_id, has_parent, billing_currency, cost, split_cost,
        unused_cost, public_on_demand_split_cost, public_on_demand_unused_cost, split_usage, actual_usage,
        reserved_usage, split_usage_ratio
    FROM publications_as_of(moment) AS stood
    JOIN billing_split_cost AS split
        ON split.statement_id = stood.statement_id AND split.billing_period = stood.billing_period
        AND split.added_by <= stood.publication_id
    WHERE stood.counted AND CASE WHEN stood.remembered_since > moment
        THEN billfold_refuse_forgotten(stood.statement_id, stood.remembered_since) ELSE true END
    UNION ALL
    SELECT split.statement_id, split.billing_period, row_hash, occurrence, part, allocation, added_by, charge_period_start,
        charge_period_end, billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key,
        charge_key, commitment_key, tag_set_key, parent_resource_id, has_parent, billing_currency, cost, split_cost,
        unused_cost, public_on_demand_split_cost, public_on_demand_unused_cost, split_usage, actual_usage,
        reserved_usage, split_usage_ratio
    FROM publications_as_of(moment) AS stood
    JOIN billing_split_cost_history AS split
        ON split.statement_id = stood.statement_id AND split.billing_period = stood.billing_period
        AND split.added_by <= stood.publication_id AND split.removed_by > stood.publication_id
    WHERE stood.counted
    UNION ALL
    -- No rows come of this: it refuses even where a statement holds nothing any more.
    SELECT stood.statement_id, stood.billing_period, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM publications_as_of(moment) AS stood
    WHERE stood.counted AND CASE WHEN stood.remembered_since > moment
        THEN NOT billfold_refuse_forgotten(stood.statement_id, stood.remembered_since) ELSE false END
$$;

-- What a workload is called, by the tags that AWS gives it and by its ARN: pod/cluster/namespace/pod/uid of EKS,
-- task/cluster/task of ECS. CUR 2.0's map of resource tags spells keys in another way than legacy CUR.
CREATE FUNCTION billfold_workload(tags jsonb, resource_id text)
RETURNS TABLE (
    cluster text, namespace text, workload_type text, workload_name text, deployment text, node text, pod text, task text,
    ecs_service text, batch_compute_environment text, batch_job_queue text, batch_job_definition text
)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT
        coalesce(tags ->> 'aws:eks:cluster-name', tags ->> 'aws:eks_cluster_name',
            tags ->> 'aws:ecs:clusterName', tags ->> 'aws:ecs_cluster_name',
            CASE WHEN resource_id LIKE 'arn:%:eks:%:pod/%/%' OR resource_id LIKE 'arn:%:ecs:%:task/%/%'
                THEN split_part(resource_id, '/', 2) END),
        coalesce(tags ->> 'aws:eks:namespace', tags ->> 'aws:eks_namespace',
            CASE WHEN resource_id LIKE 'arn:%:eks:%:pod/%/%/%' THEN split_part(resource_id, '/', 3) END),
        coalesce(tags ->> 'aws:eks:workload-type', tags ->> 'aws:eks_workload_type'),
        coalesce(tags ->> 'aws:eks:workload-name', tags ->> 'aws:eks_workload_name'),
        coalesce(tags ->> 'aws:eks:deployment', tags ->> 'aws:eks_deployment'),
        coalesce(tags ->> 'aws:eks:node', tags ->> 'aws:eks_node'),
        CASE WHEN resource_id LIKE 'arn:%:eks:%:pod/%/%/%' THEN split_part(resource_id, '/', 4) END,
        CASE WHEN resource_id LIKE 'arn:%:ecs:%:task/%' THEN reverse(split_part(reverse(resource_id), '/', 1)) END,
        coalesce(tags ->> 'aws:ecs:serviceName', tags ->> 'aws:ecs_service_name'),
        coalesce(tags ->> 'aws:batch:compute-environment', tags ->> 'aws:batch_compute_environment'),
        coalesce(tags ->> 'aws:batch:job-queue', tags ->> 'aws:batch_job_queue'),
        coalesce(tags ->> 'aws:batch:job-definition', tags ->> 'aws:batch_job_definition')
$$;

-- The allocated rows under FOCUS's names, those of FOCUS 1.3 among them. ResourceId is the resource whose cost is split,
-- AllocatedResourceId the workload. What is billed is not allocated: there is no BilledCost.
CREATE VIEW focus_split_cost AS
SELECT
    CASE WHEN split.split_usage IS NOT NULL THEN jsonb_build_object('Elements', jsonb_build_array(jsonb_strip_nulls(
        jsonb_build_object('UsageUnit', sku.consumed_unit, 'UsageQuantity', split.split_usage,
            'x_SplitUsageRatio', split.split_usage_ratio)))) END AS "AllocatedMethodDetails",
    'AWS split cost allocation data' AS "AllocatedMethodId",
    CASE WHEN split.allocation = 'workload' THEN resource.resource_id END AS "AllocatedResourceId",
    CASE WHEN split.allocation = 'workload' THEN coalesce(workload.pod, workload.task) END AS "AllocatedResourceName",
    CASE WHEN split.allocation = 'workload' THEN tag_set.tags END AS "AllocatedTags",
    region.availability_zone AS "AvailabilityZone",
    billing_account.account_id AS "BillingAccountId",
    coalesce(billing_account.account_name, payer.account_name, billing_account.account_id) AS "BillingAccountName",
    billing_account.account_type AS "BillingAccountType",
    split.billing_currency AS "BillingCurrency",
    (split.billing_period + interval '1 month') AT TIME ZONE 'UTC' AS "BillingPeriodEnd",
    split.billing_period::timestamp AT TIME ZONE 'UTC' AS "BillingPeriodStart",
    charge.charge_category AS "ChargeCategory",
    sku.charge_description AS "ChargeDescription",
    charge.charge_frequency AS "ChargeFrequency",
    split.charge_period_end AS "ChargePeriodEnd",
    split.charge_period_start AS "ChargePeriodStart",
    split.split_usage AS "ConsumedQuantity",
    CASE WHEN split.split_usage IS NOT NULL THEN sku.consumed_unit END AS "ConsumedUnit",
    split.cost AS "EffectiveCost",
    service.invoice_issuer_name AS "InvoiceIssuerName",
    split.public_on_demand_split_cost + split.public_on_demand_unused_cost AS "ListCost",
    service.provider_name AS "ProviderName",
    service.publisher_name AS "PublisherName",
    region.region_id AS "RegionId",
    region.region_name AS "RegionName",
    split.parent_resource_id AS "ResourceId",
    service.service_category AS "ServiceCategory",
    service.service_name AS "ServiceName",
    service.service_subcategory AS "ServiceSubcategory",
    sku.sku_id AS "SkuId",
    sku.sku_meter AS "SkuMeter",
    sub_account.account_id AS "SubAccountId",
    coalesce(sub_account.account_name, member.account_name, sub_account.account_id) AS "SubAccountName",
    sub_account.account_type AS "SubAccountType",
    tag_set.tags AS "Tags",
    split.actual_usage AS "x_ActualUsage",
    split.allocation AS "x_Allocation",
    workload.batch_compute_environment AS "x_BatchComputeEnvironment",
    workload.batch_job_definition AS "x_BatchJobDefinition",
    workload.batch_job_queue AS "x_BatchJobQueue",
    statement.client_id AS "x_ClientId",
    workload.cluster AS "x_Cluster",
    tag_set.cost_categories AS "x_CostCategories",
    workload.deployment AS "x_Deployment",
    workload.ecs_service AS "x_EcsService",
    split.has_parent AS "x_HasParent",
    workload.namespace AS "x_Namespace",
    workload.node AS "x_Node",
    sku.operation AS "x_Operation",
    workload.pod AS "x_Pod",
    split.reserved_usage AS "x_ReservedUsage",
    service.service_code AS "x_ServiceCode",
    split.split_cost AS "x_SplitCost",
    split.split_usage_ratio AS "x_SplitUsageRatio",
    split.statement_id AS "x_StatementId",
    workload.task AS "x_Task",
    split.unused_cost AS "x_UnusedCost",
    workload.workload_name AS "x_WorkloadName",
    workload.workload_type AS "x_WorkloadType"
FROM billing_split_cost AS split
JOIN billing_statements AS statement ON statement.statement_id = split.statement_id AND statement.counted
JOIN dim_account AS billing_account ON billing_account.account_key = split.billing_account_key
JOIN dim_service AS service ON service.service_key = split.service_key
JOIN dim_charge AS charge ON charge.charge_key = split.charge_key
LEFT JOIN dim_account AS sub_account ON sub_account.account_key = split.sub_account_key
LEFT JOIN dim_region AS region ON region.region_key = split.region_key
LEFT JOIN dim_resource AS resource ON resource.resource_key = split.resource_key
LEFT JOIN dim_sku AS sku ON sku.sku_key = split.sku_key
LEFT JOIN dim_tag_set AS tag_set ON tag_set.tag_set_key = split.tag_set_key
LEFT JOIN billing_account_owners AS payer
    ON payer.client_id = statement.client_id AND payer.account_id = billing_account.account_id
LEFT JOIN billing_account_owners AS member
    ON member.client_id = statement.client_id AND member.account_id = sub_account.account_id
CROSS JOIN LATERAL billfold_workload(tag_set.tags,
    CASE WHEN split.allocation = 'workload' THEN resource.resource_id END) AS workload
WHERE split.allocation <> 'parent';
COMMENT ON VIEW focus_split_cost IS 'The allocated rows of split cost allocation of all counted statements, under the column names of FOCUS 1.3. EffectiveCost adds up to that of the parents.';

SELECT billfold_grant_rights();
