"""A stage that is forked is, to whoever started it, the stage that Python would have run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.forks import SOCKETS, forked, serve
from tests.namespaces import FORBIDDEN, NO_NETWORK
from tests.workshop import environment

pytestmark = pytest.mark.slow

STAGE = """
import json, os, sys
from pathlib import Path
print(json.dumps([sys.argv, sys.orig_argv, os.getcwd(), sys.path[0], sys.flags.hash_randomization, dict(os.environ), __name__, hash("a")]))
print("written", file=sys.stderr)
Path("loaded").write_text(str("decimal" in sys.modules))
if sys.argv[1] == "raise":
    raise ValueError("as asked")
if sys.argv[1] == "wait":
    import time
    Path("started").write_text(str(os.getpid()))
    time.sleep(60)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def folder() -> Path:
    """Of a server for the stage `small`."""
    return serve({("small",): ("decimal",)}, environment())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/small.py").write_text(STAGE)
    (tmp_path / "stages/other.py").write_text(STAGE)
    return tmp_path


def started(project: Path, folder: Path | None, *words: str, **more: str) -> "subprocess.Popen[str]":
    """Start Python in `project`, by way of the servers in `folder` where one is given."""
    python = sys.executable if folder is None else f"{folder}/bin/python"
    variables = environment(**more) | {SOCKETS: str(folder)}
    return subprocess.Popen(
        [python, *words], cwd=project, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(project: Path, folder: Path | None, *words: str, **more: str) -> tuple[int, str, str]:
    process = started(project, folder, *words, **more)
    out, err = process.communicate(timeout=60)
    return process.returncode, out.replace(str(folder), "None"), err


@pytest.mark.skipif(not NO_NETWORK, reason=FORBIDDEN)
def test_what_runs_without_a_network_has_none(project: Path, folder: Path) -> None:
    (project / "stages/small.py").write_text("import os; print(os.readlink('/proc/self/ns/net'))")
    here = os.readlink("/proc/self/ns/net")  # noqa: PTH115
    variables = environment() | {SOCKETS: str(folder)}
    command = [f"{folder}/bin/python", "-m", "stages.small"]
    for before, is_here in (([], True), (NO_NETWORK, False)):
        done = subprocess.run(
            [*before, *command], cwd=project, env=variables, capture_output=True, text=True, timeout=60
        )
        assert (done.stdout.strip() == here) == is_here, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("dvc", "--version"),
        ("dvc", "repro"),
        ("privllm", "--help"),
        ("privllm", "no-such"),
        ("python", "-m", "privllm.cli"),
    ],
)
def test_a_command_says_and_ends_as_ever(project: Path, words: tuple[str, ...]) -> None:
    variables = environment()
    forks = forked(variables)
    assert forks != variables
    real, fork = (
        subprocess.run(words, cwd=project, env=env, capture_output=True, text=True, timeout=120)
        for env in (variables, forks)
    )
    assert (fork.returncode, fork.stdout, fork.stderr) == (real.returncode, real.stdout, real.stderr)


@pytest.mark.parametrize("code", ["0", "1", "130"])
def test_words_variables_streams_and_exit_code_are_those_of_python(project: Path, folder: Path, code: str) -> None:
    said = ended(project, folder, "-m", "stages.small", code, OWN="ä")
    assert (project / "loaded").read_text() == "True", "it was forked"
    assert said == ended(project, None, "-m", "stages.small", code, OWN="ä")
    assert said[0] == int(code)
    assert (project / "loaded").read_text() == "False"


def test_a_traceback_and_a_failure(project: Path, folder: Path) -> None:
    code, _, err = ended(project, folder, "-m", "stages.small", "raise")
    assert (code, err.splitlines()[-1]) == (1, "ValueError: as asked")


@pytest.mark.parametrize("words", [("-m", "stages.other", "0"), ("-c", "print(1)")])
def test_the_rest_is_pythons(project: Path, folder: Path, words: tuple[str, ...]) -> None:
    assert ended(project, folder, *words) == ended(project, None, *words)
    assert words[0] == "-c" or (project / "loaded").read_text() == "False"


def test_variables_that_are_read_at_the_start_are_heeded(project: Path, folder: Path) -> None:
    said = ended(project, folder, "-m", "stages.small", "0", PYTHONHASHSEED="7")
    assert said == ended(project, None, "-m", "stages.small", "0", PYTHONHASHSEED="7")
    assert (project / "loaded").read_text() == "False"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_what_ends_the_client_ends_the_stage(project: Path, folder: Path, number: int) -> None:
    process = started(project, folder, "-m", "stages.small", "wait")
    for _ in range(600):
        if (project / "started").exists() and (project / "started").read_text():
            break
        time.sleep(0.05)
    stage = int((project / "started").read_text())
    assert stage != process.pid
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == -number
    for _ in range(600):
        if not Path(f"/proc/{stage}").exists():
            return
        time.sleep(0.05)
    os.kill(stage, signal.SIGKILL)
    pytest.fail("the stage goes on")
