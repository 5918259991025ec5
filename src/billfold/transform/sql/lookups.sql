-- The mapping's own tables, from the CSV files of the folder `lookups`, which an analyst may read and change.
--
-- All columns are text; an empty cell is NULL. Columns are found by their headers, in any order.

CREATE OR REPLACE MACRO lookup_rows(name) AS TABLE
FROM read_csv(
    getvariable('lookup_folder') || '/' || name || '.csv',
    all_varchar = true, header = true, delim = ',', quote = '"', escape = '"', parallel = false);

-- One row per service code: `code` is the key, in lower case.
CREATE OR REPLACE TABLE service_lookup AS
SELECT lower(trim(service_code)) AS code, service_code, service_name, service_category, service_subcategory, basis
FROM lookup_rows('services');

-- Rules for usage types, product families and product names: an empty condition is true for every row. The first rule in
-- the file whose conditions are all true applies.
CREATE OR REPLACE TABLE service_rule AS
SELECT
    row_number() OVER ()::INTEGER AS rule_number,
    lower(trim(service_code)) AS code,
    usage_type_like,
    product_family_like,
    product_name_like,
    service_category,
    service_subcategory,
    basis
FROM lookup_rows('service_rules');

-- The number of the rule that applies to a row, NULL without one. DuckDB evaluates it once per distinct arguments.
CREATE OR REPLACE MACRO service_rule_number(row_code, row_usage_type, row_product_family, row_product_name) AS (
    SELECT min(rule_number)
    FROM service_rule
    WHERE (service_rule.code IS NULL OR service_rule.code = lower(trim(row_code)))
        AND (usage_type_like IS NULL OR row_usage_type LIKE usage_type_like)
        AND (product_family_like IS NULL OR row_product_family LIKE product_family_like)
        AND (product_name_like IS NULL OR row_product_name LIKE product_name_like));

CREATE OR REPLACE TABLE region_lookup AS
SELECT lower(trim(region_id)) AS region_id, region_name, prefix
FROM lookup_rows('regions');

-- One row per spelling of a unit: `unit` is the key, in lower case.
CREATE OR REPLACE TABLE unit_lookup AS
SELECT lower(trim(unit)) AS unit, focus_unit, basis
FROM lookup_rows('units');
