"""The commands in the panels of the help, and the words around them, without loading any of them."""

from __future__ import annotations

from billfold.cli.exits import EXIT_CODES_HELP

ABOUT = "Billfold lands AWS billing exports in PostgreSQL, to the cent."
VERSION_HELP = "Print the version and exit."

# What each command's own help says first: a test compares them.
PANELS = {
    "Ingest": {
        "ingest": "Ingest billing deliveries from S3 or from disk into PostgreSQL.",
        "backfill": "Ingest every statement in the client's folder that is not current, the oldest month first.",
        "schedule": "Backfill each client at its refresh interval, and say which clients are late.",
        "worker": "Ingest the deliveries announced on an SQS queue.",
        "release": "Ingest a held delivery although it leaves little of the current bill.",
        "jobs": "Show the queue: what waits to be ingested, what runs where, and what failed.",
        "dlq": "List the messages that no worker could handle, and send them again.",
    },
    "Reports": {
        "costs": "Show costs: by service and month, or as you group them.",
        "changes": "Show what changed between two publications or moments of each statement.",
        "statements": "List the statements: what each export says about each month now.",
        "deliveries": "List the deliveries: each is one refresh of a statement, with its rows and its cost.",
        "runs": "List the runs: each is the ingestion of one version of one data file.",
        "publications": "List the publications: each is one change of a statement's bill.",
        "checks": "Show the data-quality checks of the current bills.",
        "export": "Write the charges of some months to a CSV or Parquet file in FOCUS 1.2 columns.",
        "sql": "Query PostgreSQL with one statement that only reads.",
        "owner": "Manage the owners of accounts, for `billfold costs --by owner`.",
    },
    "Change published bills": {
        "remap": "Make the charges again from the landed line items with this version's mapping, without AWS.",
        "rollback": "Restore the bill from before a statement's current delivery, exactly, in one transaction.",
        "statement": "Choose which statements costs include.",
        "prune": "Delete line items and charges that were withdrawn long ago.",
    },
    "Prove": {
        "verify": "Prove from the ground up that what is published is true, and show the first row that differs.",
        "validate": "Check the charges against the rules of FOCUS 1.2.",
    },
    "Clients and access": {
        "client": "Manage the clients whose bills are ingested.",
        "onboard": "Write the CloudFormation template that a client deploys in its account.",
        "doctor": "Check everything an ingest needs and show how to fix what is missing.",
        "serve": "Serve HTTP: the dashboard, the API, health, and events from an API destination of EventBridge.",
        "token": "Manage the tokens of the API and the dashboard.",
    },
    "Installation": {
        "demo": "Try Billfold without an AWS account: generated bills, a local AWS and the embedded PostgreSQL.",
        "migrate": "Upgrade the database's schema to this version of Billfold.",
        "backup": "Copy the embedded database with its home into a folder while other commands run.",
        "restore": "Restore a backup into BILLFOLD_HOME, which must not have a database.",
        "version": "Print the version.",
    },
}

EPILOG = (
    f"{EXIT_CODES_HELP}\n\n"
    "Settings come from the environment and from `.env` in the working directory. Without `DATABASE_URL` an"
    " embedded PostgreSQL runs under `BILLFOLD_HOME`.\n\n"
    "Start with: `billfold demo --no-serve`"
)
# The list that each command's JSON document holds, empty where the command failed.
LIST_NAMES = {
    "ingest": "deliveries",
    "backfill": "deliveries",
    "release": "deliveries",
    "prune": "statements",
    "runs": "runs",
    "deliveries": "deliveries",
    "statements": "statements",
    "costs": "costs",
    "owner": "owners",
    "client": "clients",
    "schedule": "clients",
    "dlq": "messages",
    "jobs": "jobs",
    "doctor": "checks",
    "publications": "publications",
    "changes": "changes",
    "verify": "statements",
    "remap": "statements",
    "validate": "statements",
    "checks": "checks",
    "token": "tokens",
}
