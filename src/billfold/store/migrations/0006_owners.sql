-- Who answers for an account's costs. Reports join it when they read: a change needs no publication.

CREATE TABLE billing_account_owners (
    client_id text NOT NULL REFERENCES billing_clients,
    account_id text NOT NULL CHECK (account_id ~ '^[0-9]{12}$'),
    owner text NOT NULL CHECK (owner <> ''),
    account_name text CHECK (account_name <> ''),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client_id, account_id)
);
COMMENT ON TABLE billing_account_owners IS 'The operator''s own list for showback: who owns which account. Not from AWS.';
