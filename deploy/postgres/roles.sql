-- Run once by an administrator in an empty server: creates the three roles, with passwords from the environment, and the
-- database. See docs/postgresql.md. The container of PostgreSQL runs it when it initialises its data.

\set ON_ERROR_STOP on
\getenv owner_password OWNER_PASSWORD
\getenv ingest_password INGEST_PASSWORD
\getenv reader_password READER_PASSWORD

CREATE ROLE billfold_owner LOGIN PASSWORD :'owner_password' NOSUPERUSER NOCREATEDB NOCREATEROLE;
CREATE ROLE billfold_ingest LOGIN PASSWORD :'ingest_password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
CREATE ROLE billfold_reader LOGIN PASSWORD :'reader_password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;

CREATE DATABASE billing OWNER billfold_owner;
REVOKE CONNECT, TEMPORARY ON DATABASE billing FROM PUBLIC;
GRANT CONNECT ON DATABASE billing TO billfold_ingest, billfold_reader;
