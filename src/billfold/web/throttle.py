"""How often somebody may ask: a moving window for each token or address, in this process's memory."""

from __future__ import annotations

import ipaddress
import math
import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

# A person mistypes a few times; 256 random bits are not found by trying, but trying fills logs.
FAILURES_PER_MINUTE = 10


class Throttle:
    """Counts requests and failures; each count answers None, or in how many whole seconds there is room again."""

    def __init__(self, requests_per_minute: int) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerMinute(requests_per_minute) if requests_per_minute else None
        self._failures = RateLimitItemPerMinute(FAILURES_PER_MINUTE)

    def count_request(self, who: str) -> int | None:
        """A request of a token or an address; without a limit there is always room."""
        return None if self._requests is None else self._count(self._requests, "request", who)

    def count_failure(self, address: str) -> int | None:
        """A token that is none, sent from this address: a failure, and a request of the address as well."""
        counts = [self._count(self._failures, "failure", address), self.count_request(address)]
        if self._requests is not None:
            self._limiter.hit(self._requests, "lookup", address)
        return max((each for each in counts if each is not None), default=None)

    def wait_for_lookup(self, address: str) -> int | None:
        """In how many seconds an unknown token of this address is looked up, None for now: failures fill its share."""
        if self._requests is None or self._limiter.test(self._requests, "lookup", address):
            return None
        return self._seconds_until_room(self._requests, "lookup", address)

    def _count(self, item: RateLimitItem, *identifiers: str) -> int | None:
        if self._limiter.hit(item, *identifiers):
            return None
        return self._seconds_until_room(item, *identifiers)

    def _seconds_until_room(self, item: RateLimitItem, *identifiers: str) -> int:
        reset_at, _ = self._limiter.get_window_stats(item, *identifiers)
        return max(math.ceil(reset_at - time.time()), 1)


def network_of(address: str) -> str:
    """Whom an address is counted for: an IPv6 host has a network of 2^64 addresses to itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(parsed if parsed.version == 4 else ipaddress.ip_network((parsed, 64), strict=False))
