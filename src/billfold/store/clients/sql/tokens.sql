-- Tokens: their hashes and scopes.

-- name: insert_token
-- If a valid token has this name, no row is returned.
INSERT INTO billing_tokens (name, token_hash, scopes, client_id, expires_at)
VALUES (%(name)s, %(token_hash)s, %(scopes)s, %(client_id)s, now() + make_interval(days => %(expires_days)s::integer))
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING token_id, name, scopes, client_id, created_at, expires_at, last_used_at, revoked_at, false AS is_expired

-- name: list_tokens
SELECT token_id, name, scopes, client_id, created_at, expires_at, last_used_at, revoked_at,
    coalesce(expires_at <= now(), false) AS is_expired
FROM billing_tokens ORDER BY token_id

-- name: find_token
-- The token with this hash, if it is valid.
SELECT token_id, name, scopes, client_id, created_at, expires_at, last_used_at, revoked_at, false AS is_expired
FROM billing_tokens
WHERE token_hash = %(token_hash)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())

-- name: note_use
-- At most one write a minute, however many requests use it.
UPDATE billing_tokens SET last_used_at = now()
WHERE token_id = %(token_id)s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')

-- name: revoke_token
-- By its id, or by its name while it is valid.
UPDATE billing_tokens SET revoked_at = now()
WHERE revoked_at IS NULL AND (token_id = %(token_id)s OR name = %(name)s)
RETURNING token_id, name, scopes, client_id, created_at, expires_at, last_used_at, revoked_at,
    coalesce(expires_at <= now(), false) AS is_expired

-- name: revoke_of_client
UPDATE billing_tokens SET revoked_at = now() WHERE client_id = %(client_id)s AND revoked_at IS NULL

-- name: was_any_made
-- Revoked and expired tokens count.
SELECT EXISTS (SELECT FROM billing_tokens)
