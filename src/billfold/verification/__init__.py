"""Verify: prove from the ground up that published statements are true, and name the first row that is not.

`statements` reads each statement in one snapshot and runs its proofs: raw rows against their own hashes and the
publication's totals, charges against the raw rows (`landed`), deliveries and files (`origin`), history against the
publications and daily costs against the charges (`history`), withdrawn rows and charges (`withdrawn`), split costs
(`split`), files that would be counted twice (`files`), and raw rows against the source files, as long as those can be
read (`source`). Nothing is changed.
"""

from billfold.verification.statements import verify
from billfold.verification.verdict import Proof, ProofState, Verdict

__all__ = ["Proof", "ProofState", "Verdict", "verify"]
