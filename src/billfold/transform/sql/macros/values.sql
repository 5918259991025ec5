-- Macros for single values: numbers, account ids, times.

-- A decimal number as AWS writes it ('12', '-0.5', '4.3333E-6'), else NULL: some generators write the word None.
CREATE OR REPLACE MACRO number_text(value) AS
    CASE WHEN regexp_full_match(trim(value), '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?') THEN trim(value) END;

-- Python, Java and C write nan for a missing number: no value, in any column that is not needed.
CREATE OR REPLACE MACRO is_nan(value) AS strlen(value) <= 5 AND lower(trim(value)) IN ('nan', '+nan', '-nan');
CREATE OR REPLACE MACRO unless_nan(value) AS CASE WHEN NOT is_nan(value) THEN value END;

-- The words that tools write for a number that is missing or could not be computed.
CREATE OR REPLACE MACRO is_nan_or_infinite(value) AS
    lower(trim(value)) IN ('nan', '+nan', '-nan', 'inf', '+inf', '-inf', 'infinity', '+infinity', '-infinity');
CREATE OR REPLACE MACRO is_missing_number(value) AS
    lower(trim(value)) IN ('none', 'null', 'n/a') OR is_nan_or_infinite(value);

-- An account id as AWS writes it; one that a spreadsheet or a floating-point column has turned into a number with an
-- exponent or a fraction; one that may have lost its leading zeros. A bare 4e11 has few digits: the hashes of anonymised
-- bills have an e among many. A spreadsheet's text marks, as in '4E+11 and ="4E+11", and spaces do not matter.
CREATE OR REPLACE MACRO is_account_id(value) AS strlen(value) = 12 AND regexp_full_match(value, '[0-9]{12}');
CREATE OR REPLACE MACRO without_text_marks(value) AS regexp_replace(value, '[\s\p{Z}''"=]+', '', 'g');
CREATE OR REPLACE MACRO is_damaged_account_id(value) AS
    (contains(value, '.') OR contains(value, ',') OR contains(lower(value), 'e'))
    AND regexp_full_match(without_text_marks(value),
        '[+-]?([0-9]+[.,][0-9]*|[.,][0-9]+)([eE][+-]?[0-9]+)?|[+-]?[0-9]+[eE][+-][0-9]+|[0-9]{1,6}[eE][0-9]{1,2}');
CREATE OR REPLACE MACRO is_short_number(value) AS regexp_full_match(value, '[0-9]{1,11}');
CREATE OR REPLACE MACRO padded_account_id(value) AS CASE WHEN is_short_number(value) THEN lpad(value, 12, '0') ELSE value END;

-- A cost for display only, never for computing: 12 decimals, NULL for impossible amounts.
CREATE OR REPLACE MACRO shown_cost(value) AS
    CASE WHEN abs(TRY_CAST(number_text(value) AS DECIMAL(38, 12))) < 1e15 THEN TRY_CAST(number_text(value) AS DECIMAL(38, 12)) END;

CREATE OR REPLACE MACRO is_zero(number) AS regexp_full_match(number, '[+-]?[0.]+([eE].*)?');

-- A number for comparisons, 0 if there is none: never money, which stays text until PostgreSQL computes it.
CREATE OR REPLACE MACRO magnitude(number) AS coalesce(TRY_CAST(number AS DECIMAL(38, 18)), 0);

-- A point in time as AWS writes it (ISO 8601, UTC without an offset); NULL for any other text.
CREATE OR REPLACE MACRO instant(value) AS
    CASE WHEN regexp_full_match(trim(value), '[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?') THEN TRY_CAST(trim(value) AS TIMESTAMPTZ) END;

-- A point in time from Parquet as AWS writes it in CSV, with three decimals of the second; with six or nine if it has more,
-- so that nothing is cut off. strftime only formats nanoseconds correctly at the end of its format.
CREATE OR REPLACE MACRO instant_text(value) AS
    CASE WHEN epoch_us(value) % 1000 <> 0 THEN strftime(value, '%Y-%m-%dT%H:%M:%S.%fZ')
         ELSE strftime(value, '%Y-%m-%dT%H:%M:%S.%gZ') END;
CREATE OR REPLACE MACRO nano_instant_text(value) AS
    CASE WHEN epoch_ns(value) % 1000 <> 0 THEN strftime(value, '%Y-%m-%dT%H:%M:%S.%n') || 'Z'
         ELSE instant_text(value::TIMESTAMP) END;

-- Numbers with spaces between them: whether one of them is not 0, and the same numbers with opposite signs.
CREATE OR REPLACE MACRO has_amount(terms) AS regexp_matches(terms, '(^| )[+-]?[0.]*[1-9]');
CREATE OR REPLACE MACRO negated(terms) AS
    array_to_string(list_transform(string_split(terms, ' '), lambda term:
        CASE WHEN starts_with(term, '-') THEN substr(term, 2) ELSE '-' || ltrim(term, '+') END), ' ');

-- The possible type of a CSV value, as a bit, so that the bits of a column can be joined: 1 a number, 2 a point in time,
-- 4 a JSON object, 8 none of these. Most texts sort after the digits and need only one comparison.
CREATE OR REPLACE MACRO kind_of(value) AS
    CASE WHEN value IS NULL OR is_nan(value) THEN NULL
         WHEN value >= ':' THEN CASE WHEN starts_with(value, '{') AND json_valid(value) THEN 4 ELSE 8 END
         WHEN value LIKE '____-__-__%' THEN CASE WHEN TRY_CAST(value AS TIMESTAMPTZ) IS NOT NULL THEN 2 ELSE 8 END
         WHEN TRY_CAST(value AS DECIMAL(38, 9)) IS NOT NULL THEN 1
         ELSE 8 END;
