-- Macros that every query of a session may use.

-- A decimal number as AWS writes it ('12', '-0.5', '4.3333E-6'), else NULL: generators write the word None.
CREATE OR REPLACE MACRO number_text(value) AS
    CASE WHEN regexp_full_match(trim(value), '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?') THEN trim(value) END;

-- Python, Java and C write nan for a number that is missing: no value, in any column that is not needed.
CREATE OR REPLACE MACRO is_nan(value) AS strlen(value) <= 5 AND lower(trim(value)) IN ('nan', '+nan', '-nan');
CREATE OR REPLACE MACRO unless_nan(value) AS CASE WHEN NOT is_nan(value) THEN value END;

-- The words that tools write for a number that is missing, or that they could not compute.
CREATE OR REPLACE MACRO is_nan_or_infinite(value) AS
    lower(trim(value)) IN ('nan', '+nan', '-nan', 'inf', '+inf', '-inf', 'infinity', '+infinity', '-infinity');
CREATE OR REPLACE MACRO is_missing_number(value) AS
    lower(trim(value)) IN ('none', 'null', 'n/a') OR is_nan_or_infinite(value);

-- An account id as AWS writes it; one that a spreadsheet or a floating-point column has made a number with an exponent
-- or a fraction; one that may have lost its leading zeros. A bare 4e11 has few digits: hashes of anonymised bills have
-- an e among many.
CREATE OR REPLACE MACRO is_account_id(value) AS strlen(value) = 12 AND regexp_full_match(value, '[0-9]{12}');
CREATE OR REPLACE MACRO is_damaged_account_id(value) AS
    (contains(value, '.') OR contains(value, ',') OR contains(lower(value), 'e'))
    AND regexp_full_match(trim(value),
        '[+-]?([0-9]+[.,][0-9]*|[.,][0-9]+)([eE][+-]?[0-9]+)?|[+-]?[0-9]+[eE][+-][0-9]+|[0-9]{1,6}[eE][0-9]{1,2}');
CREATE OR REPLACE MACRO is_short_number(value) AS regexp_full_match(value, '[0-9]{1,11}');
CREATE OR REPLACE MACRO padded_account_id(value) AS CASE WHEN is_short_number(value) THEN lpad(value, 12, '0') ELSE value END;

-- A cost to show, never to compute with: 12 decimals, and nothing of amounts that no bill has.
CREATE OR REPLACE MACRO shown_cost(value) AS
    CASE WHEN abs(TRY_CAST(number_text(value) AS DECIMAL(38, 12))) < 1e15 THEN TRY_CAST(number_text(value) AS DECIMAL(38, 12)) END;

CREATE OR REPLACE MACRO is_zero(number) AS regexp_full_match(number, '[+-]?[0.]+([eE].*)?');

-- A number to tell rows apart by, 0 where there is none: never money, which stays text until PostgreSQL computes it.
CREATE OR REPLACE MACRO magnitude(value) AS coalesce(TRY_CAST(number_text(value) AS DECIMAL(38, 18)), 0);

-- The numbers among the values of a JSON object, as they are written, with spaces between: a JSON parser would read a long
-- one inexactly. NULL where there are none.
CREATE OR REPLACE MACRO values_of(object) AS
    list_transform(
        regexp_extract_all(object, '"(?:\\.|[^"\\])*"\s*:\s*("(?:\\.|[^"\\])*"|[^\s,{}\[\]"]+)', 1),
        lambda value: trim(trim(value, '"')));
CREATE OR REPLACE MACRO terms_of(object) AS
    list_aggregate(
        list_filter(
            list_transform(values_of(object), lambda value: number_text(value)), lambda term: term IS NOT NULL),
        'string_agg', ' ');
-- Whether a map of numbers has a value that is none, or is no map.
CREATE OR REPLACE MACRO is_unreadable(object) AS
    NOT starts_with(trim(object), '{')
    OR trim(object) <> '{}' AND NOT regexp_matches(object, '"\s*:')
    OR len(list_filter(values_of(object), lambda value:
        number_text(value) IS NULL AND lower(value) NOT IN ('', 'none', 'null', 'n/a', 'nan'))) > 0;
