-- A deterministic CUR 2.0 bill of one payer and one month: every line item type AWS writes.
--
-- Reads the session's table `sample_request` (one row: seed, payer_account_id, month_start,
-- line_item_count, balanced, revision, changed_percent, invoice_id) and leaves the table
-- `sample_line_items` with exactly line_item_count rows. Money is exact: the negation of each hour is
-- the sum of the usage it covers, the used commitment is the sum of what was drawn, so Savings Plans
-- and reservations net out to the last decimal unless `balanced` is false, in which case one negation
-- falls short by 0.125.
--
-- A revision is the same bill delivered again: other line item ids, another order, and of changed_percent
-- of the line items (all of them on-demand usage) nine in ten with another amount and one in ten gone,
-- with a new one in its place.

CREATE OR REPLACE MACRO draw(i, purpose, bound) AS
    (md5_number_lower((SELECT seed FROM sample_request) || ':' || purpose || ':' || i) % bound)::BIGINT;

CREATE OR REPLACE TEMP TABLE sample_plan AS
WITH sized AS (
    SELECT
        *,
        month_start + INTERVAL 1 MONTH AS month_end,
        greatest(1, least(date_diff('hour', month_start, month_start + INTERVAL 1 MONTH), line_item_count // 40))
            AS commitment_hours,
        line_item_count * 8 // 100 AS covered_count
    FROM sample_request
)
SELECT
    *,
    date_diff('hour', month_start, month_end) AS month_hours,
    least(covered_count, 2 * commitment_hours) AS negation_count,
    commitment_hours + commitment_hours // 2 AS reserved_count,
    'arn:aws:savingsplans::' || payer_account_id || ':savingsplan/5f1d3c52-0c1e-4a6d-9b7e-00000000000' AS plan_arn_stem,
    'arn:aws:ec2:us-east-1:' || payer_account_id || ':reserved-instances/7c3a91d0-5a44-4f0b-8d53-000000000001'
        AS reservation_arn
FROM sized;

CREATE OR REPLACE TEMP TABLE sample_product (
    product_number INTEGER, product_code VARCHAR, product_name VARCHAR, servicecode VARCHAR, usage_type VARCHAR,
    operation VARCHAR, unit VARCHAR, rate DECIMAL(12, 10), family VARCHAR, instance_type VARCHAR,
    resource_stem VARCHAR, sku VARCHAR
);
INSERT INTO sample_product VALUES
    (0, 'AmazonEC2', 'Amazon Elastic Compute Cloud', 'AmazonEC2', 'BoxUsage:m5.large', 'RunInstances', 'Hrs', 0.0960000000, 'Compute Instance', 'm5.large', 'i-', 'K7M4VTHWAQ2BD3PN'),
    (1, 'AmazonEC2', 'Amazon Elastic Compute Cloud', 'AmazonEC2', 'BoxUsage:c5.xlarge', 'RunInstances', 'Hrs', 0.1700000000, 'Compute Instance', 'c5.xlarge', 'i-', 'Q5W2HDXKZT8YJ4RB'),
    (2, 'AmazonEC2', 'Amazon Elastic Compute Cloud', 'AmazonEC2', 'EBS:VolumeUsage.gp3', 'CreateVolume-Gp3', 'GB-Mo', 0.0800000000, 'Storage', NULL, 'vol-', 'JG3KUJMBRGHV3N8G'),
    (3, 'AmazonEC2', 'Amazon Elastic Compute Cloud', 'AmazonEC2', 'EBS:SnapshotUsage', 'CreateSnapshot', 'GB-Mo', 0.0500000000, 'Storage Snapshot', NULL, 'snap-', '7U7TWP44UP36AT3R'),
    (4, 'AmazonEC2', 'Amazon Elastic Compute Cloud', 'AmazonEC2', 'NatGateway-Hours', 'NatGateway', 'Hrs', 0.0450000000, 'NAT Gateway', NULL, 'nat-', 'M2YSHUBETB3JX4M4'),
    (5, 'AmazonEC2', 'Amazon Elastic Compute Cloud', 'AWSDataTransfer', 'DataTransfer-Out-Bytes', 'RunInstances', 'GB', 0.0900000000, 'Data Transfer', NULL, 'i-', 'HQEH3ZWJVT46JHRG'),
    (6, 'AmazonS3', 'Amazon Simple Storage Service', 'AmazonS3', 'TimedStorage-ByteHrs', 'StandardStorage', 'GB-Mo', 0.0230000000, 'Storage', NULL, 'assets-', 'WP9ANXZGBYYSGJEA'),
    (7, 'AmazonS3', 'Amazon Simple Storage Service', 'AmazonS3', 'Requests-Tier1', 'PutObject', 'Requests', 0.0000050000, 'API Request', NULL, 'assets-', 'F9WXUD4SCRMUSXMB'),
    (8, 'AmazonRDS', 'Amazon Relational Database Service', 'AmazonRDS', 'InstanceUsage:db.r5.large', 'CreateDBInstance:0014', 'Hrs', 0.2500000000, 'Database Instance', 'db.r5.large', 'arn:aws:rds:us-east-1:db:', 'TRHGEB8VJ4JUPCH6'),
    (9, 'AWSLambda', 'AWS Lambda', 'AWSLambda', 'Lambda-GB-Second', 'Invoke', 'Lambda-GB-Second', 0.0000166667, 'Serverless', NULL, 'arn:aws:lambda:us-east-1:function:', 'TG3M4CAGBA3NYQBH'),
    (10, 'AmazonDynamoDB', 'Amazon DynamoDB', 'AmazonDynamoDB', 'WriteRequestUnits', 'PayPerRequestThroughput', 'WriteRequestUnits', 0.0000012500, 'Amazon DynamoDB PayPerRequest Throughput', NULL, 'arn:aws:dynamodb:us-east-1:table/', 'WB8KGRBSVGWWP9DR'),
    (11, 'AmazonCloudWatch', 'AmazonCloudWatch', 'AmazonCloudWatch', 'CW:MetricMonitorUsage', 'MetricStorage', 'Metrics', 0.3000000000, 'Metric', NULL, NULL, 'VA8Z4T62G6U4XVB7'),
    (12, 'AmazonVPC', 'Amazon Virtual Private Cloud', 'AmazonVPC', 'VpcEndpoint-Hours', 'VpcEndpoint', 'Hrs', 0.0100000000, 'VpcEndpoint', NULL, 'vpce-', 'D8A3BFC7YTWKMNXE'),
    (13, 'awskms', 'AWS Key Management Service', 'awskms', 'us-east-1-KMS-Requests', 'Decrypt', 'Requests', 0.0000030000, 'API Request', NULL, 'arn:aws:kms:us-east-1:key/', 'UV4YU6ZK8QJWPB3A'),
    (14, 'AWSQueueService', 'Amazon Simple Queue Service', 'AWSQueueService', 'Requests-RBP', 'SendMessage', 'Requests', 0.0000004000, 'API Request', NULL, 'arn:aws:sqs:us-east-1:', 'G95FST5FTYV3JSRX'),
    (15, 'AmazonECS', 'Amazon Elastic Container Service', 'AmazonECS', 'USE1-Fargate-vCPU-Hours:perCPU', 'FargateTask', 'hours', 0.0404800000, 'Compute', NULL, 'arn:aws:ecs:us-east-1:task/', '8CESGAFWKAJ98PME');

CREATE OR REPLACE TEMP TABLE sample_kind AS
WITH counts AS (
    SELECT * FROM (
        SELECT unnest([
            {kind: 'covered', rank: 1, size: covered_count},
            {kind: 'negation', rank: 2, size: negation_count},
            {kind: 'plan fee', rank: 3, size: 2 * commitment_hours},
            {kind: 'plan upfront', rank: 4, size: 1},
            {kind: 'reserved', rank: 5, size: reserved_count},
            {kind: 'reservation fee', rank: 6, size: 1},
            {kind: 'reservation upfront', rank: 7, size: 1},
            {kind: 'tax', rank: 8, size: 6},
            {kind: 'credit', rank: 9, size: 3},
            {kind: 'refund', rank: 10, size: 2},
            {kind: 'support', rank: 11, size: 1},
            {kind: 'marketplace', rank: 12, size: 4},
            {kind: 'discount', rank: 13, size: 6}
        ], recursive := true)
        FROM sample_plan
    )
),
all_counts AS (
    FROM counts
    UNION ALL
    SELECT 'usage', 0, (SELECT line_item_count FROM sample_plan) - sum(size) FROM counts
)
SELECT
    kind,
    size::BIGINT AS size,
    coalesce(sum(size) OVER (ORDER BY rank ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)::BIGINT AS first_i
FROM all_counts;

-- One row per line item: which kind it is, its number inside the kind, and the numbers by which its
-- amount and everything else are drawn, so that a revision can draw them again.
CREATE OR REPLACE TEMP TABLE sample_number AS
WITH kept AS (
    SELECT
        i,
        kind,
        i - sample_kind.first_i AS n,
        i + revision * line_item_count AS redrawn,
        kind = 'usage' AND draw(i, 'change in ' || revision, sample_kind.size) * 100 < line_item_count * changed_percent AS is_changed,
        draw(i, 'new in ' || revision, 10) = 0 AS is_new
    FROM (
        SELECT row_number() OVER () - 1 AS i FROM range((SELECT line_item_count FROM sample_plan))
    ) AS numbers
    ASOF JOIN sample_kind ON numbers.i >= sample_kind.first_i
    CROSS JOIN sample_plan
    WHERE sample_kind.size > 0
)
SELECT
    i,
    kind,
    n,
    CASE WHEN is_changed THEN redrawn ELSE i END AS amount_drawn,
    CASE WHEN is_changed AND is_new THEN redrawn ELSE i END AS drawn
FROM kept;

-- The hour, account and product of each line item.
CREATE OR REPLACE TEMP TABLE sample_slot AS
SELECT
    i,
    kind,
    n,
    amount_drawn,
    drawn,
    payer_account_id,
    lpad(((payer_account_id::BIGINT + 1 + CASE WHEN kind IN ('tax', 'discount') THEN n ELSE draw(drawn, 'account', 6) END)
        % 1000000000000)::VARCHAR, 12, '0') AS usage_account_id,
    line_item_count, month_start, month_end, commitment_hours, month_hours, reserved_count, balanced, plan_arn_stem, reservation_arn,
    revision, invoice_id,
    CASE
        WHEN kind IN ('covered', 'negation', 'reserved', 'plan fee') THEN n % commitment_hours
        ELSE draw(drawn, 'hour', month_hours)
    END AS hour_of_month,
    CASE
        WHEN kind IN ('covered', 'negation', 'plan fee') THEN (n // commitment_hours) % 2
        WHEN kind IN ('reserved', 'reservation fee', 'reservation upfront') THEN 0
        ELSE draw(drawn, 'product', 16)
    END AS product_pick
FROM sample_number
CROSS JOIN sample_plan;

-- What each line item used and at which rate: amounts carry six decimals, so products are exact.
CREATE OR REPLACE TEMP TABLE sample_usage AS
SELECT
    sample_slot.*,
    sample_product.* EXCLUDE (product_number),
    month_start + to_hours(hour_of_month) AS usage_start,
    CASE
        WHEN kind IN ('reserved', 'reservation fee', 'reservation upfront', 'plan fee', 'plan upfront') THEN 1
        ELSE (draw(amount_drawn, 'amount', 2400000) + 1) * 0.00001
    END::DECIMAL(18, 6) AS amount,
    kind = 'usage' AND product_pick < 2 AND draw(drawn, 'spot', 100) < 25 AS is_spot
FROM sample_slot
JOIN sample_product ON sample_product.product_number
    = CASE WHEN kind IN ('covered', 'negation') THEN 15 * product_pick ELSE product_pick END;

-- The hourly ledger of the two Savings Plans: what they cover, draw and commit.
CREATE OR REPLACE TEMP TABLE sample_ledger AS
WITH drawn AS (
    SELECT
        hour_of_month,
        product_pick AS plan_number,
        sum((amount * rate)::DECIMAL(28, 10)) AS covered_cost,
        sum((amount * rate * 0.7)::DECIMAL(28, 10)) AS used_commitment
    FROM sample_usage
    WHERE kind = 'covered'
    GROUP BY ALL
)
SELECT
    *,
    (SELECT ceil(max(used_commitment)) + 0.25 FROM drawn AS every WHERE every.plan_number = drawn.plan_number)::DECIMAL(28, 10)
        AS total_commitment
FROM drawn;

CREATE OR REPLACE TABLE sample_line_items AS
WITH plan_hours AS (
    SELECT plan_number, max(total_commitment) AS total_commitment FROM sample_ledger GROUP BY ALL
),
priced AS (
    SELECT
        sample_usage.*,
        coalesce(sample_ledger.covered_cost, 0) AS covered_cost,
        coalesce(sample_ledger.used_commitment, 0)::DECIMAL(28, 10) AS used_commitment,
        coalesce(plan_hours.total_commitment, 0) AS total_commitment,
        (amount * rate)::DECIMAL(28, 10) AS on_demand_cost,
        kind IN ('covered', 'negation', 'plan fee', 'plan upfront') AS is_plan,
        kind IN ('reserved', 'reservation fee', 'reservation upfront') AS is_reservation,
        kind IN ('usage', 'covered', 'reserved', 'marketplace') AS is_usage,
        product_code || '-' || draw(drawn, 'resource', greatest(20, line_item_count // 200)) AS resource_seed
    FROM sample_usage
    LEFT JOIN sample_ledger
        ON sample_usage.kind IN ('negation', 'plan fee')
        AND sample_ledger.hour_of_month = sample_usage.hour_of_month
        AND sample_ledger.plan_number = sample_usage.product_pick
    LEFT JOIN plan_hours ON sample_usage.kind IN ('negation', 'plan fee') AND plan_hours.plan_number = sample_usage.product_pick
)
SELECT
    md5('line item ' || i || ' of ' || payer_account_id || ' ' || month_start
        || CASE WHEN revision > 0 THEN ' in revision ' || revision ELSE '' END) || substr(md5(i::VARCHAR), 1, 19) AS identity_line_item_id,
    strftime(usage_start, '%Y-%m-%dT%H:%M:%SZ') || '/' || strftime(usage_start + INTERVAL 1 HOUR, '%Y-%m-%dT%H:%M:%SZ')
        AS identity_time_interval,
    CASE WHEN kind IN ('plan upfront', 'reservation upfront') THEN 'Purchase' WHEN kind = 'refund' THEN 'Refund' ELSE 'Anniversary' END
        AS bill_bill_type,
    CASE WHEN kind = 'marketplace' THEN 'AWS Marketplace' ELSE 'AWS' END AS bill_billing_entity,
    month_end AS bill_billing_period_end_date,
    month_start AS bill_billing_period_start_date,
    invoice_id AS bill_invoice_id,
    'Amazon Web Services, Inc.' AS bill_invoicing_entity,
    payer_account_id AS bill_payer_account_id,
    'Payer ' || payer_account_id AS bill_payer_account_name,
    map {'Team': ['platform', 'search', 'checkout'][draw(usage_account_id, 'team', 3) + 1]} AS cost_category,
    map {}::MAP(VARCHAR, DECIMAL(28, 10)) AS discount,
    CASE WHEN is_usage AND NOT is_spot THEN 'us-east-1' || ['a', 'b', 'c'][draw(drawn, 'zone', 3) + 1] END AS line_item_availability_zone,
    on_demand_cost AS line_item_blended_cost,
    rate AS line_item_blended_rate,
    'USD' AS line_item_currency_code,
    CASE WHEN kind = 'marketplace' THEN 'Example Software Ltd' ELSE 'Amazon Web Services, Inc.' END AS line_item_legal_entity,
    CASE kind
        WHEN 'usage' THEN CASE WHEN is_spot THEN instance_type || ' Linux/UNIX Spot Instance-hour in US East (N. Virginia)' ELSE '$' || rate || ' per ' || unit || ' of ' || usage_type END
        WHEN 'covered' THEN '$' || rate || ' per ' || unit || ' covered by a Savings Plan'
        WHEN 'negation' THEN 'SavingsPlanNegation used by AccountId : ' || payer_account_id || ' and UsageSku : ' || sku
        WHEN 'plan fee' THEN '1 year ' || ['No', 'All'][product_pick + 1] || ' Upfront Compute Savings Plan'
        WHEN 'plan upfront' THEN '1 year All Upfront Compute Savings Plan'
        WHEN 'reserved' THEN 'm5.large reserved instance applied'
        WHEN 'reservation fee' THEN 'USD 0.05 hourly fee per Linux/UNIX (Amazon VPC), m5.large instance'
        WHEN 'reservation upfront' THEN 'Sign up charge for subscription: 7c3a91d0, planId: 1'
        WHEN 'tax' THEN 'Tax for product code AmazonEC2'
        WHEN 'credit' THEN 'Promotional credit'
        WHEN 'refund' THEN 'Refund of Amazon Simple Storage Service usage'
        WHEN 'support' THEN 'AWS Support (Business)'
        WHEN 'marketplace' THEN 'Example Monitoring, per host'
        ELSE 'Enterprise Program Discount'
    END AS line_item_line_item_description,
    CASE kind
        WHEN 'usage' THEN 'Usage'
        WHEN 'covered' THEN 'SavingsPlanCoveredUsage'
        WHEN 'negation' THEN 'SavingsPlanNegation'
        WHEN 'plan fee' THEN 'SavingsPlanRecurringFee'
        WHEN 'plan upfront' THEN 'SavingsPlanUpfrontFee'
        WHEN 'reserved' THEN 'DiscountedUsage'
        WHEN 'reservation fee' THEN 'RIFee'
        WHEN 'reservation upfront' THEN 'Fee'
        WHEN 'tax' THEN 'Tax'
        WHEN 'credit' THEN 'Credit'
        WHEN 'refund' THEN 'Refund'
        WHEN 'support' THEN 'Fee'
        WHEN 'marketplace' THEN 'Usage'
        ELSE 'EdpDiscount'
    END AS line_item_line_item_type,
    CASE WHEN kind = 'reserved' THEN 4 END::DECIMAL(18, 6) AS line_item_normalization_factor,
    CASE WHEN kind = 'reserved' THEN 4 END::DECIMAL(18, 6) AS line_item_normalized_usage_amount,
    CASE WHEN is_usage OR kind = 'negation' THEN operation END AS line_item_operation,
    CASE kind
        WHEN 'plan fee' THEN 'ComputeSavingsPlans'
        WHEN 'plan upfront' THEN 'ComputeSavingsPlans'
        WHEN 'support' THEN 'AWSSupportBusiness'
        WHEN 'marketplace' THEN '8m3kq2examplemonitoring'
        WHEN 'tax' THEN 'AmazonEC2'
        WHEN 'refund' THEN 'AmazonS3'
        ELSE product_code
    END AS line_item_product_code,
    CASE WHEN kind IN ('usage', 'covered', 'reserved') THEN resource_stem || substr(md5(resource_seed), 1, 17) END AS line_item_resource_id,
    CASE WHEN kind = 'tax' THEN 'USSalesTax' END AS line_item_tax_type,
    CASE kind
        WHEN 'usage' THEN CASE WHEN is_spot THEN (amount * rate * 0.35)::DECIMAL(28, 10) ELSE on_demand_cost END
        WHEN 'covered' THEN on_demand_cost
        WHEN 'negation' THEN -covered_cost + CASE WHEN NOT balanced AND n = 0 THEN 0.125 ELSE 0 END
        WHEN 'plan fee' THEN CASE WHEN product_pick = 0 THEN total_commitment ELSE 0 END
        WHEN 'plan upfront' THEN 8760.5
        WHEN 'reserved' THEN 0
        WHEN 'reservation fee' THEN 2 * commitment_hours * 0.05
        WHEN 'reservation upfront' THEN 700.8
        WHEN 'tax' THEN 3.1875 + n * 0.0625
        WHEN 'credit' THEN -12.34
        WHEN 'refund' THEN -1.7301
        WHEN 'support' THEN 100
        WHEN 'marketplace' THEN 14.99
        ELSE -2.0625
    END::DECIMAL(28, 10) AS line_item_unblended_cost,
    CASE WHEN is_usage THEN rate END AS line_item_unblended_rate,
    usage_account_id AS line_item_usage_account_id,
    'Workload ' || substr(usage_account_id, 10) AS line_item_usage_account_name,
    CASE WHEN kind = 'reservation fee' THEN 2 * commitment_hours ELSE amount END::DECIMAL(18, 6) AS line_item_usage_amount,
    CASE WHEN kind IN ('tax', 'reservation fee') THEN month_end ELSE usage_start + INTERVAL 1 HOUR END AS line_item_usage_end_date,
    CASE WHEN kind IN ('tax', 'reservation fee') THEN month_start ELSE usage_start END AS line_item_usage_start_date,
    CASE kind
        WHEN 'usage' THEN CASE WHEN is_spot THEN replace(usage_type, 'BoxUsage', 'SpotUsage') ELSE usage_type END
        WHEN 'plan fee' THEN 'ComputeSP:1yr' || ['NoUpfront', 'AllUpfront'][product_pick + 1]
        WHEN 'reservation fee' THEN 'HeavyUsage:m5.large'
        WHEN 'marketplace' THEN 'MP:monitored-hosts'
        ELSE CASE WHEN is_usage OR kind = 'negation' THEN usage_type END
    END AS line_item_usage_type,
    CASE WHEN is_plan OR is_reservation THEN '1yr' END AS pricing_lease_contract_length,
    CASE WHEN is_reservation THEN 'standard' END AS pricing_offering_class,
    'USD' AS pricing_currency,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN on_demand_cost ELSE 0 END AS pricing_public_on_demand_cost,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN rate END AS pricing_public_on_demand_rate,
    CASE WHEN is_reservation THEN 'Partial Upfront' END AS pricing_purchase_option,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN sku || '.JRTCKXETXF.6YS6EN2CT7' END AS pricing_rate_code,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN '4981' || draw(sku, 'rate', 1000000) END AS pricing_rate_id,
    CASE WHEN is_spot THEN 'Spot' WHEN kind = 'reserved' THEN 'Reserved' WHEN is_usage THEN 'OnDemand' END AS pricing_term,
    CASE WHEN is_usage THEN unit END AS pricing_unit,
    CASE
        WHEN kind IN ('plan fee', 'plan upfront') THEN map {'product_name': 'Savings Plans for AWS Compute usage'}
        WHEN kind = 'support' THEN map {'product_name': 'AWS Support (Business)'}
        WHEN kind = 'marketplace' THEN map {'product_name': 'Example Monitoring'}
        WHEN kind = 'refund' THEN map {'product_name': 'Amazon Simple Storage Service'}
        WHEN kind = 'tax' THEN map {'product_name': 'Amazon Elastic Compute Cloud'}
        WHEN instance_type IS NOT NULL THEN map {
            'product_name': product_name, 'servicename': product_name, 'region': 'us-east-1', 'operating_system': 'Linux',
            'tenancy': 'Shared', 'memory': '8 GiB', 'vcpu': '2', 'storage': 'EBS only', 'license_model': 'No License required',
            'instance_type_family': split_part(instance_type, '.', 1)}
        ELSE map {
            'product_name': product_name, 'servicename': product_name, 'region': 'us-east-1', 'group': family,
            'storage_class': 'General Purpose', 'version': 'N/A'}
    END AS product,
    CASE WHEN is_usage AND family = 'Data Transfer' THEN 'US East (N. Virginia)' END AS product_from_location,
    CASE WHEN is_usage THEN split_part(family, ' ', 1) END AS product_instance_family,
    CASE WHEN is_usage THEN instance_type END AS product_instance_type,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN 'US East (N. Virginia)' END AS product_location,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN 'AWS Region' END AS product_location_type,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN operation END AS product_operation,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN family END AS product_product_family,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN 'us-east-1' END AS product_region_code,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN servicecode END AS product_servicecode,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN sku END AS product_sku,
    CASE WHEN is_usage AND kind <> 'marketplace' THEN usage_type END AS product_usagetype,
    CASE WHEN kind = 'reserved' THEN 0.04 END::DECIMAL(28, 10) AS reservation_amortized_upfront_cost_for_usage,
    CASE WHEN kind = 'reservation fee' THEN 2 * commitment_hours * 0.04 END::DECIMAL(28, 10)
        AS reservation_amortized_upfront_fee_for_billing_period,
    CASE WHEN kind = 'reserved' THEN 0.09 END::DECIMAL(28, 10) AS reservation_effective_cost,
    CASE WHEN is_reservation THEN 2 END AS reservation_number_of_reservations,
    CASE WHEN kind = 'reserved' THEN 0.05 END::DECIMAL(28, 10) AS reservation_recurring_fee_for_usage,
    CASE WHEN is_reservation THEN reservation_arn END AS reservation_reservation_a_r_n,
    CASE WHEN is_reservation THEN '7730158211' END AS reservation_subscription_id,
    CASE WHEN is_reservation THEN 2 * commitment_hours END AS reservation_total_reserved_units,
    CASE WHEN kind = 'reservation fee' THEN (2 * commitment_hours - reserved_count) * 0.04 END::DECIMAL(28, 10)
        AS reservation_unused_amortized_upfront_fee_for_billing_period,
    CASE WHEN kind = 'reservation fee' THEN 4 * (2 * commitment_hours - reserved_count) END::DECIMAL(18, 6)
        AS reservation_unused_normalized_unit_quantity,
    CASE WHEN kind = 'reservation fee' THEN 2 * commitment_hours - reserved_count END::DECIMAL(18, 6) AS reservation_unused_quantity,
    CASE WHEN kind = 'reservation fee' THEN (2 * commitment_hours - reserved_count) * 0.05 END::DECIMAL(28, 10)
        AS reservation_unused_recurring_fee,
    CASE WHEN is_reservation THEN 350.4 END::DECIMAL(28, 10) AS reservation_upfront_value,
    CASE WHEN draw(drawn, 'tagged', 100) < 80 AND (is_usage OR kind = 'negation') AND kind <> 'marketplace' THEN map {
        'user_env': ['prod', 'staging', 'dev'][draw(drawn, 'env', 3) + 1],
        'user_owner': 'team-' || draw(drawn, 'owner', 12),
        'user_app': ['shop', 'search', 'billing', 'Ünïcode', ''][draw(drawn, 'app', 5) + 1],
        'aws_created_by': 'AssumedRole:' || draw(drawn, 'creator', 9)}
    ELSE map {}::MAP(VARCHAR, VARCHAR) END AS resource_tags,
    CASE WHEN kind = 'plan fee' AND product_pick = 1 THEN total_commitment END AS savings_plan_amortized_upfront_commitment_for_billing_period,
    CASE WHEN kind = 'covered' THEN split_part(instance_type, '.', 1) END AS savings_plan_instance_type_family,
    CASE WHEN is_plan THEN 'ComputeSavingsPlans' END AS savings_plan_offering_type,
    CASE WHEN is_plan THEN ['No', 'All'][product_pick + 1] || ' Upfront' END AS savings_plan_payment_option,
    CASE WHEN is_plan THEN '1yr' END AS savings_plan_purchase_term,
    CASE WHEN kind = 'plan fee' AND product_pick = 0 THEN total_commitment END AS savings_plan_recurring_commitment_for_billing_period,
    CASE WHEN is_plan THEN plan_arn_stem || (CASE WHEN kind = 'plan upfront' THEN 1 ELSE product_pick END) END
        AS savings_plan_savings_plan_a_r_n,
    CASE WHEN kind = 'covered' THEN (amount * rate * 0.7)::DECIMAL(28, 10) END AS savings_plan_savings_plan_effective_cost,
    CASE WHEN kind = 'covered' THEN (rate * 0.7)::DECIMAL(28, 11) END AS savings_plan_savings_plan_rate,
    CASE WHEN kind = 'plan fee' THEN total_commitment END AS savings_plan_total_commitment_to_date,
    CASE WHEN kind = 'plan fee' THEN used_commitment END AS savings_plan_used_commitment
FROM priced
ORDER BY CASE WHEN revision > 0 THEN draw(i, 'place in ' || revision, 4611686018427387904) END, i;
