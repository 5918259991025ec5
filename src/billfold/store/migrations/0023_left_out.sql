-- What a delivery is judged by before it replaces a bill, the files that are known not to be bills, and months that
-- somebody named.

ALTER TABLE billing_publications ADD COLUMN undiscounted_cost_after jsonb;
COMMENT ON COLUMN billing_publications.undiscounted_cost_after IS 'By currency, the gross cost of the line items without credits, refunds and discounts: the money that a later delivery must not lose. Null for publications of earlier versions; then the daily costs stand in.';

ALTER TABLE billing_deliveries ADD COLUMN named_period date CHECK (extract(day FROM named_period) = 1);
COMMENT ON COLUMN billing_deliveries.named_period IS 'The billing period that somebody named for files that name none.';

CREATE TABLE billing_left_out_files (
    client_id text NOT NULL REFERENCES billing_clients,
    source_bucket text NOT NULL,
    source_s3_key text NOT NULL,
    source_etag text NOT NULL,
    kind text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (client_id, source_bucket, source_s3_key)
);
COMMENT ON TABLE billing_left_out_files IS 'Files in a client''s folder that are not bills, by the version that was read: a later pass does not read them again.';
COMMENT ON COLUMN billing_left_out_files.kind IS 'What the file is, as messages name it.';

SELECT billfold_grant_rights();
