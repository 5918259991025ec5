"""The life of one statement: deliveries come in, are compared, mapped, reconciled and published, and can be taken back.

A delivery's way, each step in the module of its name:

    ingest        a source: its deliveries, then an outcome for each
    sources       which deliveries a source holds
    attempt       one delivery, retried until it is in or has failed for good
    delivery      under the statement's claim: skip, refuse, or read and publish
    admission     whether it is current already, and what forbids it
    publication   compare, land, map, reconcile, publish: one transaction
    outcomes      how it ended, for the caller

`backfill`, `requests` and `release` ingest on other occasions. `rollback`, `remap`, `counting` and `prune` change a
statement without a delivery. `overlap` decides which statements of the same bill are counted, `standalone` what becomes
of files outside any export. `findings`, `drift`, `discounts` and `split_cost` name what is unusual in a bill.
"""
