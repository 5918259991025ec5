-- Two statements of one month are parts of one bill, duplicates of it, or overlap: decided by what both hold.

CREATE TABLE billing_statement_pairs (
    statement_id integer NOT NULL REFERENCES billing_statements,
    other_statement_id integer NOT NULL REFERENCES billing_statements,
    relation text CHECK (relation IN ('parts', 'overlap', 'duplicates')),
    measure text CHECK (measure IN ('line items', 'daily costs')),
    share_of_smaller numeric CHECK (share_of_smaller BETWEEN 0 AND 1),
    share_of_larger numeric CHECK (share_of_larger BETWEEN 0 AND share_of_smaller),
    line_items_in_both bigint,
    cost_in_both jsonb NOT NULL DEFAULT '{}',
    cost_only_here jsonb NOT NULL DEFAULT '{}',
    cost_only_there jsonb NOT NULL DEFAULT '{}',
    compared_at timestamptz,
    choice text CHECK (choice IN ('parts', 'duplicates')),
    chosen_at timestamptz,
    PRIMARY KEY (statement_id, other_statement_id),
    CHECK (statement_id < other_statement_id),
    CHECK ((relation IS NULL) = (measure IS NULL) AND (relation IS NULL) = (compared_at IS NULL)
        AND (relation IS NULL) = (share_of_smaller IS NULL) AND (relation IS NULL) = (share_of_larger IS NULL)),
    CHECK ((choice IS NULL) = (chosen_at IS NULL)),
    CHECK (relation IS NOT NULL OR choice IS NOT NULL)
);
COMMENT ON TABLE billing_statement_pairs IS 'What two statements of one client and month have in common, and what an operator decided about them.';
COMMENT ON COLUMN billing_statement_pairs.relation IS 'What their content says; empty where they hold no account in common.';
COMMENT ON COLUMN billing_statement_pairs.measure IS 'What was compared: equal line items, or what both cost by day, account, category and what else both tell.';
COMMENT ON COLUMN billing_statement_pairs.choice IS 'What an operator decided, for good: it goes before the relation.';
CREATE INDEX ON billing_statement_pairs (other_statement_id);

-- Each pair seen from both of its statements, as long as both hold something.
CREATE VIEW billing_statement_relations AS
SELECT seen.statement_id, seen.other_statement_id, coalesce(pair.choice, pair.relation) AS relation,
    CASE WHEN pair.choice IS NULL THEN 'content' ELSE 'operator' END AS decided_by, pair.measure, pair.share_of_smaller,
    pair.share_of_larger, pair.line_items_in_both, pair.cost_in_both, seen.cost_only_here, seen.cost_only_there,
    pair.compared_at
FROM billing_statement_pairs AS pair
CROSS JOIN LATERAL (VALUES
    (pair.statement_id, pair.other_statement_id, pair.cost_only_here, pair.cost_only_there),
    (pair.other_statement_id, pair.statement_id, pair.cost_only_there, pair.cost_only_here)
) AS seen (statement_id, other_statement_id, cost_only_here, cost_only_there)
JOIN billing_statements AS here ON here.statement_id = pair.statement_id AND here.current_delivery_id IS NOT NULL
JOIN billing_statements AS there
    ON there.statement_id = pair.other_statement_id AND there.current_delivery_id IS NOT NULL;
COMMENT ON VIEW billing_statement_relations IS 'How each statement relates to others of its month, and who decided that: their content or an operator.';

-- What two amounts have in common: the smaller one, where they have one sign.
CREATE FUNCTION billfold_in_both(here numeric, there numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN here > 0 AND there > 0 THEN least(here, there) WHEN here < 0 AND there < 0 THEN greatest(here, there)
        ELSE 0::numeric END
$$;

-- Other statements of the client and month that may hold the same bill, as billfold_overlaps found them until now: both
-- have costs of one account under one payer, and they are not single files of one folder and format. What the two have
-- in common decides then, or an operator.
CREATE FUNCTION billfold_candidates(
    wanted_statement_id integer, wanted_delivery_id uuid DEFAULT NULL, wanted_format text DEFAULT NULL
) RETURNS TABLE (statement_id integer, export_name text, counted boolean, relation text, choice text)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT other.statement_id, other.export_name, other.counted, pair.relation, pair.choice
    FROM billing_statements AS own
    JOIN billing_statements AS other
        ON other.client_id = own.client_id AND other.billing_period = own.billing_period
        AND other.statement_id <> own.statement_id
    LEFT JOIN billing_deliveries AS own_delivery
        ON own_delivery.delivery_id = coalesce(wanted_delivery_id, own.current_delivery_id)
    LEFT JOIN billing_deliveries AS other_delivery ON other_delivery.delivery_id = other.current_delivery_id
    LEFT JOIN billing_statement_pairs AS pair
        ON pair.statement_id = least(own.statement_id, other.statement_id)
        AND pair.other_statement_id = greatest(own.statement_id, other.statement_id)
    WHERE own.statement_id = wanted_statement_id AND other.current_publication_id IS NOT NULL
        AND (
            pair.choice IS NOT NULL
                AND EXISTS (SELECT FROM billing_daily_cost AS held WHERE held.statement_id = own.statement_id)
                AND EXISTS (SELECT FROM billing_daily_cost AS held WHERE held.statement_id = other.statement_id)
            OR NOT (
                own_delivery.manifest_key IS NULL AND other_delivery.manifest_key IS NULL
                AND own.bucket = other.bucket
                AND regexp_replace(own.export_path, '[^/]*$', '') = regexp_replace(other.export_path, '[^/]*$', '')
                AND coalesce(wanted_format, own_delivery.format) = other_delivery.format
            )
            AND EXISTS (
                SELECT * FROM billfold_accounts(own.statement_id) AS held
                INTERSECT
                SELECT * FROM billfold_accounts(other.statement_id) AS held_there
            )
        )
    ORDER BY (SELECT min(publication_id) FROM billing_publications AS first WHERE first.statement_id = other.statement_id)
$$;

-- Those that must not make up the costs beside this one, the one published first leading. Of two that nobody has
-- compared yet only one counts.
CREATE OR REPLACE FUNCTION billfold_overlaps(
    wanted_statement_id integer, wanted_delivery_id uuid DEFAULT NULL, wanted_format text DEFAULT NULL
) RETURNS TABLE (statement_id integer, export_name text, counted boolean) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT candidate.statement_id, candidate.export_name, candidate.counted
    FROM billfold_candidates(wanted_statement_id, wanted_delivery_id, wanted_format) WITH ORDINALITY
        AS candidate (statement_id, export_name, counted, relation, choice, place)
    WHERE coalesce(candidate.choice, candidate.relation, 'overlap') <> 'parts'
    ORDER BY candidate.place
$$;
