"""Exit codes of `privllm`, as docs/reference/commands.md has them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.core.errors import UserError
from tests.workshop import ROOT, environment

RUNNER = CliRunner()
COMMAND = [sys.executable, "-m", "privllm.cli"]
# Runs `privllm check` with a body of our own, so that a signal comes while a command works.
WITH_BODY = """
import os, signal, sys
from privllm.cli.app import app
import privllm.engine.params_check

def body():
    {body}

open("dvc.yaml", "w").close()
privllm.engine.params_check.require_sound_params = body
sys.argv = ["privllm", "check"]
app()
"""
# Sends a signal when the first module of ours that explains signals is about to be imported.
AT_THE_START = """
import os, signal, sys

class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == "privllm.engine.interrupt":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Sender())
import privllm.cli.app
"""


def ended(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    variables = environment(PYTHONPATH=str(ROOT))
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["plan", "--help"]])
def test_0_what_was_asked_for_is_done(words: list[str]) -> None:
    assert RUNNER.invoke(app, words).exit_code == 0


def test_1_an_error_that_people_can_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RUNNER.invoke(app, ["check"]).exit_code == 1


def test_1_our_own_mistake_has_a_traceback(tmp_path: Path) -> None:
    done = ended(WITH_BODY.format(body="1 / 0"), tmp_path)
    assert (done.returncode, "ZeroDivisionError" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "words", [[], ["nothing"], ["plan", "--no-such-option"], ["trace"], ["audit", "--shards", "x"]]
)
def test_2_a_wrong_command_line(words: list[str]) -> None:
    assert RUNNER.invoke(app, words).exit_code == 2


def test_2_what_cannot_be_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise UserError("git knows no revision `a`.")

    monkeypatch.setattr("privllm.manage.compare.compare", unknown)
    assert RUNNER.invoke(app, ["compare", "a", "b"]).exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_128_and_the_signal(number: signal.Signals, code: int, tmp_path: Path) -> None:
    done = ended(WITH_BODY.format(body=f"os.kill(os.getpid(), {int(number)})"), tmp_path)
    assert done.returncode == code
    assert "privllm check was interrupted. Nothing is lost" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_130_at_a_question(tmp_path: Path) -> None:
    """typer's own question would end with 1 and the word Aborted."""
    body = "from privllm.cli.feedback import _agrees; import builtins; builtins.input = interrupted; _agrees('Well?')"
    code = WITH_BODY.format(body=body).replace("def body", "def interrupted(_): raise KeyboardInterrupt\n\ndef body")
    assert ended(code, tmp_path).returncode == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_import_and_command(number: signal.Signals, tmp_path: Path) -> None:
    code = f"import os, privllm.cli.app; os.kill(os.getpid(), {int(number)})"
    done = ended(code, tmp_path)
    assert done.returncode in (-number, 128 + number)  # a shell shows 128 + number for both
    assert "interrupted before anything was written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_signal_before_anything_of_ours_is_imported_ends_without_a_word(tmp_path: Path) -> None:
    done = ended(AT_THE_START, tmp_path)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_ctrl_c_that_a_shell_has_switched_off_stays_off(tmp_path: Path) -> None:
    code = "import signal, subprocess, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    inner = "import signal, privllm.cli.app; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    done = ended(f"{code}sys.exit(subprocess.run([sys.executable, '-c', {inner!r}]).returncode)", tmp_path)
    assert done.stdout == "True\n", done.stderr


def test_141_where_the_reader_has_seen_enough(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = WITH_BODY.format(body="print('x', flush=True)")
    command = [sys.executable, "-c", code]
    variables = environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(command, cwd=tmp_path, env=variables, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_table_has_every_code_that_is_tested_here() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text("utf-8")
    table = page.partition("## Exit codes")[2].partition("## ")[0]
    documented = re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)
    tested = {name.split("_")[1] for name in globals() if re.match(r"test_\d", name)} - {"128"}
    assert set(documented) == tested | {"143"}