-- Numbers with spaces between: whether one of them is not 0, and the same with the other signs.
CREATE OR REPLACE MACRO has_amount(terms) AS regexp_matches(terms, '(^| )[+-]?[0.]*[1-9]');
CREATE OR REPLACE MACRO negated(terms) AS
    array_to_string(list_transform(string_split(terms, ' '), lambda term:
        CASE WHEN starts_with(term, '-') THEN substr(term, 2) ELSE '-' || ltrim(term, '+') END), ' ');

-- One name or value of the canonical spelling: its length in bytes, a colon, its text.
CREATE OR REPLACE MACRO prefixed(value) AS strlen(value) || ':' || value;

-- A JSON object as a map, NULL for any other text. TRY_CAST, never TRY around a cast: the optimiser takes an expression
-- that occurs twice out of its TRY.
CREATE OR REPLACE MACRO map_of(value) AS TRY_CAST(TRY_CAST(value AS JSON) AS MAP(VARCHAR, VARCHAR));

-- A JSON object spelled by sorted key, each key and value length-prefixed; NULL for an empty object, for no object
-- and where JSON would read a long number inexactly: then the text itself is the value.
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

-- A point in time as AWS writes it (ISO 8601, UTC where it names no offset); NULL where it is none.
CREATE OR REPLACE MACRO instant(value) AS
    CASE WHEN regexp_full_match(trim(value), '[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?') THEN TRY_CAST(trim(value) AS TIMESTAMPTZ) END;

-- The JSON object of a member: sorted by key, tags under the keys that FOCUS asks for: a user's own without AWS's prefix
-- (`user:Env`; in CUR 2.0 `user_env`), AWS's with theirs (`aws:createdBy`). A text that is no object becomes a JSON
-- string, so that nothing is lost; jsonb cannot hold the character NUL.
CREATE OR REPLACE MACRO tag_key(key, from_cur) AS
    CASE WHEN starts_with(key, 'user:') OR from_cur AND starts_with(key, 'user_') THEN substr(key, 6)
         WHEN from_cur AND starts_with(key, 'aws_') THEN 'aws:' || substr(key, 5)
         ELSE key END;
CREATE OR REPLACE MACRO entries_of(value) AS list_sort(map_entries(map_of(value)));
CREATE OR REPLACE MACRO for_jsonb(value) AS
    replace(replace(replace(value, '\\', chr(1)), '\u0000', ''), chr(1), '\\');
