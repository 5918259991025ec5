"""The query of the onboarding page: what the client is asked to deploy, as in the options of `billfold onboard`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from billfold.app.values import Destination, ExportContents, Onboarding
from billfold.errors import ConfigurationError, UsageError
from billfold.model import ExportTable, Notify, TimeGranularity
from billfold.settings import Settings
from billfold.web.api.parameters import Text

# The contents of a CUR 2.0 export that a URL can leave out, with their labels.
CONTENTS = {
    "resources": "Resource ids",
    "split_cost_allocation_data": "Split cost allocation data",
    "capacity_reservation_data": "Capacity reservations",
    "iam_principal_data": "IAM principals",
    "tags": "All tags in one column",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OnboardingQuery:
    """The chosen options, as text; `contents` holds "no" for each content that is left out."""

    notify: str
    arn: str
    export: str
    trail: str
    time_granularity: str
    contents: Mapping[str, str]

    def plan(self, settings: Settings) -> Onboarding:
        """The plan. Raises UsageError for an invalid option, ConfigurationError without our own account id."""
        if settings.our_account_id is None:
            raise ConfigurationError(
                "BILLFOLD_OUR_ACCOUNT_ID is not set: the client's role must trust an account",
                advice="set it to the 12 digits of the AWS account that Billfold runs in",
            )
        if self.notify not in ("", *Notify) or self.export not in ("", *ExportTable):
            raise UsageError("notify or export has an unknown value")
        if self.time_granularity not in ("", *TimeGranularity) or {*self.contents.values()} - {"", "no"}:
            raise UsageError(
                f"time_granularity is {self.time_granularity!r} and the contents are {dict(self.contents)}",
                advice="time_granularity is hourly, daily or monthly; each content is empty or 'no'",
            )
        notify = Notify(self.notify or Notify.NONE)
        return Onboarding(
            our_account_id=settings.our_account_id,
            destination=None if notify is Notify.NONE else Destination(notify=notify, arn=self.arn.strip()),
            export=ExportTable(self.export) if self.export else None,
            contents=ExportContents(
                time_granularity=TimeGranularity(self.time_granularity or TimeGranularity.HOURLY),
                **{name: not value for name, value in self.contents.items()},
            ),
            is_recorded=bool(self.trail),
        )

    def parameters(self) -> dict[str, Any]:
        """The query as parameters, without the contents that are not left out."""
        plain = {"notify": self.notify, "arn": self.arn, "export": self.export, "trail": self.trail}
        chosen = {"time_granularity": self.time_granularity, **self.contents}
        return plain | {name: value for name, value in chosen.items() if value}


def read_onboarding_query(
    notify: Text = "",
    arn: Text = "",
    export: Text = "",
    trail: Text = "",
    time_granularity: Text = "",
    resources: Text = "",
    split_cost_allocation_data: Text = "",
    capacity_reservation_data: Text = "",
    iam_principal_data: Text = "",
    tags: Text = "",
) -> OnboardingQuery:
    """Read the query."""
    return OnboardingQuery(
        notify=notify,
        arn=arn,
        export=export,
        trail=trail,
        time_granularity=time_granularity,
        contents={
            "resources": resources,
            "split_cost_allocation_data": split_cost_allocation_data,
            "capacity_reservation_data": capacity_reservation_data,
            "iam_principal_data": iam_principal_data,
            "tags": tags,
        },
    )
