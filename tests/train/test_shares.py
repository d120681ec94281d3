"""Rows in several files: read by whoever needs them, valid all together or not at all."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from privllm.train.checkpoint import DIGEST, NAME, SafeCheckpointIO, digest_of_tensors, resumable
from privllm.train.shares import SHARES, Shares, next_shares, shares_of

MATRIX = torch.arange(21.0).reshape(7, 3)


def write(folder: Path, sizes: list[int], letter: str = "a", key: str = "key") -> list[Path]:
    """A checkpoint whose files have so many rows of MATRIX each."""
    names = [f"latest.{letter}.{rank}-of-{len(sizes)}.safetensors" for rank in range(len(sizes))]
    for name, rows in zip(names, MATRIX.split(sizes), strict=True):
        held = {"0": rows.contiguous()}
        save_file(held, folder / name, metadata={"key": key, DIGEST: digest_of_tensors(held.items())})
    listed = "[" + ", ".join(f'"{name}"' for name in names) + "]"
    tree = '{"dict": [["weight", {"cut": [0, [7, 3]]}], ["step", 5]]}'
    save_file({}, folder / NAME, metadata={"key": key, "tree": tree, SHARES: listed, DIGEST: digest_of_tensors([])})
    return [folder / name for name in names]


@pytest.mark.parametrize("sizes", [[7], [4, 3], [3, 3, 1], [1, 1, 1, 1, 1, 1, 1, 0]])
def test_rows_are_found_whichever_files_have_them(tmp_path: Path, sizes: list[int]) -> None:
    paths = write(tmp_path, sizes)
    assert shares_of(tmp_path / NAME) == paths
    with Shares(paths, None) as shares:
        assert shares.tensor(0, [7, 3]).equal(MATRIX)
        for begin in range(8):
            for end in range(begin, 8):
                assert shares._rows(0, begin, end).equal(MATRIX[begin:end])


def test_one_process_reads_what_several_wrote(tmp_path: Path) -> None:
    write(tmp_path, [4, 3])
    loaded = SafeCheckpointIO("key").load_checkpoint(tmp_path / NAME)
    assert loaded["weight"].equal(MATRIX)
    assert loaded["step"] == 5


def test_all_files_count_or_none(tmp_path: Path) -> None:
    first, second = write(tmp_path, [4, 3])
    assert resumable(tmp_path, "key") == tmp_path / NAME
    whole = second.read_bytes()
    second.write_bytes(whole[:-1])
    assert resumable(tmp_path, "key") is None
    second.unlink()
    assert resumable(tmp_path, "key") is None
    save_file({"0": MATRIX[4:].contiguous()}, second, metadata={"key": "another"})
    assert resumable(tmp_path, "key") is None
    second.write_bytes(whole)
    assert resumable(tmp_path, "key") == tmp_path / NAME
    assert resumable(tmp_path, "another") is None
    first.unlink()
    assert resumable(tmp_path, "key") is None


def test_what_is_written_next_never_lies_where_the_checkpoint_does(tmp_path: Path) -> None:
    assert [path.name for path in next_shares(tmp_path / NAME)] == ["latest.a.0-of-1.safetensors"]
    write(tmp_path, [4, 3])
    assert [path.name for path in next_shares(tmp_path / NAME)] == ["latest.b.0-of-1.safetensors"]
    write(tmp_path, [4, 3], letter="b")
    assert [path.name for path in next_shares(tmp_path / NAME)] == ["latest.a.0-of-1.safetensors"]
