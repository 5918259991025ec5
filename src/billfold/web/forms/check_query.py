"""The query of the checks page, such as `?period=2026-05&state=warned&check=untagged_cost`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from billfold.app.values import CHECKS, BillState
from billfold.period import BillingPeriod
from billfold.selection import Filter
from billfold.web.forms.fields import choose, read_month, read_number, read_text

MAX_PAGE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckQuery:
    """Which bills to show; `check` keeps those with a warning of this check."""

    client: str | None
    export: str | None
    period: BillingPeriod | None
    state: BillState | None
    check: str | None
    page: int

    def wanted(self, client: str | None, *, limit: int) -> Filter:
        """The bills to show, within what the token may see."""
        return Filter(client=client, export=self.export, period=self.period, state=self.state, limit=limit)

    def parameters(self) -> dict[str, Any]:
        """The query as parameters, without the defaults."""
        return {
            "client": self.client,
            "export": self.export,
            "period": self.period,
            "state": self.state,
            "check": self.check,
            "page": None if self.page == 1 else self.page,
        }


def read_check_query(
    client: str = "", export: str = "", period: str = "", state: str = "", check: str = "", page: str = ""
) -> CheckQuery:
    """Read the query. Raises UsageError for an invalid value; the message names its field."""
    return CheckQuery(
        client=read_text("client", client),
        export=read_text("export", export),
        period=read_month("period", period),
        state=BillState(choose("state", state, tuple(BillState))) if state else None,
        check=choose("check", check, tuple(CHECKS)) if check else None,
        page=read_number("page", page, max_value=MAX_PAGE) or 1,
    )
