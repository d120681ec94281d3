"""Ctrl-C where Python alone would show a traceback or lose it. It imports nothing heavy: `stages/__init__.py` needs it first.

So it is also where a library that is not installed is explained.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from privllm.core.missing import missing_library

_default = sys.excepthook


def explain_interrupts() -> None:
    """From here on, one sentence instead of a traceback: a stage is still importing. Once it runs, `core.stage.call` explains them.

    The same goes for a library that is not installed.
    """
    sys.excepthook = _explain


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("\nerror: interrupted before anything was written. Run the same command again.\n\n")
    elif kind.__name__ == "UserError":  # of `core.origins`, while something is imported; the class itself may have been imported anew
        sys.stderr.write(f"\nerror: {error}\n\n")
    elif text := missing_library(error):
        sys.stderr.write(f"\nerror: {text}\n\n")
    else:
        _default(kind, error, trace)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the block ends, and is raised then.

    For what must not be cut in two: a fork, whose hooks swallow what is raised in them, or a child that gets the signal too and ends
    in order. The handler, unlike SIG_IGN, is not handed on to programs that the block starts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals never come here
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
