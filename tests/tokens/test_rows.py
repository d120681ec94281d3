from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import privllm.core.offline  # noqa: F401
from privllm.core.errors import UserError
from privllm.tokens.packing import cut, join, pieces_of
from privllm.tokens.rows import BATCH_ROWS, Rows, open_rows, write_rows

CONTEXT = 8
LENGTHS: tuple[list[int], ...] = ([3, 20, 0, 11], [], [CONTEXT * (BATCH_ROWS + 50)], [1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four shards: a few documents, none, more than one record batch, a single token."""
    for shard, lengths in enumerate(LENGTHS):
        write_shard(tmp_path / "train" / f"{shard:05d}.arrow", lengths, first=shard * 1000)
    return tmp_path / "train"


def write_shard(path: Path, lengths: list[int], first: int = 0) -> None:
    stream = join([np.arange(first + 1, first + 1 + length, dtype=np.int32) for length in lengths])
    ids = pa.array([f"{first}-{i}" for i in range(len(lengths))], pa.string())
    write_rows(cut(stream.tokens, CONTEXT), pieces_of(stream, ids, CONTEXT), CONTEXT, path)


def expected(folder: Path) -> list[dict]:
    """All rows, read the slow way."""
    return [row for path in sorted(folder.iterdir()) for row in pa.ipc.open_stream(path).read_all().to_pylist()]


def test_random_access_over_shards(folder: Path) -> None:
    rows, slow = open_rows(folder), expected(folder)
    assert len(rows) == len(slow) > BATCH_ROWS
    assert rows.row_length == CONTEXT + 1
    for i in range(len(rows)):
        assert rows.tokens(i).tolist() == slow[i]["input_ids"]
        assert rows.pieces(i) == slow[i]["pieces"]


def test_batch_pads_short_rows(folder: Path) -> None:
    rows = open_rows(folder)
    order = np.random.default_rng(0).permutation(len(rows))
    batch = rows.batch(order, pad=-1)
    assert batch.shape == (len(rows), CONTEXT + 1)
    assert batch.dtype == np.int32
    for row, i in zip(batch, order, strict=True):
        tokens = rows.tokens(i).tolist()
        assert row.tolist() == tokens + [-1] * (CONTEXT + 1 - len(tokens))
    assert (batch == -1).any()


def test_rows_are_views_of_the_file(folder: Path) -> None:
    tokens = open_rows(folder).tokens(0)
    assert tokens.base is not None
    assert not tokens.flags.writeable


@pytest.mark.parametrize("i", [-1, 10**6])
def test_outside(folder: Path, i: int) -> None:
    rows = open_rows(folder)
    with pytest.raises(IndexError, match=str(i)):
        rows.tokens(i)


def test_no_shards(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro pack"):
        open_rows(tmp_path)


def test_only_empty_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "00000.arrow", [])
    rows = open_rows(tmp_path)
    assert isinstance(rows, Rows)
    assert (len(rows), rows.row_length) == (0, CONTEXT + 1)


def test_datasets_maps_the_same_files(folder: Path, tmp_path: Path) -> None:
    from datasets import Dataset, load_dataset

    slow = expected(folder)
    assert Dataset.from_file(str(folder / "00001.arrow")).num_rows == 0
    first = Dataset.from_file(str(folder / "00000.arrow"))
    assert first.to_list() == slow[: len(first)]
    files = [str(path) for path in sorted(folder.iterdir())]
    assert load_dataset("arrow", data_files=files, split="train", cache_dir=str(tmp_path / "cache")).to_list() == slow
