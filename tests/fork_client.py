"""`python -m stages.x`, `privllm` or `dvc` of a test's build: has a server fork it, and is to its parent what it would be.

With anything else it becomes the real program. It is run by `python -IS`, so that it starts in a hundredth of a second.
"""

import json
import os
import signal
import socket
import sys

SOCKETS = "STAGE_FORKS"


def main() -> None:
    """Run what the command line says."""
    program = os.path.basename(sys.argv[0])  # noqa: PTH119  (pathlib takes as long as all the rest)
    words = sys.argv[1:]
    if program == "python":
        name = words[1].removeprefix("stages.") if len(words) > 1 and words[0] == "-m" else ""
    else:
        name = program
        words = [os.path.join(os.path.dirname(sys.executable), program), *words]  # noqa: PTH118, PTH120
    address = f"{os.environ[SOCKETS]}/{name}"
    on_a_terminal = any(os.isatty(file) for file in range(3))
    if name and os.access(address, os.F_OK) and not on_a_terminal:
        run_forked(address, words)
    os.execv(sys.executable, [sys.executable, *words])


def namespaces() -> dict[str, str]:
    """Return {file of a namespace: its number} for those that `unshare` gives a program, and a fork of a server would not have."""
    files = [f"/proc/self/ns/{kind}" for kind in ("mnt", "net", "user")]
    return {file: os.readlink(file) for file in files}  # noqa: PTH115


def run_forked(address: str, words: list[str]) -> None:
    """Exit as the program does. Return where the server is gone, or runs elsewhere or under other variables."""
    folder = os.getcwd()  # noqa: PTH109
    request = json.dumps(
        {"folder": folder, "words": words, "variables": dict(os.environ), "namespaces": namespaces()}
    ).encode()
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(address)
        except OSError:
            return
        socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
        server.sendall(request)
        process = int.from_bytes(server.recv(4), "big")
        if not process:
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(process, number))
        code = int.from_bytes(server.recv(4), "big", signed=True)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
