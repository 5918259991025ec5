-- Macros for JSON objects.

-- One name or value of the canonical spelling: its length in bytes, a colon, its text.
CREATE OR REPLACE MACRO prefixed(value) AS strlen(value) || ':' || value;

-- A JSON object as a map, NULL for any other text. TRY_CAST, never TRY around a cast: the optimiser takes an expression
-- that occurs twice out of its TRY.
CREATE OR REPLACE MACRO map_of(value) AS TRY_CAST(TRY_CAST(value AS JSON) AS MAP(VARCHAR, VARCHAR));

-- A JSON object spelled by sorted key, each key and value length-prefixed; NULL for an empty object, for no object, and if
-- JSON would read a long number inexactly: then the text itself is the value.
CREATE OR REPLACE MACRO canonical_map(value) AS
    CASE WHEN NOT regexp_matches(value, '[0-9][0-9.]{16,}') THEN
        list_aggregate(
            list_transform(
                list_sort(map_entries(map_of(value))),
                lambda entry: prefixed(entry.key) || prefixed(entry.value)
            ),
            'string_agg', ''
        )
    END;

-- A text for jsonb, which cannot hold the character NUL.
CREATE OR REPLACE MACRO for_jsonb(value) AS
    replace(replace(replace(value, '\\', chr(1)), '\u0000', ''), chr(1), '\\');

-- Whether a JSON text has NaN or Infinity as a number, which DuckDB accepts but jsonb does not.
CREATE OR REPLACE MACRO has_bare_nan(value) AS
    regexp_matches(value, '(?i)nan|inf')
    AND regexp_matches(regexp_replace(value, '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf');

CREATE OR REPLACE MACRO entries_of(value) AS list_sort(map_entries(map_of(value)));

-- Whether a map of numbers, which may be written as texts, has NaN or Infinity.
CREATE OR REPLACE MACRO has_nan_number(value) AS
    regexp_matches(value, '(?i)nan|inf') AND regexp_matches(value, '(?i):\s*"?[+-]?(nan|inf|infinity)"?\s*[,}]');

-- A map of numbers for jsonb, its numbers as they are; one with NaN becomes a JSON string.
CREATE OR REPLACE MACRO discounts_text(value) AS
    CASE WHEN TRY_CAST(value AS JSON) IS NULL OR has_bare_nan(value) THEN for_jsonb(to_json(value)::VARCHAR)
         ELSE for_jsonb(value) END;

-- A tag's key as FOCUS requires: a user's without AWS's prefix (`user:Env`; in CUR 2.0 `user_env`), AWS's own with it
-- (`aws:createdBy`).
CREATE OR REPLACE MACRO tag_key(key, from_cur) AS
    CASE WHEN starts_with(key, 'user:') OR from_cur AND starts_with(key, 'user_') THEN substr(key, 6)
         WHEN from_cur AND starts_with(key, 'aws_') THEN 'aws:' || substr(key, 5)
         ELSE key END;
