-- The owners of accounts, as the operator lists them. A filter that is NULL matches everything.

-- name: write_owners
-- A name that is NULL keeps the present one, an empty one removes it. A line without a change writes nothing. If the
-- list is complete, accounts that it leaves out lose their owner.
WITH listed AS (
    SELECT listed.account_id, listed.owner,
        nullif(coalesce(listed.account_name, held.account_name), '') AS account_name, held.account_id IS NULL AS is_new
    FROM unnest(%(account_ids)s::text[], %(owners)s::text[], %(account_names)s::text[])
        AS listed (account_id, owner, account_name)
    LEFT JOIN billing_account_owners AS held ON held.client_id = %(client)s AND held.account_id = listed.account_id
),
removed AS (
    DELETE FROM billing_account_owners AS held
    WHERE %(is_whole)s AND client_id = %(client)s
        AND NOT EXISTS (SELECT FROM listed WHERE listed.account_id = held.account_id)
    RETURNING account_id
),
written AS (
    INSERT INTO billing_account_owners AS held (client_id, account_id, owner, account_name)
    SELECT %(client)s, account_id, owner, account_name FROM listed ORDER BY account_id
    ON CONFLICT (client_id, account_id) DO UPDATE
        SET owner = excluded.owner, account_name = excluded.account_name, updated_at = now()
        WHERE (held.owner, held.account_name) IS DISTINCT FROM (excluded.owner, excluded.account_name)
    RETURNING account_id
)
SELECT
    count(*) FILTER (WHERE written.account_id IS NOT NULL AND is_new) AS added_count,
    count(*) FILTER (WHERE written.account_id IS NOT NULL AND NOT is_new) AS changed_count,
    count(*) FILTER (WHERE written.account_id IS NULL) AS unchanged_count,
    (SELECT count(*) FROM removed) AS removed_count
FROM listed LEFT JOIN written USING (account_id)

-- name: list_foreign_accounts
-- Those of these accounts that belong to another client: its bills have costs of them, or its bucket is in them. Accounts
-- in this client's own bills or settings are its own too: an account may move between clients.
WITH listed AS (
    SELECT account_id FROM unnest(%(account_ids)s::text[]) AS listed (account_id)
),
cell AS (
    SELECT statement_id, billing_account_key AS account_key FROM billing_daily_cost
    UNION
    SELECT statement_id, sub_account_key FROM billing_daily_cost
),
held AS (
    SELECT DISTINCT statement.client_id, account.account_id
    FROM listed
    JOIN dim_account AS account USING (account_id)
    JOIN cell USING (account_key)
    JOIN billing_statements AS statement ON statement.statement_id = cell.statement_id
    UNION
    SELECT client.client_id, client.account_id FROM billing_clients AS client JOIN listed USING (account_id)
)
SELECT account_id, min(client_id) AS client_id FROM held
WHERE client_id <> %(client)s
    AND account_id NOT IN (SELECT own.account_id FROM held AS own WHERE own.client_id = %(client)s)
GROUP BY account_id

-- name: remove_owner
DELETE FROM billing_account_owners WHERE client_id = %(client)s AND account_id = %(account_id)s RETURNING owner

-- name: list_owners
SELECT client_id, account_id, owner, account_name, updated_at
FROM billing_account_owners
WHERE %(client)s::text IS NULL OR client_id = %(client)s
ORDER BY client_id, owner, account_id

-- name: list_accounts_without_owner
-- The latest month with costs of each account. A charge without a sub-account is its payer's.
WITH cell AS (
    SELECT statement_id, billing_period, billing_account_key, sub_account_key, billing_currency,
        sum(billed_cost) AS cost
    FROM billing_daily_cost
    GROUP BY 1, 2, 3, 4, 5
),
account AS (
    SELECT
        statement.client_id,
        coalesce(sub_account.account_id, payer.account_id, '') AS account_id,
        -- A renamed account is a second member: the newest one has the current name.
        (array_agg(CASE WHEN sub_account.account_id IS NOT NULL THEN sub_account.account_name
            ELSE payer.account_name END ORDER BY cell.billing_period DESC, cell.sub_account_key DESC))[1] AS account_name,
        cell.billing_period,
        cell.billing_currency AS currency,
        sum(cell.cost) AS cost,
        max(cell.billing_period) OVER (
            PARTITION BY statement.client_id, coalesce(sub_account.account_id, payer.account_id, '')) AS latest_period
    FROM cell
    JOIN billing_statements AS statement ON statement.statement_id = cell.statement_id AND statement.counted
    LEFT JOIN dim_account AS sub_account ON sub_account.account_key = cell.sub_account_key
    LEFT JOIN dim_account AS payer ON payer.account_key = cell.billing_account_key
    WHERE %(client)s::text IS NULL OR statement.client_id = %(client)s
    GROUP BY statement.client_id, coalesce(sub_account.account_id, payer.account_id, ''), cell.billing_period,
        cell.billing_currency
)
SELECT client_id, account_id, account_name, to_char(billing_period, 'YYYY-MM') AS billing_period, currency, cost
FROM account
WHERE billing_period = latest_period
    AND NOT EXISTS (
        SELECT FROM billing_account_owners AS owned
        WHERE owned.client_id = account.client_id AND owned.account_id = account.account_id)
ORDER BY client_id, account.billing_period DESC, cost DESC, account_id, currency
