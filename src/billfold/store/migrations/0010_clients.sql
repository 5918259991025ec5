-- Clients in a registry: those that `billfold client add` keeps, beside the one that the settings describe.

ALTER TABLE billing_clients
    ADD COLUMN is_registered boolean NOT NULL DEFAULT false,
    ADD COLUMN enabled boolean NOT NULL DEFAULT true,
    ADD COLUMN source_identity text,
    ADD COLUMN kms_key_arn text,
    ADD COLUMN max_deliveries integer NOT NULL DEFAULT 2 CHECK (max_deliveries > 0),
    ADD COLUMN max_file_bytes bigint CHECK (max_file_bytes > 0),
    ADD COLUMN refresh_hours integer NOT NULL DEFAULT 24 CHECK (refresh_hours > 0),
    ADD COLUMN backfilled_at timestamptz,
    ADD CHECK (NOT is_registered OR (bucket IS NOT NULL AND account_id IS NOT NULL AND role_arn IS NOT NULL
        AND external_id IS NOT NULL));
COMMENT ON COLUMN billing_clients.is_registered IS 'Kept by `billfold client add`; any other is as the settings described it when it was last used.';
COMMENT ON COLUMN billing_clients.enabled IS 'Nothing is ingested for a client that is not; what stands stays.';
COMMENT ON COLUMN billing_clients.source_identity IS 'What sessions of its role call themselves in the client''s CloudTrail.';
COMMENT ON COLUMN billing_clients.kms_key_arn IS 'The key of the bucket: the only one that a session may decrypt with.';
COMMENT ON COLUMN billing_clients.max_deliveries IS 'How many of its deliveries all workers together ingest at a time.';
COMMENT ON COLUMN billing_clients.max_file_bytes IS 'The largest object that is fetched for it; NULL: as the settings say.';
COMMENT ON COLUMN billing_clients.refresh_hours IS 'How often AWS is expected to deliver, and how often its prefix is looked through.';
COMMENT ON COLUMN billing_clients.backfilled_at IS 'When its prefix was last looked through to the end.';
CREATE INDEX ON billing_clients (bucket);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'billfold_reader') THEN
        GRANT SELECT (is_registered, enabled, source_identity, kms_key_arn, max_deliveries, max_file_bytes, refresh_hours,
            backfilled_at) ON billing_clients TO billfold_reader;
    END IF;
END
$$;