-- Whether a JSON text has NaN or Infinity for a number: DuckDB reads them, and jsonb does not.
CREATE OR REPLACE MACRO has_bare_nan(value) AS
    regexp_matches(value, '(?i)nan|inf')
    AND regexp_matches(regexp_replace(value, '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf');
-- The same of a map of numbers, which may be spelled as texts.
CREATE OR REPLACE MACRO has_nan_number(value) AS
    regexp_matches(value, '(?i)nan|inf') AND regexp_matches(value, '(?i):\s*"?[+-]?(nan|inf|infinity)"?\s*[,}]');
CREATE OR REPLACE MACRO object_text(value) AS
    for_jsonb(CASE WHEN map_of(value) IS NOT NULL THEN to_json(map_of(value))::VARCHAR ELSE to_json(value)::VARCHAR END);
-- The same with values as they are: the numbers among FOCUS's price details stay numbers.
CREATE OR REPLACE MACRO typed_object_text(value) AS
    coalesce(
        CASE WHEN NOT has_bare_nan(value) THEN
            for_jsonb(to_json(map_from_entries(list_sort(map_entries(
                TRY_CAST(TRY_CAST(value AS JSON) AS MAP(VARCHAR, JSON))))))::VARCHAR) END,
        for_jsonb(to_json(value)::VARCHAR));
CREATE OR REPLACE MACRO tags_text(value, from_cur) AS
    coalesce(
        for_jsonb(TRY(to_json(map(
            list_transform(entries_of(value), lambda entry: tag_key(entry.key, from_cur)),
            list_transform(entries_of(value), lambda entry: entry.value)))::VARCHAR)),
        object_text(value));

-- What kind of thing a resource is, in lower case: of an ARN the word before its name (C), of AWS's short ids what their
-- beginning says (D: instance, volume, bucket, distribution), of others what was sold (I).
CREATE OR REPLACE MACRO resource_kind(id, product_code, product_family) AS
    CASE
        WHEN id IS NULL THEN NULL
        WHEN regexp_matches(id, '^arn:([^:]*:){4}/?[^:/]+[:/]') THEN
            lower(regexp_extract(id, '^arn:(?:[^:]*:){4}/?([^:/]+)[:/]', 1))
        WHEN id LIKE 'arn:%:s3:%' OR product_code = 'AmazonS3' THEN 'bucket'
        WHEN id LIKE 'arn:%:sqs:%' THEN 'queue'
        WHEN id LIKE 'arn:%:sns:%' THEN 'topic'
        WHEN product_code = 'AmazonCloudFront' THEN 'distribution'
        WHEN regexp_full_match(id, 'i-[0-9a-z]+') THEN 'instance'
        WHEN regexp_full_match(id, 'vol-[0-9a-z]+') THEN 'volume'
        WHEN regexp_full_match(id, 'snap-[0-9a-z]+') THEN 'snapshot'
        WHEN regexp_full_match(id, 'nat-[0-9a-z]+') THEN 'natgateway'
        WHEN regexp_full_match(id, 'vpce-[0-9a-z]+') THEN 'vpc-endpoint'
        WHEN regexp_full_match(id, 'eni-[0-9a-z]+') THEN 'network-interface'
        WHEN regexp_full_match(id, 'vpn-[0-9a-z]+') THEN 'vpn-connection'
        WHEN regexp_full_match(id, 'tgw-[0-9a-z]+') THEN 'transit-gateway'
        WHEN regexp_full_match(id, 'fs-[0-9a-z]+') THEN 'file-system'
        ELSE lower(coalesce(product_family, product_code, 'resource'))
    END;

-- The price details of CUR: FOCUS's names for the properties that it knows, x_ before the others (S). The attributes of
-- the map that CUR 2.0 keeps under an empty key here join those that have columns. Numbers stay as AWS writes them.
CREATE OR REPLACE MACRO price_detail(key, value) AS
    CASE
        WHEN key = 'instance_type' THEN {name: 'InstanceType', value: to_json(value)::VARCHAR}
        WHEN key = 'instance_type_family' THEN {name: 'InstanceSeries', value: to_json(value)::VARCHAR}
        WHEN key = 'operating_system' THEN {name: 'OperatingSystem', value: to_json(value)::VARCHAR}
        WHEN key = 'storage_class' THEN {name: 'StorageClass', value: to_json(value)::VARCHAR}
        WHEN key = 'vcpu' AND regexp_full_match(value, '[1-9][0-9]*') THEN {name: 'CoreCount', value: value}
        WHEN key = 'gpu' AND regexp_full_match(value, '[1-9][0-9]*') THEN {name: 'GpuCount', value: value}
        WHEN key = 'memory' AND regexp_full_match(value, '[1-9][0-9]*(\.[0-9]+)? GiB')
            THEN {name: 'MemorySize', value: split_part(value, ' ', 1)}
        ELSE {name: 'x_' || key, value: to_json(value)::VARCHAR}
    END;
CREATE OR REPLACE MACRO all_price_details(value, left_out) AS
    list_filter(
        list_concat(map_entries(map_of(value)), coalesce(map_entries(map_of(map_of(value)[''])), [])),
        lambda entry: entry.key <> '' AND entry.value <> '' AND NOT list_contains(left_out, entry.key));
CREATE OR REPLACE MACRO price_details_text(value, left_out) AS
        for_jsonb('{' || nullif(list_aggregate(
            list_transform(
                list_sort(list_transform(all_price_details(value, left_out), lambda entry: price_detail(entry.key, entry.value))),
                lambda detail: to_json(detail.name)::VARCHAR || ':' || detail.value),
            'string_agg', ','), '') || '}');

-- A map of numbers for jsonb, its numbers as they are; not a number is none in JSON.
CREATE OR REPLACE MACRO discounts_text(value) AS
    CASE WHEN TRY_CAST(value AS JSON) IS NULL OR has_bare_nan(value) THEN for_jsonb(to_json(value)::VARCHAR)
         ELSE for_jsonb(value) END;
