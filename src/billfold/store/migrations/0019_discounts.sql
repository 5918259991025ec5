-- Mapping version 3: discounts without net columns, and computed numbers rounded to 18 decimals.

-- A bill without net costs whose rows name discounts is billed by the gross cost and those discounts.
ALTER TABLE billing_statements DROP CONSTRAINT billing_statements_cost_basis_check,
    ADD CONSTRAINT billing_statements_cost_basis_check
    CHECK (cost_basis IN ('gross', 'net', 'gross plus discounts', 'gross minus discounts'));
ALTER TABLE billing_publications DROP CONSTRAINT billing_publications_cost_basis_check,
    ADD CONSTRAINT billing_publications_cost_basis_check
    CHECK (cost_basis IN ('gross', 'net', 'gross plus discounts', 'gross minus discounts'));

COMMENT ON COLUMN billing_publications.unproved_cost IS 'By currency: how far the billed cost is from the gross cost less the discounts that the export names.';

-- Several numbers as AWS wrote them, with spaces between, added up exactly. The sum of one number is no query of its own,
-- so that PostgreSQL puts billfold_sum in place.
CREATE FUNCTION billfold_sum_terms(terms text) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sum(term::numeric) FROM unnest(string_to_array(terms, ' ')) AS term
$$;
CREATE FUNCTION billfold_sum(terms text) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN strpos(terms, ' ') > 0 THEN billfold_sum_terms(terms) ELSE terms::numeric END
$$;

-- A product that was computed: half away from zero at 18 decimals. What has no more decimals stays as it is.
CREATE FUNCTION billfold_rounded(product numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN scale(product) > 18 THEN trim_scale(round(product, 18)) ELSE product END
$$;

-- A quotient, half away from zero at 18 decimals: what is cut off after 19 decimals does not decide which way the 18th is
-- rounded. PostgreSQL's own division rounds at another place first; div does not round. What is divided by 0 is NULL.
CREATE FUNCTION billfold_quotient(dividend numeric, divisor numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN divisor <> 0
        THEN trim_scale(round(div(dividend * 10000000000000000000, divisor) * 0.0000000000000000001, 18)) END
$$;

-- The price of one unit; nothing costs nothing.
CREATE OR REPLACE FUNCTION billfold_unit_price(cost numeric, quantity numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN quantity <> 0 THEN billfold_quotient(cost, quantity) WHEN quantity = 0 THEN 0::numeric END
$$;
