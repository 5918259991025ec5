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
-- an e among many. A spreadsheet's marks of text, as in '4E+11 and ="4E+11", and spaces do not matter.
CREATE OR REPLACE MACRO is_account_id(value) AS strlen(value) = 12 AND regexp_full_match(value, '[0-9]{12}');
CREATE OR REPLACE MACRO without_text_marks(value) AS regexp_replace(value, '[\s\p{Z}''"=]+', '', 'g');
CREATE OR REPLACE MACRO is_damaged_account_id(value) AS
    (contains(value, '.') OR contains(value, ',') OR contains(lower(value), 'e'))
    AND regexp_full_match(without_text_marks(value),
        '[+-]?([0-9]+[.,][0-9]*|[.,][0-9]+)([eE][+-]?[0-9]+)?|[+-]?[0-9]+[eE][+-][0-9]+|[0-9]{1,6}[eE][0-9]{1,2}');
CREATE OR REPLACE MACRO is_short_number(value) AS regexp_full_match(value, '[0-9]{1,11}');
CREATE OR REPLACE MACRO padded_account_id(value) AS CASE WHEN is_short_number(value) THEN lpad(value, 12, '0') ELSE value END;

-- A cost to show, never to compute with: 12 decimals, and nothing of amounts that no bill has.
CREATE OR REPLACE MACRO shown_cost(value) AS
    CASE WHEN abs(TRY_CAST(number_text(value) AS DECIMAL(38, 12))) < 1e15 THEN TRY_CAST(number_text(value) AS DECIMAL(38, 12)) END;

CREATE OR REPLACE MACRO is_zero(number) AS regexp_full_match(number, '[+-]?[0.]+([eE].*)?');

-- A number to tell rows apart by, 0 where there is none: never money, which stays text until PostgreSQL computes it.
CREATE OR REPLACE MACRO magnitude(value) AS coalesce(TRY_CAST(number_text(value) AS DECIMAL(38, 18)), 0);

-- The total among the discounts of a JSON object, under the name that its column has in CUR 2.0 or in legacy CUR, and the
-- object without its key: the total is not one discount more.
CREATE OR REPLACE MACRO total_of(object) AS
    CASE WHEN contains(lower(object), 'total') THEN number_text(trim(regexp_extract(object,
        '(?i)"(?:discount[_/])?total_?discount"\s*:\s*("[^"]*"|[^\s,{}\[\]"]+)', 1), '"')) END;
CREATE OR REPLACE MACRO without_total(object) AS
    CASE WHEN total_of(object) IS NULL THEN object
         ELSE regexp_replace(object, '"(discount[_/])?total_?discount"\s*:', ':', 'gi') END;

