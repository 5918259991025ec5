-- What a bill said at any earlier time, what moved between two publications, and why a delivery is not current.

-- A rollback takes back what stands, an undo takes the rollback back, an adoption empties the statement of a standalone
-- file when its export's manifest names it.
ALTER TABLE billing_publications DROP CONSTRAINT billing_publications_kind_check;
ALTER TABLE billing_publications
    ADD CHECK (kind IN ('delivery', 'rollback', 'undo', 'adoption', 'remap', 'switch')),
    ADD COLUMN restored_publication_id bigint REFERENCES billing_publications,
    ADD COLUMN counted boolean NOT NULL DEFAULT true,
    ADD CHECK (restored_publication_id IS NULL OR kind IN ('rollback', 'undo'));
COMMENT ON COLUMN billing_publications.delivery_id IS 'The delivery that stands after it; none where the statement is empty again.';
COMMENT ON COLUMN billing_publications.restored_publication_id IS 'The earlier publication whose bill stands again; none for the empty statement before the first.';
COMMENT ON COLUMN billing_publications.counted IS 'Whether the statement made up the costs when it was published.';
CREATE INDEX ON billing_publications (published_at);
UPDATE billing_publications AS publication SET counted = statement.counted
FROM billing_statements AS statement WHERE statement.statement_id = publication.statement_id AND NOT statement.counted;

-- A statement whose only delivery was rolled back stands on a publication without a delivery.
ALTER TABLE billing_statements DROP CONSTRAINT billing_statements_check;
ALTER TABLE billing_statements
    ADD CHECK (current_delivery_id IS NULL OR current_publication_id IS NOT NULL),
    ADD COLUMN remembered_since timestamptz;
COMMENT ON COLUMN billing_statements.remembered_since IS 'What was withdrawn before this moment is pruned; NULL while everything is remembered.';

ALTER TABLE billing_deliveries
    ADD COLUMN publication_id bigint REFERENCES billing_publications,
    ADD COLUMN rolled_back_by bigint REFERENCES billing_publications,
    ADD COLUMN columns jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN reason text,
    ADD COLUMN released_at timestamptz,
    ADD COLUMN last_error_code text,
    ADD COLUMN last_error_message text;
COMMENT ON COLUMN billing_deliveries.publication_id IS 'The publication by which it last became current.';
COMMENT ON COLUMN billing_deliveries.rolled_back_by IS 'The publication that rolled it back; kept while a later rollback lets it stand again.';
COMMENT ON COLUMN billing_deliveries.columns IS 'The headers of its files with the type of each.';
COMMENT ON COLUMN billing_deliveries.reason IS 'Why it is superseded, held or rolled back.';
COMMENT ON COLUMN billing_deliveries.released_at IS 'When an operator let it through although it was held; empty again once it is published.';
COMMENT ON COLUMN billing_deliveries.last_error_code IS 'Of the last attempt that failed, whatever came after.';
UPDATE billing_deliveries AS delivery SET publication_id = publication.publication_id
FROM (SELECT delivery_id, max(publication_id) AS publication_id FROM billing_publications GROUP BY delivery_id) AS publication
WHERE publication.delivery_id = delivery.delivery_id;
-- One that held the files of the current delivery became current without a publication.
UPDATE billing_deliveries AS delivery SET publication_id = (
    SELECT max(publication.publication_id) FROM billing_publications AS publication
    WHERE publication.statement_id = delivery.statement_id AND publication.published_at <= delivery.finished_at
) WHERE delivery.state = 'published' AND delivery.publication_id IS NULL;
UPDATE billing_deliveries SET last_error_code = error_code, last_error_message = error_message WHERE error_code IS NOT NULL;

ALTER TABLE billing_ingestion_runs
    ADD COLUMN last_error_code text,
    ADD COLUMN last_error_message text,
    ADD COLUMN last_failed_at timestamptz;
