"""Verify: what is published is proved from the ground up, and the first row that differs is named.

Every statement is read in one snapshot: raw rows against their own hashes and the publication's totals, charges against
the raw rows that they come of, history against the publications, daily costs and restatements against the charges, and
at last the raw rows against the source files, where they can still be read. Nothing is changed.
"""

from billfold.verification.statements import verify
from billfold.verification.verdict import Proof, ProofState, Verdict

__all__ = ["Proof", "ProofState", "Verdict", "verify"]
