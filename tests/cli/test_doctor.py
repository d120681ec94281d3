"""`privllm doctor` as it is typed, where little works."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.manage.doctor.finding import Finding, State
from tests.hostile import ESCAPED, EVIL, obeyed
from tests.workshop import ROOT, environment

RUNNER = CliRunner()
WELL = Finding("Python", State.ok, "3.11.9, /usr/bin/python3")
LITTLE = Finding("disk", State.warning, "1.0 GB free of 100 GB", "privllm gc --keep 5GB")
GONE = Finding("git", State.missing, EVIL, "apt install git")


def finding(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr("privllm.manage.doctor.report.examine", lambda: iter(findings))


def test_a_line_for_each_check_and_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    finding(monkeypatch, WELL, LITTLE)
    done = RUNNER.invoke(app, ["doctor"])
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        *WELL.lines(140),
        *LITTLE.lines(140),
        "",
        "1 warning: nothing that is needed is missing.",
    ]


def test_what_is_missing_is_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    finding(monkeypatch, WELL, GONE)
    done = RUNNER.invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "".join(ESCAPED.split()) in "".join(done.output.split())
    assert not obeyed(done.output)


def test_programs_read_json(monkeypatch: pytest.MonkeyPatch) -> None:
    finding(monkeypatch, WELL, GONE)
    done = RUNNER.invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1
    result = json.loads(done.output)
    assert result["ok"] is False
    assert result["checks"][1] == {"check": "git", "state": "missing", "value": EVIL, "command": "apt install git"}


def test_a_finding_is_printed_before_the_next_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def findings() -> Iterator[Finding]:
        yield WELL
        raise KeyboardInterrupt

    monkeypatch.setattr("privllm.manage.doctor.report.examine", findings)
    assert "/usr/bin/python3" in RUNNER.invoke(app, ["doctor"]).output


@pytest.mark.torch
@pytest.mark.slow
def test_in_a_bare_folder_of_a_machine_without_programs_or_a_locale(tmp_path: Path) -> None:
    """A real run: no git, no dvc, no compiler on PATH, ASCII only, sixty columns."""
    folder = tmp_path / "über"
    folder.mkdir()
    variables = environment(
        PYTHONPATH=str(ROOT), PATH="/nowhere", COLUMNS="60", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    )
    done = subprocess.run(
        [sys.executable, "-m", "privllm.cli", "doctor"],
        cwd=folder, env=variables | {"LC_ALL": "C", "LANG": "C"}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "there is no g++" in done.stdout
    assert done.stdout.isascii()
