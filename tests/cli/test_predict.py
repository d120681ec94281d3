"""`privllm predict` as it is typed; what it says, tests/train/test_predict_lines.py checks."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.train.finetune import FinetuneInputs, finetune
from privllm.train.loop import Work
from tests.train.tiny_tasks import make_start, make_tokenizer, tiny, write_examples

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the task `colours` was tuned."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    tokenizer = make_tokenizer(tmp_path / "tokenizer")
    start = make_start("masked", tmp_path / "start", tokenizer)
    data = write_examples(tmp_path / "colours.jsonl", "classification")
    out = tmp_path / "data/finetune/colours"
    finetune(
        "colours",
        tiny("classification", "masked"),
        FinetuneInputs(data, start),
        out,
        tmp_path / "l",
        Work(tmp_path / "w", "x"),
    )
    return tmp_path


def test_lines_in_lines_out(folder: Path) -> None:
    asked = '{"text": "stone red", "id": "a"}\n{"text": "river"}\n'
    done = RUNNER.invoke(app, ["predict", "colours"], input=asked)
    assert done.exit_code == 0, done.output
    first, second = map(json.loads, done.stdout.splitlines())
    assert list(first) == ["id", "label", "probability"]
    assert list(second) == ["label", "probability"]
    (folder / "asked.jsonl").write_text(asked, "utf-8")
    assert RUNNER.invoke(app, ["predict", "data/finetune/colours", "asked.jsonl"]).stdout == done.stdout


@pytest.mark.parametrize(
    ("words", "asked", "message"),
    [
        (
            ["predict", "shapes"],
            "",
            "data/finetune/shapes holds no tuned model (there are colours): run `dvc repro finetune@shapes`",
        ),
        (["predict", "colours", "nowhere.jsonl"], "", "nowhere.jsonl is no file"),
        (["predict", "colours"], "{}\n", 'standard input, line 1: "text" is missing'),
    ],
)
def test_what_is_wrong_is_explained(words: list[str], asked: str, message: str) -> None:
    done = RUNNER.invoke(app, words, input=asked)
    assert done.exit_code == 1
    assert message in " ".join(done.stderr.split())


def test_in_another_folder_it_says_where_to_go(folder: Path) -> None:
    (folder / "dvc.yaml").unlink()
    done = RUNNER.invoke(app, ["predict", "colours"], input="")
    assert (done.exit_code, "run this from the root of the repository" in done.stderr) == (1, True)
    assert RUNNER.invoke(app, ["predict", "data/finetune/colours"], input="").exit_code == 0
