"""What pip says in pages is one sentence, with the name of the package."""

import os
import subprocess
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.project import pip_runs
from privllm.project.pip_runs import build, download, explanation, require_pip
from tests.project.tiny_packages import lock_line, make_source, make_wheel

WRONG_HASH = """ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
    numpy==2.4.6 from file:///x/numpy.whl (from -r r.txt (line 1)):
        Expected sha256 0000
             Got        1111
"""


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("ERROR: No matching distribution found for torch==2.13.0+cpu\n", "pip finds no torch==2.13.0+cpu for moon"),
        (WRONG_HASH, "numpy==2.4.6 as the index has it"),
        (
            "ERROR: Cannot install torch==2.13.0 because these package versions have conflicting dependencies.\n",
            "no torch==2.13.0 for moon that its own settings allow",
        ),
        ("ERROR: [Errno 28] No space left on device\n", "the disk is full"),
        ("WARNING: x\nERROR: connection broken\nbye\n", "failed: ERROR: connection broken"),
        ("", "failed: no reason"),
    ],
)
def test_the_cause_is_one_sentence(output: str, words: str) -> None:
    assert words in explanation("download", output, "moon")


def test_a_python_without_pip_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_runs, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="ensurepip"):
        require_pip()


@pytest.mark.slow
def test_pip_downloads_by_hash_and_builds_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path / "index", "tiny_a", "1.0")
    source = make_source(tmp_path / "index", "tiny_b", "2.0")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    lines = [lock_line(wheel, "tiny-a==1.0"), lock_line(source, "tiny-b==2.0")]
    download(lines, tmp_path / "got", "here", ["--require-hashes"])
    assert sorted(path.name for path in (tmp_path / "got").iterdir()) == [wheel.name, source.name]
    assert (tmp_path / "got" / wheel.name).read_bytes() == wheel.read_bytes()
    (tmp_path / "once").mkdir()
    assert build(source, tmp_path / "once").name == "tiny_b-2.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"tiny[-_]a==1\.0 as the index has it"):
        download(lines, tmp_path / "again", "here", ["--require-hashes"])
    with pytest.raises(UserError, match=r"pip finds no tiny-c==3\.0 for here"):
        download(["tiny-c==3.0"], tmp_path / "again", "here")


def test_builds_have_a_fixed_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables: list[str] = []

    def run(command: list[str], env: dict[str, str], **options: object) -> subprocess.CompletedProcess[str]:
        variables.append(env["SOURCE_DATE_EPOCH"])
        (tmp_path / "x-1-py3-none-any.whl").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    build(tmp_path / "x-1.tar.gz", tmp_path)
    assert variables == ["315532800"]
