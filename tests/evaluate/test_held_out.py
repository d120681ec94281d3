"""Which documents are judged by: drawn by id, never known to the model; and which of their tokens were copied."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.core.records import DEDUPED
from privllm.core.seed import digest
from privllm.core.tables import write_table
from privllm.evaluate.held_out import choose_documents, is_clean, read_copied, shards_with, trained_on
from privllm.tokens.trained_documents import TRAINED

NOBODY = TRAINED.empty_table()


def corpus(folder: Path, numbers: range) -> Path:
    """Twenty bytes a document; a third of them in each split."""
    rows: dict[int, list[dict]] = {0: [], 1: []}
    for i in numbers:
        split = ("train", "validation", "test")[i % 3]
        row = {"id": f"d{i:03}", "source": "", "media_type": "", "digest": "", "text": f"{i:020}", "language": ""}
        row |= {"language_score": 1.0, "placeholders": 0, "cluster": f"d{i:03}", "split": split}
        rows[i % 2].append(row)
    for shard, own in rows.items():
        write_table(pa.Table.from_pylist(own, DEDUPED), folder / f"{shard:05d}.parquet")
    return folder


def test_documents_are_drawn_by_id_and_growth_exchanges_none(tmp_path: Path) -> None:
    some = choose_documents(corpus(tmp_path / "some", range(60)), 100, NOBODY)
    assert list(some.split_of.values()).count("test") == list(some.split_of.values()).count("validation") == 5
    more = choose_documents(tmp_path / "some", 200, NOBODY)
    assert some.split_of.items() < more.split_of.items()
    every = choose_documents(tmp_path / "some", 10**6, NOBODY)
    assert len(every.split_of) == 40
    grown = choose_documents(corpus(tmp_path / "grown", range(90)), 10**6, NOBODY)
    assert every.split_of.items() < grown.split_of.items()
    assert [ids == sorted(ids) for ids in every.ids_by_shard.values()] == [True, True]


def test_one_document_that_is_larger_than_the_limit_is_whole(tmp_path: Path) -> None:
    chosen = choose_documents(corpus(tmp_path, range(60)), 1, NOBODY)
    assert sorted(chosen.split_of.values()) == ["test", "validation"]


def test_what_the_model_knows_is_left_out_by_id_and_by_text(tmp_path: Path) -> None:
    documents = corpus(tmp_path, range(60))
    by_id, by_text = (
        {"id": "d002", "digest": "of an older text"},
        {"id": "elsewhere", "digest": digest(f"{5:020}".encode())},
    )
    trained = pa.Table.from_pylist([by_id, by_text, {"id": "d000", "digest": ""}], TRAINED)
    chosen = choose_documents(documents, 10**6, trained)
    assert chosen.left_out == {"validation": 0, "test": 2}
    assert not {"d002", "d005"} & set(chosen.split_of)
    assert len(chosen.split_of) == 38
    assert trained_on(documents, ["d002", "d005", "d008"], trained) == {"d002", "d005"}


def test_ids_are_found_in_their_shards(tmp_path: Path) -> None:
    documents = corpus(tmp_path, range(10))
    assert shards_with(documents, ["d005", "d001", "gone"]) == {documents / "00001.parquet": ["d001", "d005"]}


@given(st.lists(st.integers(1, 5), max_size=12), st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=4))
def test_a_token_of_which_any_byte_was_copied_is_not_clean(sizes: list[int], runs: list[tuple[int, int]]) -> None:
    copied = [(begin, begin + length) for begin, length in runs]
    bytes_copied = {place for begin, end in copied for place in range(begin, end)}
    expected, start = [], 0
    for size in sizes:
        expected.append(not bytes_copied & set(range(start, start + size)))
        start += size
    expected.append(expected[-1] if expected else True)
    assert is_clean(np.array(sizes, np.int64), copied).tolist() == expected


def test_copies_that_nobody_looked_for_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro dedup"):
        read_copied(corpus(tmp_path, range(9)), tmp_path / "00000.parquet")
