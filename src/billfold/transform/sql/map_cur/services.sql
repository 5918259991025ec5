-- The services sold and their categories: by the rule for the usage, else by the product's code, else by the service's.
-- AWS counts EC2's data transfer as Compute, although its service code is AWSDataTransfer (D).
CREATE OR REPLACE TEMP TABLE sold AS
SELECT
    named.*,
    coalesce(rule.service_category, by_product.service_category, by_service.service_category, 'Other') AS service_category,
    coalesce(rule.service_subcategory, by_product.service_subcategory, by_service.service_subcategory, 'Other (Other)')
        AS service_subcategory
FROM (
    SELECT
        *,
        coalesce(
            service_rule_number(product, usage_type, family, name),
            service_rule_number(service, usage_type, family, name)) AS rule_number
    FROM (
        SELECT DISTINCT
            product_servicecode AS service, line_item_product_code AS product, line_item_usage_type AS usage_type,
            product_product_family AS family, product_name AS name
        FROM classified
        WHERE is_added
    ) AS distinct_names
) AS named
LEFT JOIN service_rule AS rule USING (rule_number)
LEFT JOIN service_lookup AS by_service ON by_service.code = lower(trim(named.service))
LEFT JOIN service_lookup AS by_product ON by_product.code = lower(trim(named.product));