COMMENT ON COLUMN billing_ingestion_runs.last_error_code IS 'Of the last attempt that failed, whatever came after.';
UPDATE billing_ingestion_runs SET last_error_code = error_code, last_error_message = error_message, last_failed_at = finished_at
WHERE error_code IS NOT NULL;

-- What one publication added and what it withdrew is found without reading the rest of the statement.
CREATE INDEX ON raw_aws_billing_rows (statement_id, added_by);
CREATE INDEX ON raw_aws_billing_rows_history (statement_id, removed_by);
CREATE INDEX ON billing_usage_fact (statement_id, added_by);
CREATE INDEX ON billing_usage_fact_history (statement_id, removed_by);

CREATE TABLE billing_restatement (
    statement_id integer NOT NULL,
    publication_id bigint NOT NULL,
    billing_period date NOT NULL,
    charge_date date NOT NULL,
    billing_account_key integer NOT NULL,
    sub_account_key integer,
    service_key integer NOT NULL,
    region_key integer,
    charge_key integer NOT NULL,
    billing_currency text NOT NULL,
    billed_cost numeric NOT NULL,
    effective_cost numeric NOT NULL,
    list_cost numeric NOT NULL,
    contracted_cost numeric NOT NULL,
    charge_count bigint NOT NULL
);
COMMENT ON TABLE billing_restatement IS 'What each publication but a statement''s first moved in billing_daily_cost: differences of costs and of counts. Never pruned.';
CREATE INDEX ON billing_restatement (statement_id, publication_id);
INSERT INTO billing_restatement
SELECT moved.statement_id, publication_id, billing_period, (charge_period_start AT TIME ZONE 'UTC')::date,
    billing_account_key, sub_account_key, service_key, region_key, charge_key, billing_currency, sum(sign * billed_cost),
    sum(sign * effective_cost), sum(sign * list_cost), sum(sign * contracted_cost), sum(sign)
FROM (
    SELECT 1 AS sign, added_by AS publication_id, statement_id, billing_period, charge_period_start, billing_account_key,
        sub_account_key, service_key, region_key, charge_key, billing_currency, billed_cost, effective_cost, list_cost,
        contracted_cost
    FROM billing_usage_fact
    UNION ALL
    SELECT 1, added_by, statement_id, billing_period, charge_period_start, billing_account_key, sub_account_key,
        service_key, region_key, charge_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost
    FROM billing_usage_fact_history
    UNION ALL
    SELECT -1, removed_by, statement_id, billing_period, charge_period_start, billing_account_key, sub_account_key,
        service_key, region_key, charge_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost
    FROM billing_usage_fact_history
) AS moved
JOIN billing_publications AS publication USING (publication_id)
WHERE publication.number > 1
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
HAVING sum(sign) <> 0 OR sum(sign * billed_cost) <> 0 OR sum(sign * effective_cost) <> 0
    OR sum(sign * list_cost) <> 0 OR sum(sign * contracted_cost) <> 0;

-- The publication that each statement stood on at a moment; a statement that had none yet is missing.
CREATE FUNCTION publications_as_of(moment timestamptz)
RETURNS TABLE (
    statement_id integer, billing_period date, publication_id bigint, counted boolean, remembered_since timestamptz
)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT DISTINCT ON (publication.statement_id)
        publication.statement_id, statement.billing_period, publication.publication_id, publication.counted,
        statement.remembered_since
    FROM billing_publications AS publication JOIN billing_statements AS statement USING (statement_id)
    WHERE publication.published_at <= moment
    ORDER BY publication.statement_id, publication.number DESC
$$;

