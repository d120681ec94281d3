"""Stages of tests' builds as forks of a process that has imported their libraries.

A stage that opens a model takes four seconds of a processor to import torch, transformers and Lightning, which was most of
a small build. `Workshop.run` puts a `python` of ours first on PATH, `fork_client.py`: where it is asked for a stage that has a server, the
server forks a process, which reads its code below the workshop as ever; everything else goes to the real Python. The build of
tests/test_pipeline.py has other variables, and so is made without it.
"""

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SOCKETS = "STAGE_FORKS"  # in the environment of a build: the folder with a socket for each stage that can be forked
# What a server has imported before it forks, by the stages that it serves.
LIBRARIES = {
    ("pretrain", "finetune", "evaluate", "export"): (
        "torch",
        "transformers.models.qwen3.modeling_qwen3",
        "transformers.models.modernbert.modeling_modernbert",
        "transformers.models.t5.modeling_t5",
        "lightning.pytorch",
        "peft",
    ),
    ("validate",): ("great_expectations",),
}


def forked(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of a build of which stages are forked: `variables`, with our `python` first on PATH."""
    if not hasattr(os, "pidfd_open"):  # by which the server waits for a stage and a client at once; Linux has it
        return variables
    folder = _folder_of_all()
    return variables | {"PATH": f"{folder}{os.pathsep}{variables['PATH']}", SOCKETS: str(folder)}


@cache
def _folder_of_all() -> Path:
    """Start the servers of LIBRARIES once a process."""
    from tests.workshop import environment

    return serve(LIBRARIES, environment())


def serve(stages_and_libraries: dict[tuple[str, ...], tuple[str, ...]], variables: dict[str, str]) -> Path:
    """Start servers, which end with this process; return the folder of their sockets and of `python`, their client."""
    folder = Path(tempfile.mkdtemp(prefix="forks-"))
    client = folder / "python"
    client.write_text(f"#!{sys.executable} -IS\n" + (FOLDER / "fork_client.py").read_text("utf-8"), "utf-8")
    client.chmod(0o755)
    for number, (stages, libraries) in enumerate(stages_and_libraries.items()):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(folder / f"server-{number}"))
        listening.listen()
        command = [sys.executable, str(FOLDER / "fork_server.py"), str(listening.fileno()), *libraries]
        server = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, pass_fds=[listening.fileno()])
        listening.close()
        assert server.stdin  # when it ends, so does the server
        atexit.register(server.wait)
        atexit.register(server.stdin.close)
        for stage in stages:
            (folder / stage).symlink_to(f"server-{number}")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
