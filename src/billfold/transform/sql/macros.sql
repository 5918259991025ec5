-- Macros that every query of a session may use.

-- A decimal number as AWS writes it ('12', '-0.5', '4.3333E-6'), else NULL: generators write the word None.
CREATE OR REPLACE MACRO number_text(value) AS
    CASE WHEN regexp_full_match(trim(value), '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?') THEN trim(value) END;

CREATE OR REPLACE MACRO is_zero(number) AS regexp_full_match(number, '[+-]?[0.]+([eE].*)?');

-- Whether two texts are the same number, one that is missing counting as 0; only rows are told apart by it, never money.
CREATE OR REPLACE MACRO same_number(one, other) AS
    coalesce(TRY_CAST(number_text(one) AS DECIMAL(38, 18)), 0) = coalesce(TRY_CAST(number_text(other) AS DECIMAL(38, 18)), 0);

-- One name or value of the canonical spelling: its length in bytes, a colon, its text.
CREATE OR REPLACE MACRO prefixed(value) AS strlen(value) || ':' || value;

-- A JSON object spelled by sorted key, each key and value length-prefixed; NULL for an empty object, for no object
-- and where JSON would read a long number inexactly: then the text itself is the value.
CREATE OR REPLACE MACRO canonical_map(value) AS
    CASE WHEN NOT regexp_matches(value, '[0-9][0-9.]{16,}') THEN
        list_aggregate(
            list_transform(
                list_sort(map_entries(TRY(CAST(value::JSON AS MAP(VARCHAR, VARCHAR))))),
                lambda entry: prefixed(entry.key) || prefixed(entry.value)
            ),
            'string_agg', ''
        )
    END;

-- A point in time as AWS writes it, read as UTC where it names no offset; NULL where it is none.
CREATE OR REPLACE MACRO instant(value) AS TRY_CAST(trim(value) AS TIMESTAMPTZ);

-- The JSON object of a member: sorted by key, user tags without AWS's prefix (`user:Env`, `user_env`), AWS's own tags with
-- theirs (`aws:createdBy`); the text as a JSON string where it is no object, so that nothing is lost.
CREATE OR REPLACE MACRO member_key(key) AS
    CASE WHEN starts_with(key, 'user:') OR starts_with(key, 'user_') THEN substr(key, 6)
         WHEN starts_with(key, 'aws_') THEN 'aws:' || substr(key, 5)
         ELSE key END;
-- TRY_CAST, never TRY around a cast: the optimiser takes an expression that occurs twice out of its TRY.
CREATE OR REPLACE MACRO map_of(value) AS TRY_CAST(TRY_CAST(value AS JSON) AS MAP(VARCHAR, VARCHAR));
CREATE OR REPLACE MACRO entries_of(value) AS list_sort(map_entries(map_of(value)));
CREATE OR REPLACE MACRO member_map(value) AS
    CASE
        WHEN map_of(value) IS NOT NULL THEN coalesce(
            TRY(to_json(map(
                list_transform(entries_of(value), lambda entry: member_key(entry.key)),
                list_transform(entries_of(value), lambda entry: entry.value)))::VARCHAR),
            to_json(map_of(value))::VARCHAR)
        ELSE to_json(value)::VARCHAR
    END;
