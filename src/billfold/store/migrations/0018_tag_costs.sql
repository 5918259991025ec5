-- Daily costs by set of tags: pages by tag are as fast as others.

CREATE TABLE billing_daily_tag_cost (
    LIKE billing_daily_cost,
    tag_set_key integer,
    UNIQUE NULLS NOT DISTINCT (statement_id, charge_date, billing_account_key, sub_account_key, service_key, region_key,
        charge_key, tag_set_key, billing_currency)
);
COMMENT ON TABLE billing_daily_tag_cost IS 'billing_daily_cost told apart by set of tags as well: what asks for tags or cost categories reads it.';

-- What is published at this moment is waited for, and whoever would publish next waits.
LOCK TABLE billing_usage_fact IN SHARE MODE;
INSERT INTO billing_daily_tag_cost
SELECT statement_id, billing_period, (charge_period_start AT TIME ZONE 'UTC')::date, billing_account_key, sub_account_key,
    service_key, region_key, charge_key, billing_currency, sum(billed_cost), sum(effective_cost), sum(list_cost),
    sum(contracted_cost), count(*), tag_set_key
FROM billing_usage_fact
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, tag_set_key
-- Each statement's in one place, as its publications would have put them.
ORDER BY 1, 3;
CREATE INDEX ON billing_daily_tag_cost (billing_period);

SELECT billfold_grant_rights();
