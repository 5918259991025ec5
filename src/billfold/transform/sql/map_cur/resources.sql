-- The kind of a resource, in lower case: in an ARN the word before its name (C), for AWS's short ids by their beginning
-- (D: instance, volume, bucket, distribution), for others by what was sold (I).
CREATE OR REPLACE TEMP MACRO resource_kind(id, product_code, product_family) AS
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
