"""`privllm base add` as it is typed; what it does, tests/base/test_add.py checks."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from privllm.base import add as base_add
from privllm.base.folder import Contents
from privllm.cli.app import app

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    return tmp_path


def test_source_and_name_arrive_and_lines_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    contents = Contents("llama", "causal", 1_000, 300, None, False, "mit", ["a.py (code)"], lossy="")

    def add(root: Path, source: Path, name: str) -> base_add.Added:
        asked.append((root, source, name))
        return base_add.Added(Path("data/base") / name, contents, ["It was quantized."], False)

    monkeypatch.setattr(base_add, "add", add)
    done = RUNNER.invoke(app, ["base", "add", "m.gguf", "--name", "tiny"])
    assert done.exit_code == 0, done.output
    assert asked == [(Path(), Path("m.gguf"), "tiny")]
    assert done.output.splitlines()[:3] == [
        "data/base/tiny  llama (causal), 1,000 parameters, 300 tokens, without a chat template, licence: mit",
        "It was quantized.",
        "Left out: a.py (code).",
    ]


def test_what_is_wrong_is_one_paragraph(folder: Path) -> None:
    done = RUNNER.invoke(app, ["base", "add", "nowhere"])
    assert done.exit_code == 1
    assert "privllm base add: nowhere is not there" in done.output
    (folder / "dvc.yaml").unlink()
    assert RUNNER.invoke(app, ["base", "add", "."]).exit_code == 1
