"""Rate limits of one client: requests and model tokens per minute, as token buckets.

A bucket holds what may be used in a minute. A request takes the most it could cost and gives back
what it did not use. Buckets are kept in memory, so a restart fills them. No HTTP here.
"""

import time
from collections.abc import Callable

MINUTE = 60.0
Clock = Callable[[], float]  # seconds


class TokenBucket:
    """A bucket that `per_minute` units flow into evenly, and that holds no more than that."""

    def __init__(self, per_minute: int, clock: Clock = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._updated = clock()

    def wait(self, amount: float) -> float:
        """Return the seconds until `amount` can be taken: 0 if now, infinity if never."""
        if amount > self.per_minute:
            return float("inf")
        lacking = amount - self._refill()
        return max(0.0, lacking * MINUTE / self.per_minute)

    def take(self, amount: float) -> None:
        """Take `amount`, even below zero: call `wait` first. A negative amount gives back."""
        self._level = self._refill() - amount

    def _refill(self) -> float:
        """Add what flowed in since the last call, and return the level."""
        now = self._clock()
        inflow = (now - self._updated) * self.per_minute / MINUTE
        self._level = min(self.per_minute, self._level + inflow)
        self._updated = now
        return self._level


class RateLimiter:
    """The two buckets of one client: requests and model tokens."""

    def __init__(self, requests_per_minute: int, tokens_per_minute: int, clock: Clock = time.monotonic) -> None:
        self.requests = TokenBucket(requests_per_minute, clock)
        self.tokens = TokenBucket(tokens_per_minute, clock)

    def admit(self, tokens: int) -> float:
        """Take a request of at most `tokens` and return 0, or return the seconds to wait for it."""
        wait = max(self.requests.wait(1), self.tokens.wait(tokens))
        if wait == 0:
            self.requests.take(1)
            self.tokens.take(tokens)
        return wait

    def settle(self, taken: int, used: int) -> None:
        """Correct the bucket once a request that took `taken` tokens has used `used`."""
        self.tokens.take(used - taken)
