"""A process that imports libraries once, and forks programs for builds in tests: `fork_server.py FILE LIBRARY...`.

FILE is the number of a socket that listens. The libraries are imported when it is first asked, so that tests without such programs
pay nothing; it ends when its stdin does. Each request has a process of its own: it forks the program, waits for it, and kills it
when the client is gone.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

# Python and libraries read these when they are loaded, so a program for which they differ is not forked.
READ_AT_START = ("PYTHON", "LC_", "LANG", "OMP", "GOMP", "KMP", "MKL", "OPENBLAS", "ARROW", "MALLOC", "LD_")
STARTED_WITH = {name: value for name, value in os.environ.items() if name.startswith(READ_AT_START)}


def main() -> None:
    """Serve until stdin ends."""
    file, *libraries = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for pytest, which then closes stdin
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes of requests
    with socket.socket(fileno=int(file)) as listening:
        while listening in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            load(libraries)
            if os.fork() == 0:
                listening.close()
                answer(connection)
                os._exit(0)
            connection.close()


def load(libraries: list[str]) -> None:
    """Import the libraries as a stage would: without garbage collection, with our switches set, and none of our code kept."""
    gc.disable()
    importlib.import_module("privllm.core.offline")
    for name in libraries:
        importlib.import_module(name)
    for name in list(sys.modules):
        if name.partition(".")[0] == "privllm":
            del sys.modules[name]
    gc.freeze()


def answer(connection: socket.socket) -> None:
    """Fork the program that a client asks for; tell it the number of the process, and how that ended."""
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    request = json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    variables = request["variables"]
    is_elsewhere = any(str(Path(file).readlink()) != number for file, number in request["namespaces"].items())
    if (
        is_elsewhere
        or {name: value for name, value in variables.items() if name.startswith(READ_AT_START)} != STARTED_WITH
    ):
        connection.sendall(bytes(4))
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process == 0:
        connection.close()
        become(request, files)
    for file in files:
        os.close(file)
    connection.sendall(process.to_bytes(4, "big"))
    ended = os.pidfd_open(process)
    if ended not in select.select([ended, connection], [], [])[0]:  # the client is gone
        os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    connection.sendall(code.to_bytes(4, "big", signed=True))


def become(request: dict[str, Any], files: list[int]) -> None:
    """Turn this process into `python -m MODULE ...` or `python FILE ...`."""
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    # The streams of the server remember what its own files can do.
    encoding = sys.stdout.encoding
    sys.stdout = sys.__stdout__ = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # noqa: SIM115
        2, "w", encoding=encoding, errors="backslashreplace", closefd=False, buffering=1
    )
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["variables"])
    words = request["words"]
    sys.orig_argv[:] = [sys.executable, *words]
    is_module = words[0] == "-m"
    sys.argv[:] = words[1:] if is_module else words
    # In its place the server has the folder of this file.
    sys.path[0] = request["folder"] if is_module else str(Path(words[0]).parent)
    gc.enable()
    code = 0
    try:
        if is_module:
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
    except BaseException as error:
        sys.excepthook(*sys.exc_info())
        code = 1
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


main()
