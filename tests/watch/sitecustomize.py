"""On PYTHONPATH of a watched build: an audit hook that writes down what a stage opens and forbids the network.

Active only when PRIVLLM_WATCH names a folder. One line of JSON per event in `<folder>/<stage>.jsonl`; worker processes
inherit the stage's name. It sees what goes through Python; libraries that open files themselves are caught by running
each stage in a folder that holds nothing but what it declared.
"""

import json
import os
import sys

_folder = os.environ.get("PRIVLLM_WATCH")
_named = [word.removeprefix("stages.") for word in sys.orig_argv if word.startswith("stages.")]
if _named:
    _item = os.path.splitext(os.path.basename(sys.orig_argv[-1]))[
        0
    ]  # the report of a matrix's stage is reports/<stage>/<item>.json
    os.environ["PRIVLLM_WATCH_STAGE"] = _named[0] if _item in (_named[0], "index") else f"{_named[0]}@{_item}"
_stage = os.environ.get("PRIVLLM_WATCH_STAGE")
if any(
    name in word for word in sys.orig_argv for name in ("privllm.parameters.check", "privllm.engine.dvc_resolver")
):  # they look at the whole build, before a stage starts
    _stage = None


def _start(folder: str, stage: str) -> None:
    log = os.open(f"{folder}/{stage}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    seen: set[tuple[str, str]] = set()
    root = os.getcwd() + os.sep

    def note(kind: str, what: str) -> None:
        if (kind, what) not in seen:
            seen.add((kind, what))
            os.write(log, (json.dumps([kind, what]) + "\n").encode())

    def hook(event: str, args: tuple) -> None:
        if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            path = os.path.abspath(os.fsdecode(args[0]))
            if args[1] is None and not args[2] & os.O_CREAT and not os.path.lexists(path):
                return  # os.open with a name below an open folder, as rmtree does: nothing lies at this path
            if path.startswith(root):
                note("open", path.removeprefix(root))
        elif event in ("socket.connect", "socket.sendto") and not isinstance(args[1], str | bytes):
            note("network", f"{event} {args[1]}")
            raise PermissionError(f"{event} {args[1]}: a stage may not use the network")
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            note("network", f"{event} {args[0]}")
            raise PermissionError(f"{event} {args[0]}: a stage may not use the network")

    sys.addaudithook(hook)


if _folder and _stage:
    _start(_folder, _stage)
