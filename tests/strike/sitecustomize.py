"""On PYTHONPATH of a build that is to die: one stage kills itself, by SIGKILL, at its n-th change of a file of the build.

PRIVLLM_STRIKE is "<stage> <n>"; for every change a byte goes to the file that PRIVLLM_STRUCK names, so with n = 0 they are counted.
"""

import os
import signal
import sys

_stage, _last = os.environ.get("PRIVLLM_STRIKE", "- 0").split()
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "shutil.rmtree")


def _start(last: int) -> None:
    log = os.open(os.environ["PRIVLLM_STRUCK"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    root, own, seen = os.getcwd() + os.sep, os.getpid(), 0

    def hook(event: str, args: tuple) -> None:
        nonlocal seen
        if event not in ("open", *_CHANGES) or os.getpid() != own or not isinstance(args[0], str | os.PathLike):
            return
        writes = event != "open" or (isinstance(args[1], str) and any(letter in args[1] for letter in "wax+"))
        if not (writes and os.path.abspath(os.fspath(args[0])).startswith(root)):
            return
        seen += 1
        os.write(log, b".")
        if seen == last:
            os.kill(own, signal.SIGKILL)

    sys.addaudithook(hook)


if f"stages.{_stage}" in sys.orig_argv:
    _start(int(_last))
