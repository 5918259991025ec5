-- A quotient as in 0019, half away from zero at 18 decimals, in half the time: what is cut off after 19 decimals does not
-- decide which way the 18th is rounded. PostgreSQL's own division rounds at another place first; div does not round.
CREATE OR REPLACE FUNCTION billfold_quotient(dividend numeric, divisor numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN divisor <> 0
        THEN trim_scale(round(div(dividend * 10000000000000000000, divisor) * 0.0000000000000000001, 18)) END
$$;
