-- Data quality of current bills: their checks, and whether the source, the charges and the daily costs agree. A filter
-- that is NULL matches everything.

-- name: judged_bill
-- The bills, each with the worst of its states. A bill whose source and charges differ is not published: a failed one
-- was changed afterwards. `severe` are the checks that may make amounts wrong.
SELECT
    statement.statement_id, statement.client_id, statement.export_name,
    to_char(statement.billing_period, 'YYYY-MM') AS billing_period, statement.counted, statement.yields,
    publication.number AS publication_number, publication.published_at, found.checked_at,
    publication.rows_after AS row_count, publication.charges_after AS charge_count, delivery.source_cost,
    publication.billed_cost_after AS charged_cost, publication.left_out, found.warned_count, found.severe_count,
    CASE
        WHEN differs.by_any THEN 'failed'
        WHEN found.check_count = 0 THEN 'unchecked'
        WHEN found.warned_count > 0 THEN 'warned'
        ELSE 'passed'
    END AS state
FROM billing_statements AS statement
JOIN billing_publications AS publication ON publication.publication_id = statement.current_publication_id
JOIN billing_deliveries AS delivery ON delivery.delivery_id = publication.delivery_id
CROSS JOIN LATERAL (
    SELECT count(*) AS check_count, count(*) FILTER (WHERE checked.state = 'warned') AS warned_count,
        count(*) FILTER (WHERE checked.state = 'warned' AND name = ANY (%(severe)s::text[])) AS severe_count,
        coalesce(bool_or(checked.state = 'warned' AND name = %(check)s), false) AS is_requested,
        max(checked.checked_at) AS checked_at
    FROM billing_checks AS checked WHERE checked.publication_id = publication.publication_id
) AS found
CROSS JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM jsonb_each_text(delivery.source_cost) AS source (currency, cost)
        FULL JOIN jsonb_each_text(publication.billed_cost_after) AS charged (currency, cost) USING (currency)
        WHERE coalesce(source.cost::numeric, 0) <> coalesce(charged.cost::numeric, 0)
    ) AS by_any
) AS differs
WHERE (%(client)s::text IS NULL OR statement.client_id = %(client)s)
    AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)
    AND (%(period)s::date IS NULL OR statement.billing_period = %(period)s)
    AND (%(check)s::text IS NULL OR found.is_requested)

-- name: count_bills
SELECT count(*) AS bill_count, count(*) FILTER (WHERE state = 'failed') AS failed_count,
    count(*) FILTER (WHERE state = 'unchecked') AS unchecked_count,
    count(*) FILTER (WHERE state = 'warned') AS warned_count,
    count(*) FILTER (WHERE state = 'warned' AND severe_count > 0) AS severe_count,
    count(*) FILTER (WHERE state = 'passed') AS passed_count,
    count(*) FILTER (WHERE NOT counted) AS uncounted_count
FROM ({judged_bill}) AS judged

-- name: list_bills
-- The worst first, and of these the newest month.
SELECT * FROM ({judged_bill}) AS judged
WHERE %(state)s::text IS NULL OR state = %(state)s
ORDER BY array_position(ARRAY['failed', 'severe', 'unchecked', 'warned', 'passed'],
        CASE WHEN state = 'warned' AND severe_count > 0 THEN 'severe' ELSE state END),
    billing_period DESC, client_id, export_name, statement_id
LIMIT %(limit)s OFFSET %(offset)s

-- name: sum_warnings
-- Each check over the current bills: how many were checked, how many warned, and what the warnings are about. Costs are
-- those of counted bills: another export of the same bill would repeat the same costs.
WITH checked AS (
    SELECT checked.name, checked.state = 'warned' AS is_warned, checked.row_count, checked.cost, statement.counted
    FROM billing_statements AS statement
    JOIN billing_checks AS checked ON checked.publication_id = statement.current_publication_id
    WHERE (%(client)s::text IS NULL OR statement.client_id = %(client)s)
        AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)
        AND (%(period)s::date IS NULL OR statement.billing_period = %(period)s)
),
amount AS (
    SELECT name, jsonb_object_agg(currency, cost) AS cost
    FROM (
        SELECT name, currency, sum(amount::numeric)::text AS cost
        FROM checked, jsonb_each_text(cost) AS each (currency, amount)
        WHERE is_warned AND counted
        GROUP BY name, currency
    ) AS summed
    GROUP BY name
)
SELECT name, count(*) AS bill_count, count(*) FILTER (WHERE is_warned) AS warned_count,
    coalesce(sum(row_count) FILTER (WHERE is_warned AND counted), 0)::bigint AS row_count,
    coalesce(amount.cost, jsonb_build_object()) AS cost
FROM checked LEFT JOIN amount USING (name)
GROUP BY name, amount.cost
ORDER BY name

-- name: sum_daily_costs
-- The sums of the daily costs of these statements, by currency.
SELECT statement_id, jsonb_object_agg(billing_currency, cost::text) AS cost
FROM (
    SELECT statement_id, billing_currency, sum(billed_cost) AS cost FROM billing_daily_cost
    WHERE statement_id = ANY (%(statement_ids)s::integer[])
    GROUP BY statement_id, billing_currency
) AS summed
GROUP BY statement_id

-- name: list_shared_months
-- The bills of months that a client has several of, where not all of them count, two have accounts in common, or the check
-- of overlaps warned; each with how it relates to the others.
SELECT statement.client_id, to_char(statement.billing_period, 'YYYY-MM') AS billing_period, statement.statement_id,
    statement.export_name, statement.counted, statement.yields, delivery.format, publication.charges_after AS charge_count,
    publication.billed_cost_after AS charged_cost, shared.has_warned, ARRAY(
        SELECT jsonb_build_object('statement_id', related.other_statement_id, 'relation', related.relation,
            'decided_by', related.decided_by, 'measure', related.measure,
            'percent_of_smaller', trunc(100 * related.share_of_smaller, 2)::text,
            'percent_of_larger', trunc(100 * related.share_of_larger, 2)::text, 'cost_in_both', related.cost_in_both)
        FROM billing_statement_relations AS related
        WHERE related.statement_id = statement.statement_id
        ORDER BY related.other_statement_id
    ) AS related
FROM (
    SELECT client_id, billing_period, coalesce(bool_or(checked.state = 'warned'), false) AS has_warned
    FROM billing_statements AS statement
    LEFT JOIN billing_checks AS checked
        ON checked.publication_id = statement.current_publication_id AND checked.name = 'overlap'
    WHERE statement.current_delivery_id IS NOT NULL
        AND (%(client)s::text IS NULL OR statement.client_id = %(client)s)
        AND (%(period)s::date IS NULL OR statement.billing_period = %(period)s)
    GROUP BY client_id, billing_period
    HAVING count(*) > 1 AND (NOT bool_and(statement.counted) OR bool_or(checked.state = 'warned')
        OR bool_or(EXISTS (SELECT FROM billing_statement_relations AS related
            WHERE related.statement_id = statement.statement_id)))
) AS shared
JOIN billing_statements AS statement USING (client_id, billing_period)
JOIN billing_publications AS publication ON publication.publication_id = statement.current_publication_id
JOIN billing_deliveries AS delivery ON delivery.delivery_id = publication.delivery_id
ORDER BY shared.has_warned DESC, statement.billing_period DESC, statement.client_id, statement.counted DESC,
    statement.statement_id
LIMIT %(limit)s
