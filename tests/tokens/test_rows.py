from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import privllm.core.offline  # noqa: F401
from privllm.core.errors import UserError
from privllm.tokens.pack import cut, join, pieces_of
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


def test_which_rows_hold_only_some_documents(folder: Path) -> None:
    """A document more or less, one at a time, against the slow way; a row of a boundary alone holds nobody else."""
    rows = open_rows(folder)
    names = sorted({piece["id"] for i in range(len(rows)) for piece in rows.pieces(i)})
    for ids in ([], *([name] for name in names), names[:2], names[1:], names):
        wanted = [all(piece["id"] in ids for piece in rows.pieces(i)) for i in range(len(rows))]
        assert rows.only_of(pa.array(ids, pa.string())).tolist() == wanted


def test_the_last_row_is_there_and_none_after_it(folder: Path) -> None:
    rows = open_rows(folder)
    assert len(rows.tokens(len(rows) - 1)) == 3  # boundary, a token, boundary
    with pytest.raises(IndexError, match=f"row {len(rows)} of {len(rows)}"):
        rows.pieces(len(rows))


def test_a_shard_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it is written, a shard leaves nothing that a reader would take for one."""
    path = tmp_path / "train/00000.arrow"

    def killed(self: object, *args: object, **options: object) -> None:
        raise KeyboardInterrupt

    class Writer:
        def __init__(self, *args: object) -> None: ...
        def __enter__(self) -> "Writer":
            return self

        def __exit__(self, *args: object) -> None: ...

        write_table = killed

    with monkeypatch.context() as patch:
        patch.setattr(pa.ipc, "new_stream", Writer)
        with pytest.raises(KeyboardInterrupt):
            write_shard(path, [3])
    assert not path.exists()
    with pytest.raises(UserError, match="dvc repro pack"):
        open_rows(path.parent)
    write_shard(path, [3])
    assert [file.name for file in path.parent.iterdir()] == ["00000.arrow"]


def test_shards_of_two_contexts_are_no_split(folder: Path) -> None:
    stream = join([np.arange(5, dtype=np.int32)])
    ids = pa.array(["x"], pa.string())
    write_rows(cut(stream.tokens, 4), pieces_of(stream, ids, 4), 4, folder / "00009.arrow")
    with pytest.raises(AssertionError, match="different contexts"):
        open_rows(folder)
