-- A local copy of an export may have any file time. One that cannot be true says nothing about the order of deliveries.

ALTER TABLE billing_deliveries ADD COLUMN is_time_assumed boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN billing_deliveries.is_time_assumed IS 'Whether the file time of its local manifest cannot be true: `delivered_at` is then when it was first seen, and supersedes no other delivery.';

-- What earlier versions let in from the future would supersede every delivery until then.
UPDATE billing_deliveries SET delivered_at = created_at, is_time_assumed = true
WHERE bucket LIKE 'file://%' AND delivered_at > created_at + interval '5 minutes';
