"""What a client deploys in its own AWS account, as one CloudFormation template.

`template.py` writes it, with the role that Billfold assumes. `events.py` adds how the bucket reports new objects,
`export.py` the billing export and its bucket, and `trail.py` a record of every read.
"""

from billfold.clients.onboarding.events import Destination
from billfold.clients.onboarding.export import EVERYTHING, ExportContents
from billfold.clients.onboarding.template import (
    Onboarding,
    iam_documents,
    make_template,
    next_steps,
    permission_policy,
    trust_policy,
)

__all__ = [
    "EVERYTHING",
    "Destination",
    "ExportContents",
    "Onboarding",
    "iam_documents",
    "make_template",
    "next_steps",
    "permission_policy",
    "trust_policy",
]
