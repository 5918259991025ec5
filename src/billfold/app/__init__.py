"""Billfold as an object: one way in for the command line, the server, the workers, AWS Lambda and your own programs.

    from billfold import Billfold

    with Billfold.from_environment() as billfold:
        for outcome in billfold.ingest("s3://acme-billing/exports/", client="acme"):
            print(outcome.state, outcome.reason)

`opened.py` has the settings and the database, `reading.py` what only reads, `billfold.py` what changes something, and
the others its attributes, one for each group of commands. `wanted.py` turns arguments into values.
"""

from billfold.app.billfold import Billfold

__all__ = ["Billfold"]