-- The numbers among the values of a JSON object, as they are written, with spaces between: a JSON parser would read a long
-- one inexactly. NULL where there are none.
CREATE OR REPLACE MACRO values_of(object) AS
    list_transform(
        regexp_extract_all(without_total(object), '"(?:\\.|[^"\\])*"\s*:\s*("(?:\\.|[^"\\])*"|[^\s,{}\[\]"]+)', 1),
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

-- A point in time of Parquet as AWS writes it in CSV, with three decimals of the second; with six or nine where it has more,
-- so that nothing is cut off. strftime spells nanoseconds rightly at the end of its format only.
CREATE OR REPLACE MACRO instant_text(value) AS
    CASE WHEN epoch_us(value) % 1000 <> 0 THEN strftime(value, '%Y-%m-%dT%H:%M:%S.%fZ')
         ELSE strftime(value, '%Y-%m-%dT%H:%M:%S.%gZ') END;
CREATE OR REPLACE MACRO nano_instant_text(value) AS
    CASE WHEN epoch_ns(value) % 1000 <> 0 THEN strftime(value, '%Y-%m-%dT%H:%M:%S.%n') || 'Z'
         ELSE instant_text(value::TIMESTAMP) END;

-- A text for jsonb, which cannot hold the character NUL.
CREATE OR REPLACE MACRO for_jsonb(value) AS
    replace(replace(replace(value, '\\', chr(1)), '\u0000', ''), chr(1), '\\');

-- Whether a JSON text has NaN or Infinity for a number: DuckDB reads them, and jsonb does not.
CREATE OR REPLACE MACRO has_bare_nan(value) AS
    regexp_matches(value, '(?i)nan|inf')
    AND regexp_matches(regexp_replace(value, '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf');

-- A JSON object as {key, value} with each value as JSON, NULL for any other text. DuckDB would spell 1.10 as 1.1 and round
-- a long number: numbers come from the text itself, which is a row of keys and values (S: none is an object or an array).
-- PostgreSQL knows no number with an exponent of five digits: it is a text, as is what JSON does not know (NaN).
CREATE OR REPLACE MACRO json_tokens(value) AS
    regexp_extract_all(value, '"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null');
CREATE OR REPLACE MACRO json_value(token, value) AS
    CASE WHEN NOT regexp_matches(token, '^-?[0-9]') THEN coalesce(value, 'null')
         WHEN len(token) > 1000 OR regexp_matches(token, '[eE][+-]?[0-9]{5,}$') THEN to_json(token)::VARCHAR
         ELSE token END;
CREATE OR REPLACE MACRO typed_map_of(value) AS TRY_CAST(TRY_CAST(value AS JSON) AS MAP(VARCHAR, JSON));
CREATE OR REPLACE MACRO is_plain(entries) AS
    len(list_filter(entries, lambda entry:
        regexp_matches(entry.value::VARCHAR, '^[{\[]') OR has_bare_nan(entry.value::VARCHAR))) = 0;
CREATE OR REPLACE MACRO typed_entries(value) AS
    list_transform(
        [CASE WHEN is_plain(map_entries(typed_map_of(value))) THEN json_tokens(value) END],
        lambda tokens: list_transform(
            map_entries(typed_map_of(value)),
            lambda entry, place: {key: entry.key, value: CASE
                WHEN tokens IS NOT NULL THEN json_value(tokens[2 * place], entry.value::VARCHAR)
                WHEN has_bare_nan(entry.value::VARCHAR) THEN to_json(entry.value::VARCHAR)::VARCHAR
                ELSE coalesce(entry.value::VARCHAR, 'null') END}))[1];
CREATE OR REPLACE MACRO typed_entries_text(entries) AS
    '{' || list_aggregate(
        list_transform(
            list_sort(entries)::STRUCT(key VARCHAR, value VARCHAR)[],
            lambda entry: to_json(entry.key)::VARCHAR || ':' || entry.value),
        'string_agg', ',') || '}';
-- Whether a value can be something else than a string; AWS writes strings only, which need none of the above.
CREATE OR REPLACE MACRO has_typed_value(value) AS regexp_matches(value, '"\s*:\s*[^"\s]');
CREATE OR REPLACE MACRO entries_of(value) AS list_sort(map_entries(map_of(value)));
-- FOCUS's objects: sorted by key, values as they are. A text that is not an object becomes a JSON string, so that nothing
-- is lost.
CREATE OR REPLACE MACRO typed_object_text(value) AS
    for_jsonb(CASE
        WHEN map_of(value) IS NULL THEN to_json(value)::VARCHAR
        WHEN has_typed_value(value) THEN typed_entries_text(typed_entries(value))
        ELSE to_json(map_from_entries(entries_of(value)))::VARCHAR END);

-- `canonical_map` of a map whose values have types: 8080 is not "8080", and a key without a value is not a missing key.
CREATE OR REPLACE MACRO canonical_typed_map(value) AS
    CASE WHEN NOT has_typed_value(value) THEN canonical_map(value)
         WHEN NOT regexp_matches(value, '[0-9][0-9.]{16,}') THEN list_aggregate(
            list_transform(
                list_sort(typed_entries(value)),
                lambda entry: prefixed(entry.key) || CASE
                    WHEN starts_with(entry.value, '"') THEN prefixed(json_extract_string(entry.value, '$'))
                    ELSE '=' || prefixed(entry.value) END),
            'string_agg', '')
    END;

-- A tag's key as FOCUS asks for it: a user's own without AWS's prefix (`user:Env`; in CUR 2.0 `user_env`), AWS's with
-- theirs (`aws:createdBy`).
CREATE OR REPLACE MACRO tag_key(key, from_cur) AS
    CASE WHEN starts_with(key, 'user:') OR from_cur AND starts_with(key, 'user_') THEN substr(key, 6)
         WHEN from_cur AND starts_with(key, 'aws_') THEN 'aws:' || substr(key, 5)
         ELSE key END;
-- Whether a map of numbers, which may be spelled as texts, has NaN or Infinity for one.
CREATE OR REPLACE MACRO has_nan_number(value) AS
    regexp_matches(value, '(?i)nan|inf') AND regexp_matches(value, '(?i):\s*"?[+-]?(nan|inf|infinity)"?\s*[,}]');

-- FOCUS's tags. Where two keys would become one, all stay as they are.
CREATE OR REPLACE MACRO tag_keys(value) AS list_transform(entries_of(value), lambda entry: tag_key(entry.key, false));
CREATE OR REPLACE MACRO tags_text(value) AS
    coalesce(
        CASE WHEN NOT has_typed_value(value) THEN for_jsonb(TRY(to_json(map(
                tag_keys(value), list_transform(entries_of(value), lambda entry: entry.value)))::VARCHAR))
            WHEN len(list_distinct(tag_keys(value))) = len(tag_keys(value)) THEN for_jsonb(typed_entries_text(list_transform(
                typed_entries(value), lambda entry: {key: tag_key(entry.key, false), value: entry.value}))) END,
        typed_object_text(value));

-- CUR's tags and cost categories. The map `tags` of CUR 2.0 holds all kinds of tags, each under a prefix (A): resource tags
-- lose it, cost categories go into a column of their own, and the tags of accounts, users and principals keep it, as FOCUS
-- wants all but one scheme of tags to have one. The older columns hold resource tags and cost categories alone, with keys
-- in snake case: where both columns have a key, whatever its case and signs, the map counts, and what it lacks is added (I).

-- A resource tag's key. One that begins like another kind of tag keeps the prefix `resourceTags/`: it must not be taken
-- for that other tag (S: a prefix of one scheme is not open to the keys of another; I).
CREATE OR REPLACE MACRO has_tag_prefix(key) AS
    regexp_matches(key, '^(resourceTags|accountTag|userAttribute|iamPrincipal|costCategory)/');
CREATE OR REPLACE MACRO resource_tag_key(key) AS
    CASE WHEN has_tag_prefix(tag_key(key, true)) THEN 'resourceTags/' ELSE '' END || tag_key(key, true);
CREATE OR REPLACE MACRO tag_map_key(key) AS
    CASE WHEN starts_with(key, 'resourceTags/') THEN resource_tag_key(substr(key, 14))
         WHEN has_tag_prefix(key) THEN key
         ELSE resource_tag_key(key) END;
-- What two spellings of one key have in common: AWS's snake case keeps neither case nor signs.
CREATE OR REPLACE MACRO folded_key(key) AS regexp_replace(lower(key), '[ -/:-`{-~]+', '', 'g');

-- The entries of a map as {is_users, key, value, source}: the key is the charge's, the source AWS's. AWS's own tags come
-- first, as they do in the older columns, so that a bill is the same in each of them.
CREATE OR REPLACE MACRO cur_entry(entry, key) AS
    {is_users: NOT starts_with(key, 'aws:'), key: key, value: entry.value, source: entry.key};
CREATE OR REPLACE MACRO entries_of_tags(tags) AS
    list_transform(map_entries(map_of(tags)), lambda entry: cur_entry(entry, resource_tag_key(entry.key)));
CREATE OR REPLACE MACRO entries_of_categories(cost_categories) AS
    list_transform(map_entries(map_of(cost_categories)), lambda entry: cur_entry(entry, entry.key));
CREATE OR REPLACE MACRO tags_of_map(tag_map) AS
    list_transform(
        list_filter(map_entries(map_of(tag_map)), lambda entry: NOT starts_with(entry.key, 'costCategory/')),
        lambda entry: cur_entry(entry, tag_map_key(entry.key)));
CREATE OR REPLACE MACRO categories_of_map(tag_map) AS
    list_transform(
        list_filter(map_entries(map_of(tag_map)), lambda entry: starts_with(entry.key, 'costCategory/')),
        lambda entry: cur_entry(entry, substr(entry.key, 14)));

-- The newer column's entries and those of the older one that it lacks. An expression that is read more than once is bound
-- by a lambda over a list of one: a macro would compute it each time.
CREATE OR REPLACE MACRO folded_keys(entries) AS
    list_transform(
        list_filter(entries, lambda entry: NOT regexp_matches(entry.source, '^(accountTag|userAttribute|iamPrincipal)/')),
        lambda entry: folded_key(entry.key));
CREATE OR REPLACE MACRO merged_entries(newer, older) AS
    CASE WHEN coalesce(len(older), 0) = 0 THEN newer
         WHEN coalesce(len(newer), 0) = 0 THEN older
         ELSE list_transform([folded_keys(newer)], lambda known: list_concat(
            newer, list_filter(older, lambda entry: NOT list_contains(known, folded_key(entry.key)))))[1]
    END;

-- The object of these entries; NULL where there are none. Where two keys have become one, all stay as AWS wrote them.
CREATE OR REPLACE MACRO entries_text(entries) AS
    list_transform(
        [list_sort(entries)::STRUCT(is_users BOOLEAN, key VARCHAR, value VARCHAR, source VARCHAR)[]],
        lambda sorted: CASE
            WHEN coalesce(len(sorted), 0) = 0 THEN NULL
            WHEN len(list_distinct(list_transform(sorted, lambda entry: entry.key))) = len(sorted) THEN
                for_jsonb(to_json(map(
                    list_transform(sorted, lambda entry: entry.key), list_transform(sorted, lambda entry: entry.value)))::VARCHAR)
            ELSE for_jsonb('{' || list_aggregate(list_transform(
                    sorted,
                    lambda entry: to_json(entry.source)::VARCHAR || ':' || coalesce(to_json(entry.value)::VARCHAR, 'null')),
                'string_agg', ',') || '}')
        END)[1];
-- A text that is not an object becomes a JSON string, where nothing else is there.
CREATE OR REPLACE MACRO broken_text(older, newer) AS
    CASE WHEN older IS NOT NULL AND map_of(older) IS NULL THEN for_jsonb(to_json(older)::VARCHAR)
         WHEN newer IS NOT NULL AND map_of(newer) IS NULL THEN for_jsonb(to_json(newer)::VARCHAR) END;
CREATE OR REPLACE MACRO cur_tags_text(tags, tag_map) AS
    coalesce(
        CASE WHEN tag_map IS NULL THEN entries_text(entries_of_tags(tags))
             WHEN tags IS NULL THEN entries_text(tags_of_map(tag_map))
             ELSE entries_text(merged_entries(tags_of_map(tag_map), entries_of_tags(tags))) END,
        broken_text(tags, tag_map));
CREATE OR REPLACE MACRO cur_cost_categories_text(cost_categories, tag_map) AS
    coalesce(
        CASE WHEN tag_map IS NULL THEN entries_text(entries_of_categories(cost_categories))
             WHEN cost_categories IS NULL THEN entries_text(categories_of_map(tag_map))
             ELSE entries_text(merged_entries(categories_of_map(tag_map), entries_of_categories(cost_categories))) END,
        broken_text(cost_categories, NULL::VARCHAR));

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
