"""Stages, and the commands `dvc` and `privllm`, of tests' builds as forks of a process that has imported their libraries.

A stage that opens a model takes four seconds of a processor to import torch, transformers and Lightning, which was most of a small
build; half of what a command of DVC's takes, in hundreds of them, are imports too. `Workshop.run` puts a `python`, a `dvc` and a
`privllm` of ours first on PATH, `fork_client.py`: where they are asked for what has a server, the server forks a process, which reads
its code below the workshop as ever; everything else goes to the real program. The build of tests/test_pipeline.py has other variables,
and so is made without it.
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
DVC = ("dvc.cli", "dvc.repo", "dvc.repo.reproduce", "dvc.commands.repro", "dvc_render", "scmrepo.git", "ruamel.yaml")
DATA = ("pyarrow.parquet", "pyarrow.compute", "omegaconf", "yaml")
# What a server has imported before it forks, by what it serves: stages, a module, a program.
LIBRARIES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("start", "pretrain", "finetune", "align", "evaluate", "export", "gate"): (
        "torch",
        "transformers.models.qwen3.modeling_qwen3",
        "transformers.models.modernbert.modeling_modernbert",
        "transformers.models.t5.modeling_t5",
        "lightning.pytorch",
        "peft",
    ),
    ("validate",): ("great_expectations",),
    ("annotate",): ("spacy", *DATA),
    ("dvc",): DVC,
    ("privllm", "privllm.cli"): (*DVC, *DATA, "typer", "rich.console", "rich.table"),
}
OTHER_STAGES = {path.stem for path in (FOLDER.parent / "stages").glob("*.py")} - {"__init__"} - set().union(*LIBRARIES)
LIBRARIES[tuple(sorted(OTHER_STAGES))] = DATA


def forked(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of a build of which stages are forked: `variables`, with our programs first on PATH."""
    if not hasattr(os, "pidfd_open"):  # by which the server waits for a stage and a client at once; Linux has it
        return variables
    folder = _folder_of_all(variables["PYTHONHASHSEED"])
    return variables | {"PATH": f"{folder}/bin{os.pathsep}{variables['PATH']}", SOCKETS: str(folder)}


@cache
def _folder_of_all(hash_seed: str) -> Path:
    """Start the servers of LIBRARIES once a process."""
    from tests.workshop import environment

    return serve(LIBRARIES, environment(PYTHONHASHSEED=hash_seed))


def serve(served: dict[tuple[str, ...], tuple[str, ...]], variables: dict[str, str]) -> Path:
    """Start servers, which end with this process; return the folder of their sockets, with their clients in `bin`."""
    folder = Path(tempfile.mkdtemp(prefix="forks-"))
    (folder / "bin").mkdir()
    for program in ("python", "privllm", "dvc"):
        client = folder / "bin" / program
        client.write_text(f"#!{sys.executable} -IS\n" + (FOLDER / "fork_client.py").read_text("utf-8"), "utf-8")
        client.chmod(0o755)
    for number, (names, libraries) in enumerate(served.items()):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(folder / f"server-{number}"))
        listening.listen()
        command = [sys.executable, str(FOLDER / "fork_server.py"), str(listening.fileno()), *libraries]
        server = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, pass_fds=[listening.fileno()])
        listening.close()
        assert server.stdin  # when it ends, so does the server
        atexit.register(server.wait)
        atexit.register(server.stdin.close)
        for name in names:
            (folder / name).symlink_to(f"server-{number}")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
