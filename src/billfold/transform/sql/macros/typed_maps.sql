-- Macros for FOCUS's JSON objects, whose values have types.

-- A JSON object as {key, value} with each value as JSON, NULL for any other text. DuckDB would write 1.10 as 1.1 and round
-- a long number: numbers come from the text itself, a sequence of keys and values (S: no value is an object or an array).
-- PostgreSQL has no numbers with an exponent of five digits: they become texts, like NaN, which JSON does not have.
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
-- Whether a value can be something other than a string; AWS only writes strings, which need none of the above.
CREATE OR REPLACE MACRO has_typed_value(value) AS regexp_matches(value, '"\s*:\s*[^"\s]');
-- FOCUS's objects: sorted by key, values unchanged. A text that is not an object becomes a JSON string, so that nothing is
-- lost.
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

-- FOCUS's tags. If two keys would become one, all stay unchanged.
CREATE OR REPLACE MACRO tag_keys(value) AS list_transform(entries_of(value), lambda entry: tag_key(entry.key, false));
CREATE OR REPLACE MACRO tags_text(value) AS
    coalesce(
        CASE WHEN NOT has_typed_value(value) THEN for_jsonb(TRY(to_json(map(
                tag_keys(value), list_transform(entries_of(value), lambda entry: entry.value)))::VARCHAR))
            WHEN len(list_distinct(tag_keys(value))) = len(tag_keys(value)) THEN for_jsonb(typed_entries_text(list_transform(
                typed_entries(value), lambda entry: {key: tag_key(entry.key, false), value: entry.value}))) END,
        typed_object_text(value));
