-- Tokens: who may ask over HTTP, and for what. A token itself is shown once and kept nowhere.

CREATE TABLE billing_tokens (
    token_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (name ~ '^[A-Za-z][A-Za-z0-9._-]{0,63}$'),
    -- SHA-256 of a token of 256 random bits: nobody guesses one, so a slow hash would protect nothing.
    token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'ingest', 'admin']),
    -- The only client that it reaches; all of them where NULL. It refers to no row: the token of a client that is purged
    -- stays, revoked, and must never become one for all clients.
    client_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz CHECK (expires_at > created_at),
    -- Written at most once a minute.
    last_used_at timestamptz,
    revoked_at timestamptz
);

-- A name can be given again once its token is revoked.
CREATE UNIQUE INDEX billing_tokens_name ON billing_tokens (name) WHERE revoked_at IS NULL;

-- The reader, whose queries are the operator's own, sees no token.
ALTER FUNCTION billfold_grant_rights() RENAME TO billfold_grant_usual_rights;

CREATE FUNCTION billfold_grant_rights() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    home text := current_schema();
BEGIN
    PERFORM billfold_grant_usual_rights();
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'billfold_reader') THEN
        EXECUTE format('REVOKE ALL ON %I.billing_tokens FROM billfold_reader', home);
    END IF;
END
$$;

DO $$
DECLARE
    home text := current_schema();
BEGIN
    EXECUTE format('ALTER FUNCTION %I.billfold_grant_rights() SET search_path = %I, pg_temp', home, home);
    EXECUTE format('REVOKE ALL ON FUNCTION %I.billfold_grant_rights() FROM PUBLIC', home);
END
$$;

SELECT billfold_grant_rights();
