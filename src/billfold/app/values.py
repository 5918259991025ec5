"""The values that `Billfold` takes and returns, for callers that need their classes at run time.

The server makes its schemas from the rows and its forms fill the others. Importing this module loads every driver, so
the command line does not.
"""

from billfold.aws.keys import MAX_KEY_BYTES
from billfold.clients.onboarding.events import Destination
from billfold.clients.onboarding.export import ExportContents
from billfold.clients.onboarding.template import Onboarding
from billfold.quality import CHECKS, Severity, describe_check
from billfold.reports.bill_quality import BillState
from billfold.reports.checks import CheckRow
from billfold.reports.costs import choose_metric
from billfold.reports.freshness import ClientFreshness, StatementFreshness
from billfold.reports.lists import DeliveryRow, PublicationRow, RunRow, StatementRow
from billfold.reports.moves import ComparedRange
from billfold.reports.owners import OwnerRow, UnownedRow
from billfold.reports.spending import Question
from billfold.store.jobs.doctor_runs import LIMIT_SECONDS as DOCTOR_LIMIT_SECONDS
from billfold.store.jobs.doctor_runs import DoctorRun
from billfold.store.jobs.jobs import JobRow
from billfold.store.jobs.requests import RequestedDelivery
from billfold.store.reports.spending import ChargePlace

__all__ = [
    "CHECKS",
    "DOCTOR_LIMIT_SECONDS",
    "MAX_KEY_BYTES",
    "BillState",
    "ChargePlace",
    "CheckRow",
    "ClientFreshness",
    "ComparedRange",
    "DeliveryRow",
    "Destination",
    "DoctorRun",
    "ExportContents",
    "JobRow",
    "Onboarding",
    "OwnerRow",
    "PublicationRow",
    "Question",
    "RequestedDelivery",
    "RunRow",
    "Severity",
    "StatementFreshness",
    "StatementRow",
    "UnownedRow",
    "choose_metric",
    "describe_check",
]
