-- The kinds of CUR line items (legacy and CUR 2.0), and the rules for each.
--
-- The scripts of this folder read the view `line_item` (canonical columns as text) and fill the table `charge`. Money and
-- quantities stay text: PostgreSQL casts and computes them exactly when the charges land. Letters show the source of a
-- rule: S the FOCUS specification, A AWS documentation, D AWS's own FOCUS rows, C community converters, I our inference.

-- What each kind of line item becomes. `bills`: whether BilledCost is the row's cost (else 0). `effective`: whether
-- EffectiveCost is the cost, the covering commitment's share, or nothing (a purchase that covers later usage: S, A).
CREATE OR REPLACE TABLE kind_rule AS
FROM (VALUES
    ('on demand',           'Usage',      'Usage-Based', 'Standard',  NULL,   true,  'cost'),
    ('spot',                'Usage',      'Usage-Based', 'Dynamic',   NULL,   true,  'cost'),
    ('plan usage',          'Usage',      'Usage-Based', 'Committed', 'Used', false, 'plan share'),
    ('plan upfront',        'Purchase',   'One-Time',    'Standard',  NULL,   true,  'nothing'),
    ('plan fee',            'Purchase',   'Recurring',   'Standard',  NULL,   true,  'nothing'),
    ('reserved usage',      'Usage',      'Usage-Based', 'Committed', 'Used', true,  'reservation share'),
    ('reservation upfront', 'Purchase',   'One-Time',    'Standard',  NULL,   true,  'nothing'),
    ('reservation fee',     'Purchase',   'Recurring',   'Standard',  NULL,   true,  'nothing'),
    ('one-time fee',        'Purchase',   'One-Time',    'Standard',  NULL,   true,  'cost'),
    ('recurring fee',       'Purchase',   'Recurring',   'Standard',  NULL,   true,  'cost'),
    ('subscription',        'Purchase',   'Recurring',   'Standard',  NULL,   true,  'cost'),
    ('tax',                 'Tax',        'Recurring',   NULL,        NULL,   true,  'cost'),
    ('credit',              'Credit',     'One-Time',    'Other',     NULL,   true,  'cost'),
    ('tax refund',          'Tax',        'One-Time',    NULL,        NULL,   true,  'cost'),
    ('returned commitment', 'Purchase',   'One-Time',    'Standard',  NULL,   true,  'nothing'),
    ('purchase refund',     'Purchase',   'One-Time',    'Standard',  NULL,   true,  'cost'),
    ('usage refund',        'Usage',      'One-Time',    'Standard',  NULL,   true,  'cost'),
    ('discount',            'Usage',      'Usage-Based', 'Standard',  NULL,   true,  'cost'),
    ('unknown',             'Adjustment', 'One-Time',    'Other',     NULL,   true,  'cost'),
    ('split cost',          'Usage',      'Usage-Based', NULL,        NULL,   false, 'nothing'),
    -- The unused share of a commitment's fee.
    ('unused plan',         'Usage',      'Usage-Based', 'Committed', 'Unused', false, 'unused'),
    ('unused reservation',  'Usage',      'Usage-Based', 'Committed', 'Unused', false, 'unused')
) AS rule (kind, charge_category, charge_frequency, pricing_category, commitment_discount_status, bills, effective);

-- What a commitment's refund is for, by its description: the fee (A, C: the rows have no ARN), a discount (C), or neither.
-- A fee is named as AWS names the fee itself; if a discount is named too, the discount is refunded (I).
CREATE OR REPLACE MACRO names_discount(description) AS
    regexp_matches(description, '(?i)discount|\b(edp|ppa|spp)\b|private (rate|pricing)');
CREATE OR REPLACE MACRO refunds_fee(description) AS coalesce(regexp_matches(description,
    '(?i)^refund (for|of) .*\bfee for ([^ ]+ ){0,4}savings plan|sign up charge for subscription')
    AND NOT names_discount(description), false);
CREATE OR REPLACE MACRO refunds_discount(description) AS coalesce(names_discount(description)
    OR regexp_matches(description, '(?i)\bcredit'), false);
CREATE OR REPLACE MACRO refunds_purchase(description) AS coalesce(regexp_matches(description,
    '(?i)\bfee\b|return|cancel|upfront|purchase|reserved (instance|node|capacity)'), false);
-- A refund whose description alone shows that a commitment's price is refunded, not its usage (I).
CREATE OR REPLACE MACRO refunds_named_purchase(description) AS coalesce(
    regexp_matches(description, '(?i)\b(savings plan|reserved ([a-z]+ )?(instance|node|capacity))')
    AND regexp_matches(description, '(?i)\bfee\b|return|cancel|upfront|purchase')
    AND NOT regexp_matches(description, '(?i)\busage\b|\bcover')
    AND NOT refunds_discount(description), false);

-- A quantity with the sign of the cost, so that its price is not below 0 (S, I).
CREATE OR REPLACE MACRO signed_as(cost, quantity) AS
    CASE WHEN starts_with(cost, '-') AND NOT is_zero(quantity) THEN '-' ELSE '' END || ltrim(quantity, '+-');

-- The kind of a resource, in lower case: in an ARN the word before its name (C), for AWS's short ids by their beginning
-- (D: instance, volume, bucket, distribution), for others by what was sold (I).
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
