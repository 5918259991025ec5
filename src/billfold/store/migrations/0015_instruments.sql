-- What /metrics asks for at every scrape is found without reading what was done long ago.

-- A success stays a success: only the latest ones are new. Whatever else a run is, it is one of few.
CREATE INDEX billing_ingestion_runs_succeeded ON billing_ingestion_runs (finished_at) WHERE status = 'success';
CREATE INDEX billing_ingestion_runs_unsuccessful ON billing_ingestion_runs (client_id, status, error_code)
    WHERE status <> 'success';

CREATE INDEX billing_deliveries_open ON billing_deliveries (client_id, state)
    WHERE state IN ('pending', 'running', 'held', 'failed');
CREATE INDEX billing_deliveries_retried ON billing_deliveries (client_id) INCLUDE (attempts) WHERE attempts > 1;

CREATE INDEX billing_checks_warned ON billing_checks (publication_id) WHERE state = 'warned';
