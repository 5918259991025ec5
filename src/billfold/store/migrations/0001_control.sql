-- Control tables: clients, statements, deliveries, runs, publications.

CREATE TABLE billing_clients (
    client_id text PRIMARY KEY CHECK (client_id <> ''),
    role_arn text,
    external_id text,
    bucket text,
    prefix text NOT NULL DEFAULT '',
    region text,
    account_id text CHECK (account_id ~ '^[0-9]{12}$'),
    currency text NOT NULL DEFAULT 'USD',
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE billing_clients IS 'A tenant whose AWS bill is ingested.';

CREATE TABLE billing_statements (
    statement_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_id text NOT NULL REFERENCES billing_clients,
    bucket text NOT NULL,
    export_path text NOT NULL,
    export_name text NOT NULL,
    billing_period date NOT NULL CHECK (extract(day FROM billing_period) = 1),
    hash_version smallint NOT NULL,
    cost_basis text CHECK (cost_basis IN ('gross', 'net')),
    mapping_version smallint,
    currency text NOT NULL,
    counted boolean NOT NULL DEFAULT true,
    current_delivery_id uuid,
    current_publication_id bigint,
    row_count bigint NOT NULL DEFAULT 0 CHECK (row_count >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (client_id, bucket, export_path, billing_period),
    CHECK ((current_delivery_id IS NULL) = (current_publication_id IS NULL))
);
COMMENT ON COLUMN billing_statements.currency IS 'Stands in where the export names none: the client''s currency when the statement was first seen.';
COMMENT ON TABLE billing_statements IS 'What one export says about one billing period; a file outside any export is its own statement.';

CREATE TABLE billing_deliveries (
    delivery_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    client_id text NOT NULL REFERENCES billing_clients,
    statement_id integer REFERENCES billing_statements,
    bucket text NOT NULL,
    export_path text NOT NULL,
    export_name text NOT NULL,
    billing_period date,
    manifest_key text,
    manifest_etag text,
    execution_id text,
    content_digest text NOT NULL,
    format text,
    delivered_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'running', 'published', 'superseded', 'held', 'failed', 'rolled_back')),
    trigger_source text NOT NULL CHECK (trigger_source IN ('cli', 'api', 'sqs', 'eventbridge', 'schedule')),
    rows_read bigint NOT NULL DEFAULT 0,
    rows_added bigint NOT NULL DEFAULT 0,
    rows_removed bigint NOT NULL DEFAULT 0,
    rows_unchanged bigint NOT NULL DEFAULT 0,
    source_cost jsonb NOT NULL DEFAULT '{}',
    billed_cost jsonb NOT NULL DEFAULT '{}',
    mapping_version smallint,
    findings jsonb NOT NULL DEFAULT '[]',
    timings jsonb NOT NULL DEFAULT '{}',
    attempts integer NOT NULL DEFAULT 0,
    error_code text,
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    UNIQUE (client_id, bucket, export_path, content_digest),
    CHECK ((finished_at IS NULL) = (state IN ('pending', 'running'))),
    CHECK (state <> 'published' OR statement_id IS NOT NULL),
    CHECK ((state = 'failed') = (error_code IS NOT NULL))
);
COMMENT ON TABLE billing_deliveries IS 'One refresh of one statement: its manifest and data files.';
COMMENT ON COLUMN billing_deliveries.content_digest IS 'SHA-256 of period, manifest, delivered_at and the (key, ETag) of each file: the same refresh seen twice is one row.';
COMMENT ON COLUMN billing_deliveries.source_cost IS 'Exact decimals as text by currency.';
CREATE INDEX ON billing_deliveries (statement_id, created_at);
CREATE INDEX ON billing_deliveries (created_at);

ALTER TABLE billing_statements
    ADD FOREIGN KEY (current_delivery_id) REFERENCES billing_deliveries DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE billing_ingestion_runs (
    ingestion_run_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    client_id text NOT NULL REFERENCES billing_clients,
    delivery_id uuid REFERENCES billing_deliveries,
    source_bucket text NOT NULL,
    source_s3_key text NOT NULL,
    source_etag text NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'success', 'failed', 'skipped')),
    trigger_source text NOT NULL CHECK (trigger_source IN ('cli', 'api', 'sqs', 'eventbridge', 'schedule')),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    size_bytes bigint,
    sha256 text,
    rows_read bigint NOT NULL DEFAULT 0 CHECK (rows_read >= 0),
    rows_inserted bigint NOT NULL DEFAULT 0 CHECK (rows_inserted >= 0),
    rows_skipped bigint NOT NULL DEFAULT 0 CHECK (rows_skipped >= 0),
    error_code text,
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    UNIQUE (source_bucket, source_s3_key, source_etag),
    CHECK ((finished_at IS NULL) = (status IN ('pending', 'running'))),
    CHECK (status <> 'failed' OR error_code IS NOT NULL),
    CHECK (rows_inserted + rows_skipped <= rows_read)
);
COMMENT ON TABLE billing_ingestion_runs IS 'The ingestion of one version (bucket, key, ETag) of one data file; once a success always a success.';
CREATE INDEX ON billing_ingestion_runs (created_at);
CREATE INDEX ON billing_ingestion_runs (delivery_id);

CREATE TABLE billing_delivery_files (
    delivery_id uuid NOT NULL REFERENCES billing_deliveries,
    ingestion_run_id uuid NOT NULL REFERENCES billing_ingestion_runs,
    file_number integer NOT NULL,
    outcome text NOT NULL DEFAULT 'pending' CHECK (outcome IN ('pending', 'running', 'success', 'failed', 'skipped')),
    rows_read bigint NOT NULL DEFAULT 0,
    rows_inserted bigint NOT NULL DEFAULT 0,
    rows_skipped bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (delivery_id, file_number)
);
COMMENT ON TABLE billing_delivery_files IS 'Which file versions make up a delivery, and what each brought to it.';
CREATE INDEX ON billing_delivery_files (ingestion_run_id);

CREATE TABLE billing_publications (
    publication_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    statement_id integer NOT NULL REFERENCES billing_statements,
    number integer NOT NULL CHECK (number > 0),
    kind text NOT NULL CHECK (kind IN ('delivery', 'rollback', 'remap', 'switch')),
    delivery_id uuid REFERENCES billing_deliveries,
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    hash_version smallint NOT NULL,
    mapping_version smallint NOT NULL,
    cost_basis text NOT NULL CHECK (cost_basis IN ('gross', 'net')),
    rows_before bigint NOT NULL,
    rows_added bigint NOT NULL,
    rows_removed bigint NOT NULL,
    rows_after bigint NOT NULL,
    charges_before bigint NOT NULL,
    charges_after bigint NOT NULL,
    billed_cost_before jsonb NOT NULL,
    billed_cost_after jsonb NOT NULL,
    gross_cost_after jsonb NOT NULL,
    net_cost_after jsonb NOT NULL,
    left_out jsonb NOT NULL DEFAULT '[]',
    UNIQUE (statement_id, number),
    CHECK (rows_before + rows_added - rows_removed = rows_after)
);
COMMENT ON TABLE billing_publications IS 'One change of a statement''s current bill, numbered inside the statement.';
COMMENT ON COLUMN billing_publications.left_out IS 'Line items that became no charge: reason, currency, rows, cost.';

ALTER TABLE billing_statements
    ADD FOREIGN KEY (current_publication_id) REFERENCES billing_publications DEFERRABLE INITIALLY DEFERRED;
