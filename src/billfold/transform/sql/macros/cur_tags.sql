-- Macros for the tags and cost categories of CUR.

-- CUR's tags and cost categories. The map `tags` of CUR 2.0 holds all kinds of tags, each with a prefix (A): resource tags
-- lose it, cost categories go into their own column, and the tags of accounts, users and principals keep it, because FOCUS
-- wants all schemes of tags but one to have one. The older columns only hold resource tags and cost categories, with keys
-- in snake case: if both have a key, ignoring case and punctuation, the map wins, and keys that it lacks are added (I).

-- A resource tag's key. A key that begins like another kind of tag keeps the prefix `resourceTags/`, so that it is not
-- mistaken for that kind (S: a scheme's prefix must not be used by another scheme; I).
CREATE OR REPLACE MACRO has_tag_prefix(key) AS
    regexp_matches(key, '^(resourceTags|accountTag|userAttribute|iamPrincipal|costCategory)/');
CREATE OR REPLACE MACRO resource_tag_key(key) AS
    CASE WHEN has_tag_prefix(tag_key(key, true)) THEN 'resourceTags/' ELSE '' END || tag_key(key, true);
CREATE OR REPLACE MACRO tag_map_key(key) AS
    CASE WHEN starts_with(key, 'resourceTags/') THEN resource_tag_key(substr(key, 14))
         WHEN has_tag_prefix(key) THEN key
         ELSE resource_tag_key(key) END;
-- What two spellings of one key have in common: AWS's snake case keeps neither case nor punctuation.
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

-- The newer column's entries and those of the older one that it lacks. An expression that is used more than once is bound
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

-- The object of these entries; NULL without any. If two keys have become one, all stay as AWS wrote them.
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
-- A text that is not an object becomes a JSON string, if there is nothing else.
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
