"""vocabulary: what is kept, when, and what takes it away again."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.core.tables import read_table, write_table
from privllm.dedup.exact import normalised_digest
from privllm.manage.vocabulary import drop, keep, learnt_on, write_kept
from privllm.tokens.vocabulary_sample import SAMPLE
from tests.workshop import ROOT, Workshop

PIPELINE = """
stages:
  tokenizer:
    cmd: cp -r made/data/. data && cp -r made/reports/. reports
    deps: [made]
    outs: [data/dedup, data/tokenizer]
    metrics: [reports/tokenizer.json: {cache: false}]
"""
PARAMS = "tokenizer: {vocabulary: 400}\nsample: {megabytes: 1.0}\n"
TEXTS = {"a": "the house", "b": "the lake"}
NOTE = Path("data/vocabulary/kept/vocabulary.json")


def make(root: Path, definition: dict, texts: dict[str, str]) -> None:
    """What the stage will make."""
    write_json(root / "made/data/tokenizer/tokenizer.json", definition)
    rows = [{"place": 0.5, "id": identifier, "text": text} for identifier, text in texts.items()]
    write_table(pa.Table.from_pylist(rows, SAMPLE), root / "made/data/dedup/sample/00000.parquet")
    write_json(root / "made/reports/tokenizer.json", {"bytes_per_token": 4.0})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vocabulary")
    shop = Workshop(root)
    for folder in ("data/vocabulary", "reports"):
        (root / folder).mkdir(parents=True)
    shutil.copyfile(ROOT / "data/vocabulary/.gitignore", root / "data/vocabulary/.gitignore")
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "params.yaml").write_text(PARAMS)
    make(root, {"version": 1}, TEXTS)
    shop.run("git", "init", "-q", "-b", "main")
    shop.run("git", "config", "user.name", "Test")
    shop.run("git", "config", "user.email", "test@localhost")
    shop.run("dvc", "init", "-q")
    shop.repro()
    shop.commit("build")
    return root


@pytest.fixture
def shop(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    shutil.copytree(built, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    return Workshop(tmp_path / "repository")


def test_it_is_kept_once_and_until_it_is_dropped(shop: Workshop) -> None:
    said: list[str] = []
    keep(shop.root, said.append)
    assert shop.run("git", "diff", "--cached", "--name-only").stdout.split() == ["data/vocabulary/kept.dvc"]
    note = json.loads((shop.root / NOTE).read_text())
    assert note["bytes_per_token"] == 4.0
    assert (note["settings"]["tokenizer"]["vocabulary"], note["settings"]["sample"]) == (400, {"megabytes": 1.0})
    documents = read_table(shop.root / "data/vocabulary/kept/documents.parquet").to_pylist()
    assert documents == [{"id": name, "digest": normalised_digest(text)} for name, text in TEXTS.items()]
    keep(shop.root, said.append)
    assert said[-1] == "It is in data/vocabulary/kept already."
    drop(shop.root, said.append)
    assert [path.name for path in (shop.root / "data/vocabulary").iterdir()] == [".gitignore"]
    with pytest.raises(UserError, match="nothing to drop"):
        drop(shop.root, said.append)


def test_documents_that_it_was_learnt_on_are_not_forgotten_by_an_edit(shop: Workshop) -> None:
    """The build's sample has changed since, and the vocabulary has not: `forget` must still know what is in it."""
    assert write_kept(shop.root)
    make(shop.root, {"version": 1}, {"b": TEXTS["b"], "c": "another page"})
    shop.repro()
    assert not write_kept(shop.root)
    assert learnt_on(shop.root, {"a"}, set(), set()) == 1
    (shop.root / "params.yaml").write_text(PARAMS.replace("400", "500"))
    assert write_kept(shop.root)  # learnt anew, by chance the same
    assert learnt_on(shop.root, {"a"}, set(), set()) == 0


def test_a_text_counts_under_another_name_unless_it_is_still_there(shop: Workshop) -> None:
    assert learnt_on(shop.root, {"a"}, set(), set()) == 0
    write_kept(shop.root)
    digest = normalised_digest(TEXTS["a"])
    assert learnt_on(shop.root, {"moved"}, {digest}, {"b"}) == 1
    assert learnt_on(shop.root, {"copy"}, {digest}, {"a", "b"}) == 0


def test_what_cannot_be_kept_is_said(shop: Workshop) -> None:
    (shop.root / "params.yaml").write_text("base: incumbent\n")
    with pytest.raises(UserError, match="stays without being kept"):
        keep(shop.root, print)
    (shop.root / "params.yaml").write_text(PARAMS)
    make(shop.root, {"version": 2}, TEXTS)
    with pytest.raises(UserError, match="dvc repro tokenizer"):
        keep(shop.root, print)
    (shop.root / "reports/tokenizer.json").unlink()
    with pytest.raises(UserError, match="no vocabulary yet"):
        keep(shop.root, print)