-- The daily costs of the statements that counted at that moment. Restatements are never pruned: any moment can be asked.
CREATE FUNCTION daily_cost_as_of(moment timestamptz) RETURNS SETOF billing_daily_cost
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT statement_id, billing_period, charge_date, billing_account_key, sub_account_key, service_key, region_key,
        charge_key, billing_currency, sum(billed_cost), sum(effective_cost), sum(list_cost), sum(contracted_cost),
        sum(charge_count)::bigint
    FROM (
        SELECT daily.statement_id, daily.billing_period, charge_date, billing_account_key, sub_account_key, service_key,
            region_key, charge_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, charge_count
        FROM publications_as_of(moment) AS stood
        JOIN billing_daily_cost AS daily ON daily.statement_id = stood.statement_id
        WHERE stood.counted
        UNION ALL
        SELECT later.statement_id, later.billing_period, charge_date, billing_account_key, sub_account_key, service_key,
            region_key, charge_key, billing_currency, -billed_cost, -effective_cost, -list_cost, -contracted_cost,
            -charge_count
        FROM publications_as_of(moment) AS stood
        JOIN billing_restatement AS later
            ON later.statement_id = stood.statement_id AND later.publication_id > stood.publication_id
        WHERE stood.counted
    ) AS moved
    GROUP BY statement_id, billing_period, charge_date, billing_account_key, sub_account_key, service_key, region_key,
        charge_key, billing_currency
    HAVING sum(charge_count) <> 0
$$;

CREATE FUNCTION billfold_refuse_forgotten(statement_id integer, remembered_since timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 100000 AS $$
BEGIN
    RAISE EXCEPTION 'what statement % held before % is pruned', statement_id,
        to_char(remembered_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        USING HINT = 'ask for a later moment; daily_cost_as_of still knows the costs by day';
END
$$;

-- The charges of the statements that counted at that moment, as they stood then. Refuses a moment whose charges are
-- pruned. Name the billing period in WHERE where you can: only its partitions are read.
CREATE FUNCTION charges_as_of(moment timestamptz) RETURNS SETOF billing_usage_fact
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT fact.statement_id, fact.billing_period, row_hash, occurrence, part, added_by, charge_period_start,
        charge_period_end, billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key,
        charge_key, commitment_key, tag_set_key, billing_currency, billed_cost, effective_cost, list_cost,
        contracted_cost, list_unit_price, contracted_unit_price, pricing_quantity, consumed_quantity,
        commitment_discount_quantity, invoice_id, pricing_currency, pricing_currency_effective_cost,
        pricing_currency_list_unit_price, pricing_currency_contracted_unit_price, capacity_reservation_id,
        capacity_reservation_status, discounts
    FROM publications_as_of(moment) AS stood
    JOIN billing_usage_fact AS fact
        ON fact.statement_id = stood.statement_id AND fact.billing_period = stood.billing_period
        AND fact.added_by <= stood.publication_id
    WHERE stood.counted AND CASE WHEN stood.remembered_since > moment
        THEN billfold_refuse_forgotten(stood.statement_id, stood.remembered_since) ELSE true END
    UNION ALL
    SELECT fact.statement_id, fact.billing_period, row_hash, occurrence, part, added_by, charge_period_start,
        charge_period_end, billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key,
        charge_key, commitment_key, tag_set_key, billing_currency, billed_cost, effective_cost, list_cost,
        contracted_cost, list_unit_price, contracted_unit_price, pricing_quantity, consumed_quantity,
        commitment_discount_quantity, invoice_id, pricing_currency, pricing_currency_effective_cost,
        pricing_currency_list_unit_price, pricing_currency_contracted_unit_price, capacity_reservation_id,
        capacity_reservation_status, discounts
    FROM publications_as_of(moment) AS stood
    JOIN billing_usage_fact_history AS fact
        ON fact.statement_id = stood.statement_id AND fact.billing_period = stood.billing_period
        AND fact.added_by <= stood.publication_id AND fact.removed_by > stood.publication_id
    WHERE stood.counted
    UNION ALL
    -- No rows come of this: it refuses even where a statement holds nothing any more.
    SELECT stood.statement_id, stood.billing_period, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL
    FROM publications_as_of(moment) AS stood
    WHERE stood.counted AND CASE WHEN stood.remembered_since > moment
        THEN NOT billfold_refuse_forgotten(stood.statement_id, stood.remembered_since) ELSE false END
$$;
