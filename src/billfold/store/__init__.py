"""PostgreSQL: everything that Billfold keeps, and the only importer of its drivers.

    database      connections, and the drivers' errors as Billfold's own
    embedded      the server under BILLFOLD_HOME, run by `keeper` on a `cluster` in a `home`
    migrate       the schema, from `migrations/`
    deliveries/   statements, deliveries, runs and publications; raw rows, charges and their history
    reports/      what commands, API and dashboard show
    verification/ what the proofs of `verify` compare
    clients/      the registry, owners of accounts, tokens
    jobs/         requests that wait for a worker, failed messages, slots

Queries are named in `.sql` files, in the folder `sql` beside the modules that use them.
"""
