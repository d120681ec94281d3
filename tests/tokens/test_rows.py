import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import privllm.core.offline  # noqa: F401
from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, PAD, own_ids
from privllm.tokens.pack import pack_rows
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
    documents = [np.arange(first + 1, first + 1 + length, dtype=np.int32) for length in lengths]
    ids = pa.array([f"{first}-{i}" for i in range(len(lengths))], pa.string())
    packed = pack_rows(documents, ids, CONTEXT, own_ids(0))
    write_rows(packed.input_ids, packed.pieces, CONTEXT, path)


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


def obvious(row: dict, unlearnt: int) -> tuple[list[int], list[int], list[int]]:
    """Inputs, positions and labels of a row, one token at a time."""
    starts = [piece["row_start"] - 1 for piece in row["pieces"]]
    tokens = row["input_ids"]
    inputs, positions, labels = [], [], []
    position = 0
    for place in range(CONTEXT):
        is_padding = place >= len(tokens) - 1
        position = 0 if place in [*starts, len(tokens) - 1] else position + 1
        positions.append(position)
        inputs.append(PAD if is_padding else tokens[place])
        labels.append(unlearnt if is_padding else END_OF_TEXT if place + 1 in starts else tokens[place + 1])
    return inputs, positions, labels


def test_training_rows_are_those_of_the_obvious_implementation(folder: Path) -> None:
    rows, slow = open_rows(folder), expected(folder)
    order = np.random.default_rng(0).permutation(len(rows))
    batch = rows.training_rows(order, own_ids(0), unlearnt=-1)
    for place, i in enumerate(order.tolist()):
        assert tuple(part[place].tolist() for part in batch) == obvious(slow[i], -1)
        assert rows.chunk_starts(i).tolist() == [piece["row_start"] - 1 for piece in slow[i]["pieces"]]
    assert {part.shape for part in batch} == {(len(rows), CONTEXT)}
    assert {part.dtype for part in batch} == {np.dtype(np.int64)}
    assert (batch.labels == -1).any()


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
    packed = pack_rows([np.arange(5, dtype=np.int32)], pa.array(["x"], pa.string()), 4, own_ids(0))
    write_rows(packed.input_ids, packed.pieces, 4, folder / "00009.arrow")
    with pytest.raises(AssertionError, match="different contexts"):
        open_rows(folder)


def read_tokens(rows: Rows, indices: np.ndarray, shifts: np.ndarray | None) -> Counter:
    """What is learnt in these rows: each label with the two tokens before it, where its chunk has them."""
    batch = rows.training_rows(indices, own_ids(0), -1, shifts)
    learnt: Counter = Counter()
    for inputs, positions, labels in zip(*(part.tolist() for part in batch), strict=True):
        for place, label in enumerate(labels):
            before = inputs[place - 1] if positions[place] else None
            learnt[before, inputs[place], label] += label != -1
    return learnt


def test_rows_of_one_document_are_a_run(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.arrow", [3 * CONTEXT + 2, 2, CONTEXT], first=0)
    write_shard(tmp_path / "1.arrow", [2 * CONTEXT], first=1000)
    rows = open_rows(tmp_path)
    ids = [[piece["id"] for piece in rows.pieces(row)] for row in range(len(rows))]
    assert ids == [["0-0"]] * 3 + [["0-2"], ["0-0", "0-1", "0-2"]] + [["1000-0"]] * 3
    runs = [rows.run_of(row) for row in range(len(rows))]
    assert runs == [(0, False), (0, False), (0, True), None, None, (5, False), (5, True), None]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 5 * CONTEXT), max_size=6), st.integers(1, CONTEXT - 1))
def test_cut_elsewhere_every_token_is_learnt_once_from_those_before_it(lengths: list[int], shift: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "0.arrow", lengths)
        rows = open_rows(Path(folder))
        everything = np.arange(len(rows))
        runs = [rows.run_of(row) for row in range(len(rows))]
        cuts = np.array([shift if run else 0 for run in runs], int)
        as_packed, elsewhere = read_tokens(rows, everything, None), read_tokens(rows, everything, cuts)
    documents = Counter((inputs, label) for (_, inputs, label), count in as_packed.items() for _ in range(count))
    assert (
        Counter((inputs, label) for (_, inputs, label), count in elsewhere.items() for _ in range(count)) == documents
    )
    different = {run.first for run in runs if run}
    cold = [sum(count for key, count in learnt.items() if key[0] is None) for learnt in (as_packed, elsewhere)]
    assert cold[1] == cold[0] + len(different)  # one chunk more in each run: its beginning
    for row, index in enumerate(everything.tolist()):
        if cuts[index]:
            batch = rows.training_rows(everything, own_ids(0), -1, cuts)
            before = rows.training_rows(everything, own_ids(0), -1)
            assert batch.inputs[row, : CONTEXT - shift].tolist() == before.inputs[row, shift:].tolist()
