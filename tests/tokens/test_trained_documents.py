"""Which rows are new to a model: those with a document that it never saw, or saw with another text."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from privllm.core.records import document_id
from privllm.core.seed import digest
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import write_table
from privllm.tokens.pack import PackConfig, pack
from privllm.tokens.rows import Rows, open_rows
from privllm.tokens.trained_documents import TRAINED, known_rows, read_documents, trained_documents

CONTEXT = 16


@pytest.fixture(scope="module")
def packed(deduped: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("known")
    pack(PackConfig(CONTEXT), deduped, tokenizer, out)
    return out


def test_trained_documents_are_those_of_the_training_split_with_their_texts(
    packed: Path, corpus: dict[str, str], split: SplitConfig, tmp_path: Path
) -> None:
    trained = trained_documents(packed, tmp_path)
    assert trained.schema.equals(TRAINED)
    texts = {document_id(source): text for source, text in corpus.items()}
    training = {name: digest(text.encode()) for name, text in texts.items() if split_of(split, name) == "train"}
    assert dict(zip(*trained.to_pydict().values(), strict=True)) == training
    assert trained["id"].to_pylist() == sorted(training)


def test_what_earlier_incumbents_learnt_is_not_forgotten(packed: Path, tmp_path: Path) -> None:
    now = trained_documents(packed, tmp_path).to_pylist()
    gone, changed = {"id": "f" * 32, "digest": "1" * 32}, {"id": now[0]["id"], "digest": "2" * 32}
    write_table(TRAINED.empty_table().from_pylist([changed, gone], TRAINED), tmp_path / "causal/documents.parquet")
    write_table(TRAINED.empty_table().from_pylist([gone], TRAINED), tmp_path / "masked/documents.parquet")
    assert trained_documents(packed, tmp_path).to_pylist() == sorted([*now, gone], key=lambda row: row["id"])


def obvious(rows: Rows, known: set[str]) -> list[bool]:
    return [all(piece["id"] in known for piece in rows.pieces(i)) for i in range(len(rows))]


def test_rows_of_unchanged_documents_are_known(
    packed: Path,
    corpus: dict[str, str],
    tokenizer: Path,
    split: SplitConfig,
    write: Callable[..., Path],
    tmp_path: Path,
) -> None:
    write_table(trained_documents(packed, tmp_path), tmp_path / "documents.parquet")
    assert known_rows(open_rows(packed / "train"), packed, tmp_path / "documents.parquet").all()
    training = [source for source in corpus if split_of(split, document_id(source)) == "train"]
    edited = {
        training[0]: corpus[training[0]] + " And more.",
        **{f"new/{i}.txt": "the private lake " * 9 for i in range(5)},
    }
    grown = tmp_path / "grown"
    pack(PackConfig(CONTEXT), write(tmp_path / "in", corpus | edited), tokenizer, grown)
    rows = open_rows(grown / "train")
    is_known = known_rows(rows, grown, tmp_path / "documents.parquet")
    unchanged = {document_id(source) for source in training} - {document_id(training[0])}
    assert is_known.tolist() == obvious(rows, unchanged)
    assert 0 < np.count_nonzero(is_known) < len(rows)


def test_a_model_of_which_nothing_is_written_knows_nothing(packed: Path, tmp_path: Path) -> None:
    assert len(read_documents(tmp_path / "none")) == 0
    rows = open_rows(packed / "train")
    assert known_rows(rows, packed, tmp_path / "none").tolist() == obvious(rows, set())


def test_of_two_earlier_texts_the_first_family_by_name_decides(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for family, text in (("masked", "2"), ("causal", "1")):
        rows = [{"id": "f" * 32, "digest": text * 32}]
        write_table(TRAINED.empty_table().from_pylist(rows, TRAINED), tmp_path / family / "documents.parquet")
    listed = Path.glob
    for backwards in (False, True):
        monkeypatch.setattr(Path, "glob", lambda path, pattern, b=backwards: sorted(listed(path, pattern), reverse=b))
        assert trained_documents(packed, tmp_path).to_pylist()[-1] == {"id": "f" * 32, "digest": "1" * 32}
