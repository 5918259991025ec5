"""Data quality: the checks that run on each published bill. Checks warn; they never block.

`table.py` lists every check with its meaning and advice, `rules.py` decides when each of them warns, and `checks.py`
runs them after a publication and records the outcomes.
"""

from billfold.model import CheckState
from billfold.quality.checks import CheckOutcome, make_checks, record_checks
from billfold.quality.table import CHECKS, SEVERE_CHECKS, Check, Severity, describe_check

__all__ = [
    "CHECKS",
    "SEVERE_CHECKS",
    "Check",
    "CheckOutcome",
    "CheckState",
    "Severity",
    "describe_check",
    "make_checks",
    "record_checks",
]
