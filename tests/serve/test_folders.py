"""Who is in the wrong place hears what to do, and before torch is imported."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from privllm.core.errors import UserError
from privllm.serve.folders import gives_embeddings, require_model
from tests.workshop import ROOT, environment


def lay(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), r"config\.json is missing\): run `dvc repro`"),
        (("model.safetensors", "tokenizer.json"), r"config\.json is missing"),
        (("config.json", "pytorch_model.bin", "tokenizer.json"), "could run code"),
        (
            ("config.json", "model.safetensors"),
            r"without its tokenizer: name a folder that has both, such as data/export/causal",
        ),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        require_model(lay(tmp_path / "model", *names))


def test_a_file_is_told_from_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(UserError, match=r"README\.md is a file: name the folder"):
        require_model(tmp_path / "README.md")


@pytest.mark.parametrize("tokenizer", ["tokenizer.json", "tokenizer.model", "vocab.json"])
def test_a_whole_folder_is_taken(tmp_path: Path, tokenizer: str) -> None:
    require_model(lay(tmp_path, "config.json", "model-00001-of-00002.safetensors", tokenizer))


def test_a_task_that_was_skipped_says_why(tmp_path: Path) -> None:
    (tmp_path / "skipped.json").write_text(json.dumps({"skipped": "its file holds no examples"}))
    with pytest.raises(UserError, match="its task was skipped: its file holds no examples"):
        require_model(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "wanted"),
    [
        ("provenance.json", {"family": "masked"}, True),
        ("provenance.json", {"family": "causal"}, False),
        ("provenance.json", {"family": "seq2seq"}, False),
        ("config.json", {"architectures": ["ModernBertForMaskedLM"]}, True),
        ("config.json", {"architectures": ["LlamaForCausalLM"]}, False),
        ("config.json", {}, False),
        ("config.json", [], False),
        ("provenance.json", {"family": "other"}, False),
        ("modules.json", [], True),
    ],
)
def test_a_folder_tells_whether_its_model_writes(tmp_path: Path, file: str, content: Any, wanted: bool) -> None:
    (lay(tmp_path, "config.json") / file).write_text(json.dumps(content))
    assert gives_embeddings(tmp_path) is wanted


def test_where_nothing_is_it_says_what_builds_a_model_or_where_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"is not the root of a build \(dvc\.yaml is missing\): go to the repository's folder"
    ):
        require_model(Path("data/export/causal"))
    lay(tmp_path, "dvc.yaml")
    with pytest.raises(
        UserError, match=r"has not built that model yet: `dvc repro` builds it .*`dvc pull` fetches one"
    ):
        require_model(Path("data/export/causal"))


HEAVY = """
import os, sys
import privllm.cli.serving as people
def echo(text, err=False):
    print(text, err, sorted({"torch", "transformers"} & set(sys.modules)), flush=True)
    os._exit(0)
people.say = echo
sys.argv[1:] = %r
from privllm.cli.app import app
app()
"""


@pytest.mark.parametrize("words", [["serve", "{model}"], ["arena", "a", "b"]])
def test_that_it_loads_is_said_before_torch_is_imported(
    exported: Callable[..., Path], tmp_path: Path, words: list[str]
) -> None:
    given = [word.format(model=exported()) for word in words]
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")  # `arena` compares builds
    done = subprocess.run(
        [sys.executable, "-c", HEAVY % given],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    what = str(exported()) if words[0] == "serve" else "a and b"
    assert done.stdout == f"loading {what} ... True []\n", done.stderr


@pytest.mark.parametrize("command", ["chat", "serve", "summary"])
def test_the_wrong_place_is_told_without_torch(tmp_path: Path, command: str) -> None:
    script = f"import sys; sys.argv[1:] = [{command!r}]\nfrom privllm.cli.app import app\n"
    script += "try: app()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == "False\n"
    assert done.stderr.startswith(f"\nerror: privllm {command}: ")
    assert "is not the root of a build" in done.stderr
