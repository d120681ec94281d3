"""`privllm export gguf` as it is typed; what the file holds, tests/export/test_gguf.py checks."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_and_a_modelfile(exported: Callable[..., Path], folder: Path) -> None:
    done = RUNNER.invoke(app, ["export", "gguf", str(exported())])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in folder.iterdir()) == ["handbook-1-q8_0.Modelfile", "handbook-1-q8_0.gguf"]
    assert "handbook-1-q8_0.gguf  0." in done.output
    assert "ollama create handbook-1-q8_0 -f handbook-1-q8_0.Modelfile" in done.output
    assert (folder / "handbook-1-q8_0.gguf").read_bytes()[:4] == b"GGUF"


def test_type_and_file_by_name(exported: Callable[..., Path], folder: Path) -> None:
    done = RUNNER.invoke(app, ["export", "gguf", str(exported()), "--type", "f16", "--out", "new/a.gguf"])
    assert done.exit_code == 0, done.output
    assert (folder / "new/a.gguf").is_file()
    assert (folder / "new/a.Modelfile").read_text("utf-8").startswith("FROM ./a.gguf\n")


def test_a_folder_takes_the_file_under_its_usual_name(exported: Callable[..., Path], folder: Path) -> None:
    (folder / "models").mkdir()
    done = RUNNER.invoke(app, ["export", "gguf", str(exported()), "--out", "models"])
    assert done.exit_code == 0, done.output
    assert (folder / "models/handbook-1-q8_0.gguf").is_file()


@pytest.mark.parametrize("arguments", [["nowhere"], ["."], []])
def test_what_is_no_model_is_said_at_once(arguments: list[str], folder: Path) -> None:
    done = RUNNER.invoke(app, ["export", "gguf", *arguments])
    assert done.exit_code == 1
    assert "privllm export gguf: " in done.output
    assert not list(folder.iterdir())


def test_a_library_that_is_missing_is_named_with_its_extra(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = exported()
    monkeypatch.delitem(sys.modules, "privllm.export.gguf", raising=False)
    monkeypatch.setitem(sys.modules, "gguf", None)
    done = RUNNER.invoke(app, ["export", "gguf", str(model)])
    assert done.exit_code == 1
    assert "pip install 'privllm[gguf]'" in done.output
