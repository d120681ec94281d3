"""Ctrl-C while a stage is still importing: one sentence instead of a traceback.

`stages/__init__.py` imports this before anything heavy; once a stage runs, `core.stage.call` explains interrupts.
"""

import sys
from types import TracebackType

_default = sys.excepthook


def explain_interrupt(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("\nerror: interrupted before anything was written. Run the same command again.\n\n")
    else:
        _default(kind, error, trace)


sys.excepthook = explain_interrupt
