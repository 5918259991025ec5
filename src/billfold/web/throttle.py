"""Rate limits: a moving window for each token or address, in the memory of this process."""

from __future__ import annotations

import ipaddress
import math
import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

# A person mistypes a few times. Nobody guesses 256 random bits, but attempts fill the logs.
FAILURES_PER_MINUTE = 10


class Throttle:
    """Counts requests and failures. Each method returns None, or the whole seconds to wait before the next request."""

    def __init__(self, requests_per_minute: int) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerMinute(requests_per_minute) if requests_per_minute else None
        self._failures = RateLimitItemPerMinute(FAILURES_PER_MINUTE)

    def count_request(self, who: str) -> int | None:
        """Count a request of a token or an address; without a limit, none has to wait."""
        return None if self._requests is None else self._count(self._requests, "request", who)

    def count_failure(self, address: str) -> int | None:
        """Count an invalid token from this address: as a failure, and as a request of the address."""
        counts = [self._count(self._failures, "failure", address), self.count_request(address)]
        if self._requests is not None:
            self._limiter.hit(self._requests, "lookup", address)
        return max((each for each in counts if each is not None), default=None)

    def wait_for_lookup(self, address: str) -> int | None:
        """The seconds until an unknown token from this address is looked up, None if now. Failures use up its share."""
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
    """The address or network that a request counts for: one IPv6 host owns a network of 2^64 addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(parsed if parsed.version == 4 else ipaddress.ip_network((parsed, 64), strict=False))
