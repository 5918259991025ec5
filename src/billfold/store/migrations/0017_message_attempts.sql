-- Which messages of the queue are being ingested, and by which worker. The row goes when the attempt has ended, however it
-- ended: one that stays was left behind by a worker that died, and tells exactly which messages it died with.
CREATE TABLE billing_message_attempts (
    message_id text PRIMARY KEY,
    client_id text NOT NULL,
    worker_id uuid NOT NULL,
    began_at timestamptz NOT NULL
);
COMMENT ON TABLE billing_message_attempts IS 'The messages of the queue that are being ingested; a row of a worker that died stays until its message comes again.';
COMMENT ON COLUMN billing_message_attempts.worker_id IS 'One life of one worker: another one that finds the row knows that this one has ended.';

-- What is known of a client's messages goes with the client.
ALTER TABLE billing_message_failures ADD COLUMN client_id text;

SELECT billfold_grant_rights();
