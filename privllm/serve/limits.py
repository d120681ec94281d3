"""How much one caller may ask for: requests and model tokens a minute, as buckets that fill steadily.

A bucket holds a minute's worth. A request takes what it could cost at most and gives back what it did not use. Kept in memory: a
restart fills every bucket. It knows no HTTP.
"""

import time
from collections.abc import Callable

MINUTE = 60.0


class Bucket:
    """`per_minute` units flow in evenly; at most that many are ever in it."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._level, self._at = float(per_minute), clock()

    def wait(self, amount: float) -> float:
        """Seconds until `amount` could be taken; 0 now, infinite where it never could."""
        if amount > self.per_minute:
            return float("inf")
        return max(0.0, (amount - self._now()) * MINUTE / self.per_minute)

    def take(self, amount: float) -> None:
        """Takes it whether it is there or not: ask `wait` first. A negative amount gives back."""
        self._level = self._now() - amount

    def _now(self) -> float:
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / MINUTE)
        self._at = now
        return self._level


class Meter:
    """The two buckets of one caller."""

    def __init__(self, requests_per_minute: int, tokens_per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.requests = Bucket(requests_per_minute, clock)
        self.tokens = Bucket(tokens_per_minute, clock)

    def admit(self, tokens: int) -> float:
        """0 where a request that may cost `tokens` goes ahead (they are taken), else seconds to wait, and nothing is taken."""
        wait = max(self.requests.wait(1), self.tokens.wait(tokens))
        if wait == 0:
            self.requests.take(1)
            self.tokens.take(tokens)
        return wait

    def settle(self, taken: int, used: int) -> None:
        """A request that took `taken` tokens used `used` of them."""
        self.tokens.take(used - taken)
