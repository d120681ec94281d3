"""Connections of the server: how many there may be, and how long a request's head may take.

uvicorn limits neither, and a process that has no file left to open can accept nobody. Where all
places are taken the oldest connection that asks for nothing gives up its own, so that clients who
send half a request keep nobody out.
"""

import asyncio
import resource
from collections.abc import Callable
from functools import partial
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # within which the head of a request must arrive
# An open connection that asks for nothing is kept so long: longer than clients keep one (httpx, and so the openai client: 5 s), or one
# would send a request while we close.
KEEP_ALIVE_SECONDS = 75
BACKLOG = 128  # connections that the system accepts at once, before we see them
OTHER_FILES = 256  # that the process has open beside connections: libraries, the database, its log
WANTED_FILES = 4096
LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
FULL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n"


def connection_limit() -> int:
    """Return how many connections this process can hold, after it has asked the system for more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    files = WANTED_FILES if soft == resource.RLIM_INFINITY else min(WANTED_FILES, soft)
    return max(16, files - OTHER_FILES - BACKLOG)


class GuardedProtocol(H11Protocol):
    """A connection that ends where no request comes of it, or where there are too many."""

    def __init__(self, *arguments: Any, limit: int, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._limit = limit
        self._opened = self.loop.time()
        self._head_timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Return whether no request has come, or none since the last answer."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limit:
            self._make_room()
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_timer()

    def _watch_head(self) -> None:
        """Start the clock where a head is awaited; it does not start again with every byte."""
        if not self.is_idle:
            self._stop_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._end_if_late)

    def _stop_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_if_late(self) -> None:
        self._head_timer = None
        if self.is_idle and not self.transport.is_closing():
            self._end_with(LATE)

    def _make_room(self) -> None:
        others = [other for other in self.connections if isinstance(other, GuardedProtocol) and other is not self]
        idle = [other for other in others if other.is_idle]
        if idle:
            oldest = min(idle, key=lambda other: other._opened)
            self.connections.discard(oldest)  # at once: the system tells of its end later
            oldest.transport.abort()
        else:
            self._end_with(FULL)

    def _end_with(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()


def guarded(limit: int) -> Callable[..., GuardedProtocol]:
    """Return the protocol of a server that holds at most `limit` connections."""
    return partial(GuardedProtocol, limit=limit)
