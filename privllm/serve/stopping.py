"""The end of a server: replies get a while to end, then their clients are told why they broke off.

uvicorn would cancel them, which a client sees as a lost connection and the log as a traceback.
"""

import asyncio
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

SHUTDOWN_SECONDS = 3  # that replies get to end when the server stops
CLOSING_SECONDS = 2  # that clients get to read why theirs did not


class GentleServer(uvicorn.Server):
    """A server that calls `end_replies` before it cancels anything."""

    def __init__(self, config: uvicorn.Config, end_replies: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_replies = end_replies

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = asyncio.get_running_loop().call_later(SHUTDOWN_SECONDS, self._end_replies)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal. A second Ctrl-C ends replies at once, and waits for no client that keeps its connection."""
        if self.should_exit:
            self._end_replies()
            return
        super().handle_exit(sig, frame)
