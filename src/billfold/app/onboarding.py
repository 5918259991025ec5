"""What a client's onboarding template asks for, from the words of a caller."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from billfold.app.wanted import as_member
from billfold.errors import ConfigurationError, UsageError
from billfold.model import ExportTable, Notify, TimeGranularity

if TYPE_CHECKING:
    from billfold.clients.onboarding import Destination, Onboarding
    from billfold.settings import Settings

_OPTIONS = {Notify.SQS: "--queue-arn", Notify.EVENTBRIDGE: "--event-bus-arn"}


def make_plan(
    settings: Settings,
    *,
    our_account: str | None = None,
    notify: Notify | str | None = None,
    queue_arn: str | None = None,
    event_bus_arn: str | None = None,
    create_export: ExportTable | str | None = None,
    time_granularity: TimeGranularity | str = TimeGranularity.HOURLY,
    resources: bool = True,
    split_cost_allocation_data: bool = True,
    capacity_reservation_data: bool = True,
    iam_principal_data: bool = True,
    tags: bool = True,
    trail: bool = False,
) -> Onboarding:
    """Trust in our account, notifications, and an export with these contents; raises UsageError for what conflicts.

    BILLFOLD_OUR_ACCOUNT_ID is the default of `our_account`: without either, ConfigurationError.
    """
    from billfold.clients.onboarding import ExportContents, Onboarding

    return Onboarding(
        our_account_id=_our_account(settings, our_account),
        destination=_destination(
            as_member(Notify, notify, "kind of notification"),
            {Notify.SQS: queue_arn, Notify.EVENTBRIDGE: event_bus_arn},
        ),
        export=as_member(ExportTable, create_export, "kind of export"),
        contents=ExportContents(
            time_granularity=as_member(TimeGranularity, time_granularity, "time granularity") or TimeGranularity.HOURLY,
            resources=resources,
            split_cost_allocation_data=split_cost_allocation_data,
            capacity_reservation_data=capacity_reservation_data,
            iam_principal_data=iam_principal_data,
            tags=tags,
        ),
        is_recorded=trail,
    )


def _our_account(settings: Settings, given: str | None) -> str:
    account_id = given or settings.our_account_id
    if account_id is None:
        raise ConfigurationError(
            "BILLFOLD_OUR_ACCOUNT_ID is not set: the role has to trust an account",
            advice="set it to the 12 digits of the account that Billfold runs in, or give --our-account",
        )
    if re.fullmatch("[0-9]{12}", account_id) is None:
        raise UsageError(f"--our-account is {account_id[:200]!r}: expected 12 digits")
    return account_id


def _destination(notify: Notify | None, arns: dict[Notify, str | None]) -> Destination | None:
    """The one destination that the ARNs and `notify` name."""
    from billfold.clients.onboarding import Destination

    named = [kind for kind, arn in arns.items() if arn]
    if notify is None and len(named) > 1:
        raise UsageError("--queue-arn and --event-bus-arn are both given", advice="choose one of them, or add --notify")
    kind = notify or (named[0] if named else Notify.NONE)
    if kind is Notify.NONE:
        if named:
            raise UsageError(f"--notify none needs no {_OPTIONS[named[0]]}")
        return None
    arn = arns[kind]
    if not arn:
        raise UsageError(f"--notify {kind} needs {_OPTIONS[kind]}")
    return Destination(notify=kind, arn=arn)
