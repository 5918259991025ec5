"""Doctor: probes of everything that an ingest needs, each with the fix for what is missing.

`run.py` runs the probes of `machine.py` (disk, memory), `database.py` (version, schema, rights) and `client.py` (role,
bucket, newest delivery, events); those of AWS itself are in `billfold.aws`. A probe changes nothing.
"""

from billfold.doctor.database import MIN_VERSION
from billfold.doctor.run import OnProbe, run_doctor

__all__ = ["MIN_VERSION", "OnProbe", "run_doctor"]
