-- Macros for the map of discounts in a row.

-- The total among the discounts of a JSON object, under the name that its column has in CUR 2.0 or in legacy CUR, and the
-- object without its key: the total is not another discount.
CREATE OR REPLACE MACRO total_of(object) AS
    CASE WHEN contains(lower(object), 'total') THEN number_text(trim(regexp_extract(object,
        '(?i)"(?:discount[_/])?total_?discount"\s*:\s*("[^"]*"|[^\s,{}\[\]"]+)', 1), '"')) END;
CREATE OR REPLACE MACRO without_total(object) AS
    CASE WHEN total_of(object) IS NULL THEN object
         ELSE regexp_replace(object, '"(discount[_/])?total_?discount"\s*:', ':', 'gi') END;

-- The numbers among the values of a JSON object, as they are written, with spaces between them: a JSON parser would read a
-- long one inexactly. NULL without any.
CREATE OR REPLACE MACRO values_of(object) AS
    list_transform(
        regexp_extract_all(without_total(object), '"(?:\\.|[^"\\])*"\s*:\s*("(?:\\.|[^"\\])*"|[^\s,{}\[\]"]+)', 1),
        lambda value: trim(trim(value, '"')));
CREATE OR REPLACE MACRO terms_of(object) AS
    list_aggregate(
        list_filter(
            list_transform(values_of(object), lambda value: number_text(value)), lambda term: term IS NOT NULL),
        'string_agg', ' ');
-- Whether the text is not a map of numbers, or one of its values is not a number.
CREATE OR REPLACE MACRO is_unreadable(object) AS
    NOT starts_with(trim(object), '{')
    OR trim(object) <> '{}' AND NOT regexp_matches(object, '"\s*:')
    OR len(list_filter(values_of(object), lambda value:
        number_text(value) IS NULL AND lower(value) NOT IN ('', 'none', 'null', 'n/a', 'nan'))) > 0;
