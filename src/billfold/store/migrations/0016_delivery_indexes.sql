-- What is asked of deliveries again and again: the newest of a client, of a state or of a statement, those of some days, and
-- which publication one first became current by.

CREATE INDEX ON billing_deliveries (client_id, created_at);
CREATE INDEX ON billing_deliveries (state, created_at);
CREATE INDEX ON billing_deliveries (client_id, delivered_at);
CREATE INDEX ON billing_deliveries (client_id, bucket, export_path, billing_period, delivered_at);
CREATE INDEX ON billing_deliveries (delivered_at);
CREATE INDEX ON billing_publications (delivery_id);
