"""Handlers of Ctrl-C and SIGTERM; both become a KeyboardInterrupt.

Python alone would show a traceback, lose the signal, or end without a message. Nothing heavy is
imported, for `stages/__init__.py` needs this first; so a library that is not installed is explained
here too.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from privllm.core.missing_library import missing_library

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_default = sys.excepthook


class Terminated(KeyboardInterrupt):
    """An interrupt by SIGTERM, as systemd and batch systems end a program."""

    exit_code = 128 + signal.SIGTERM  # as a shell says of a program that the signal has ended


def explain_interrupts() -> None:
    """Print one sentence instead of a traceback from here on, while a stage is still importing.

    The same goes for a library that is not installed. Once the stage runs, `engine.stage.call`
    explains both.
    """
    sys.excepthook = _explain
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as `cli.app` sets it while this module is imported
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, _: FrameType | None) -> None:
    raise Terminated


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("\nerror: interrupted before anything was written. Run the same command again.\n\n")
        exit_code = getattr(kind, "exit_code", None)
        if exit_code:  # Python itself has one only for SIGINT
            sys.stderr.flush()
            os._exit(exit_code)
    # By name: `engine.import_guard` raises it during imports, and the class may have been imported
    # again since.
    elif kind.__name__ == "UserError" and os.environ.get("PRIVLLM_DEBUG") != "1":
        sys.stderr.write(f"\nerror: {error}\n\n")
    elif text := missing_library(error):
        sys.stderr.write(f"\nerror: {text}\n\n")
    else:
        _default(kind, error, trace)


class Interrupts:
    """Handlers by which `signals` raise KeyboardInterrupt (SIGTERM: Terminated) at once.

    Between `hold` and `release` they wait for the release.

    A signal that came is raised by the next `release` in any case: Python swallows what is raised
    in a destructor.
    """

    def __init__(self, signals: Iterable[signal.Signals] = SIGNALS, held: bool = False) -> None:
        self.held = held
        self.came: int | None = None  # the signal
        self._before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return  # other threads get no signals
        for number in signals:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell starts programs in the background
                self._before[number] = signal.signal(number, self._take)

    def hold(self) -> None:
        """Let signals wait."""
        self.held = True

    def release(self) -> None:
        """Raise KeyboardInterrupt if a signal came, and let the next one raise it at once."""
        self.held = False
        if self.came:
            came, self.came = self.came, None
            raise _interrupt_of(came)

    def give_back(self) -> None:
        """Put back the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _: FrameType | None) -> None:
        self.came = number
        if not self.held:
            raise _interrupt_of(number)


def _interrupt_of(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Delay interrupts until the block ends, and raise them then.

    For work that must not be interrupted: a fork, whose hooks swallow what is raised in them, or a
    child that gets the signal too and ends in order. The handler, unlike SIG_IGN, is not passed on
    to programs that the block starts. A signal that would end this process without an exception
    still does.
    """
    handled_signals = [number for number in SIGNALS if callable(signal.getsignal(number))]
    interrupts = Interrupts(handled_signals, held=True)
    try:
        yield
    finally:
        interrupts.give_back()
    interrupts.release()
