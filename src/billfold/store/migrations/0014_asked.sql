-- What was asked for over HTTP: deliveries that wait for the server's worker. Their rows are its queue.
ALTER TABLE billing_deliveries
    ADD COLUMN asked_at timestamptz,
    ADD COLUMN asked_by text CHECK (asked_by IN ('api', 'eventbridge')),
    ADD COLUMN not_before timestamptz,
    ADD COLUMN taken_count integer NOT NULL DEFAULT 0 CHECK (taken_count >= 0),
    ADD CHECK ((asked_at IS NULL) = (asked_by IS NULL)),
    ADD CHECK ((asked_at IS NULL) = (not_before IS NULL)),
    ADD CHECK (asked_at IS NOT NULL OR taken_count = 0);
COMMENT ON COLUMN billing_deliveries.asked_at IS 'When it was asked for; empty once that is dealt with.';
COMMENT ON COLUMN billing_deliveries.asked_by IS 'What asked for it.';
COMMENT ON COLUMN billing_deliveries.not_before IS 'When it is tried next.';
COMMENT ON COLUMN billing_deliveries.taken_count IS 'How often a worker took it up since it was asked for, waits for others included.';
COMMENT ON TABLE billing_message_failures IS 'How often a message of the queue, or a delivery that was asked for, has failed; its row goes when that is done or dead, and after the 14 days for which SQS keeps a message.';
CREATE INDEX ON billing_deliveries (not_before, delivery_id) WHERE asked_at IS NOT NULL;

SELECT billfold_grant_rights();
