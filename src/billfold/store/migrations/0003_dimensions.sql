-- Dimensions. Members are never changed: a member is the whole of its attributes, found by the MD5 of their canonical
-- spelling, so that concurrent ingestions agree without waiting for each other. Members of client tables carry the client.

CREATE TABLE dim_account (
    account_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_hash uuid NOT NULL UNIQUE,
    client_id text NOT NULL,
    account_id text,
    account_name text,
    account_type text
);
CREATE TABLE dim_service (
    service_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_hash uuid NOT NULL UNIQUE,
    provider_name text,
    publisher_name text,
    invoice_issuer_name text,
    service_code text,
    service_name text,
    service_category text,
    service_subcategory text
);
CREATE TABLE dim_region (
    region_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_hash uuid NOT NULL UNIQUE,
    region_id text,
    region_name text,
    availability_zone text
);
CREATE TABLE dim_resource (
    resource_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_hash uuid NOT NULL UNIQUE,
    client_id text NOT NULL,
    resource_id text,
    resource_name text,
    resource_type text
);
CREATE TABLE dim_sku (
    sku_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_hash uuid NOT NULL UNIQUE,
    client_id text NOT NULL,
    sku_id text,
    sku_price_id text,
    sku_meter text,
    sku_price_details text,
    operation text,
    charge_description text,
    pricing_unit text,
    consumed_unit text
);
COMMENT ON TABLE dim_sku IS 'What is sold, at which price point, how AWS describes the charge and in which units.';
CREATE TABLE dim_charge (
    charge_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_hash uuid NOT NULL UNIQUE,
    charge_category text,
    charge_class text,
    charge_frequency text,
    pricing_category text,
    commitment_discount_status text,
    line_item_type text
);
CREATE TABLE dim_commitment (
    commitment_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_hash uuid NOT NULL UNIQUE,
    client_id text NOT NULL,
    commitment_discount_id text,
    commitment_discount_name text,
    commitment_discount_category text,
    commitment_discount_type text,
    commitment_discount_unit text
);
CREATE TABLE dim_tag_set (
    tag_set_key integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    member_hash uuid NOT NULL UNIQUE,
    client_id text NOT NULL,
    tags jsonb,
    cost_categories jsonb
);
