-- Which statements make up the costs: two exports of one bill must not both.

-- name: list_overlaps
-- Other statements of the client and month that hold an account of the same payer, the oldest first. Single files of one
-- folder and format are parts of one bill, not two bills: a payer's accounts may be spread over them.
SELECT other.statement_id, other.export_name, other.counted
FROM billing_statements AS own
JOIN billing_statements AS other
    ON other.client_id = own.client_id AND other.billing_period = own.billing_period
    AND other.statement_id <> own.statement_id
LEFT JOIN billing_deliveries AS own_delivery ON own_delivery.delivery_id = coalesce($2::text::uuid, own.current_delivery_id)
LEFT JOIN billing_deliveries AS other_delivery ON other_delivery.delivery_id = other.current_delivery_id
WHERE own.statement_id = $1::integer AND other.current_publication_id IS NOT NULL
    AND NOT (
        own_delivery.manifest_key IS NULL AND other_delivery.manifest_key IS NULL
        AND own.bucket = other.bucket
        AND regexp_replace(own.export_path, '[^/]*$', '') = regexp_replace(other.export_path, '[^/]*$', '')
        AND coalesce($3::text, own_delivery.format) = other_delivery.format
    )
    AND EXISTS (
        SELECT * FROM billfold_accounts(own.statement_id) AS held
        INTERSECT
        SELECT * FROM billfold_accounts(other.statement_id) AS held_there
    )
ORDER BY (SELECT min(publication_id) FROM billing_publications WHERE statement_id = other.statement_id)

-- name: is_counted
SELECT counted FROM billing_statements WHERE statement_id = $1::integer

-- name: set_counted
UPDATE billing_statements SET counted = $2::boolean WHERE statement_id = $1::integer
