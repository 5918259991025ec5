-- What was found in each publication's bill, in rows and money.

CREATE TABLE billing_checks (
    publication_id bigint NOT NULL REFERENCES billing_publications,
    name text NOT NULL CHECK (name <> ''),
    delivery_id uuid NOT NULL REFERENCES billing_deliveries,
    statement_id integer NOT NULL REFERENCES billing_statements,
    state text NOT NULL CHECK (state IN ('passed', 'warned')),
    row_count bigint NOT NULL CHECK (row_count >= 0),
    cost jsonb NOT NULL CHECK (jsonb_typeof(cost) = 'object'),
    detail text NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (publication_id, name)
);
COMMENT ON TABLE billing_checks IS 'The named checks of a statement''s bill as it stood after a publication; the current publication''s can be made anew.';
COMMENT ON COLUMN billing_checks.cost IS 'Exact decimals as text by currency.';
CREATE INDEX ON billing_checks (statement_id);
CREATE INDEX ON billing_checks (delivery_id);
