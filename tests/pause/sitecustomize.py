"""On PYTHONPATH of a build that is to be interrupted: one stage says that it has come to a point, and waits there for a signal.

PRIVLLM_PAUSE is "<stage> <audit event> <start of a path>": the main thread of the stage's own process stops before it does that, writes
a byte to the FIFO that PRIVLLM_PAUSED names, and goes on only if something is raised.
"""

import _thread
import os
import sys
import time

_stage, _event, _path = os.environ.get("PRIVLLM_PAUSE", "- - -").split()


def _start(prefix: str) -> None:
    own, reached = (os.getpid(), _thread.get_ident()), False

    def hook(event: str, args: tuple) -> None:
        nonlocal reached
        if (
            event != _event
            or reached
            or (os.getpid(), _thread.get_ident()) != own
            or not isinstance(args[0], str | os.PathLike)
        ):
            return
        writes = event != "open" or (isinstance(args[1], str) and "w" in args[1])
        if not (writes and os.path.abspath(os.fspath(args[0])).startswith(prefix)):
            return
        reached = True
        fifo = os.open(os.environ["PRIVLLM_PAUSED"], os.O_WRONLY)
        os.write(fifo, b".")
        while True:  # a signal that comes between two naps is raised at the beginning of the next
            time.sleep(0.02)

    sys.addaudithook(hook)


if f"stages.{_stage}" in sys.orig_argv:
    _start(os.path.abspath(_path))
