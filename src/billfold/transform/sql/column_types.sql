-- The possible type of a CSV value, as a bit, so that the bits of a column can be joined: 1 a number, 2 a point in time,
-- 4 a JSON object, 8 none of these. Most texts sort after the digits and need only one comparison.
CREATE OR REPLACE TEMP MACRO kind_of(value) AS
    CASE WHEN value IS NULL OR is_nan(value) THEN NULL
         WHEN value >= ':' THEN CASE WHEN starts_with(value, '{') AND json_valid(value) THEN 4 ELSE 8 END
         WHEN value LIKE '____-__-__%' THEN CASE WHEN TRY_CAST(value AS TIMESTAMPTZ) IS NOT NULL THEN 2 ELSE 8 END
         WHEN TRY_CAST(value AS DECIMAL(38, 9)) IS NOT NULL THEN 1
         ELSE 8 END;
