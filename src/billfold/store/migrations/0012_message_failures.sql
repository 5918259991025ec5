-- How often a message of the queue has failed. The queue counts waits and lost workers too, and a delivery is tried for
-- other messages as well: neither tells whether this one deserves another attempt.
CREATE TABLE billing_message_failures (
    message_id text PRIMARY KEY,
    failures integer NOT NULL CHECK (failures > 0),
    error_code text NOT NULL,
    last_failed_at timestamptz NOT NULL
);
COMMENT ON TABLE billing_message_failures IS 'How often a message of the queue has failed; its row goes when it is done or dead, and after the 14 days for which SQS keeps a message.';
CREATE INDEX ON billing_message_failures (last_failed_at);

SELECT billfold_grant_rights();
