from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from privllm.core.records import shard_of
from privllm.validate.copied_sources import worst_sources

BITS = 1


def described(rows: list[tuple[str, int, int]]) -> pa.Table:
    """(source, held-out bytes, copied bytes)"""
    folders = [source.split("/")[0] if "/" in source else "." for source, _, _ in rows]
    sources, held_out, copied = zip(*rows, strict=True)
    return pa.table({"folder": folders, "source": sources, "held_out_bytes": held_out, "copied_bytes": copied})


def test_folders_come_by_copied_bytes() -> None:
    rows = [("a/1", 100, 10), ("a/2", 100, 50), ("b/1", 40, 40), ("c/1", 9, 0), ("d/1", 0, 0)]
    assert worst_sources(described(rows)) == [("a", 0.3), ("b", 1.0)]


def test_files_of_a_single_folder_with_their_lines_together() -> None:
    rows = [("a/x.jsonl#1", 10, 10), ("a/x.jsonl#2", 30, 0), ("a/y.txt", 10, 9), ("b/training.txt", 0, 0)]
    assert worst_sources(described(rows)) == [("a/x.jsonl", 0.25), ("a/y.txt", 0.9)]
    sections = [(f"a/book.md#s:{number:016x}", 10, number) for number in range(2)]
    lines = [(f"a/x.jsonl#{number}#s:{number:016x}", 10, 10) for number in range(2)]
    assert worst_sources(described(sections + lines)) == [("a/x.jsonl", 1.0), ("a/book.md", 0.05)]
    many = [(f"a/{number}", 100, number) for number in range(9)]
    assert [name for name, _ in worst_sources(described(many))] == ["a/8", "a/7", "a/6", "a/5", "a/4"]


@pytest.mark.parametrize(("limit", "warned"), [(0.3, True), (0.9, False)])
def test_too_much_copied_text_is_warned_of(
    limit: float, warned: bool, corpus: Callable[..., Any], document: Callable[..., Any]
) -> None:
    rows = [document(number) for number in range(30)]
    held_out = [document(number, split="test") for number in range(40, 44)]
    trial = corpus([*rows, *held_out])
    for shard in range(2**BITS):
        of_shard = [row for row in held_out if shard_of(row["cluster"], BITS) == shard]
        runs = [{"id": row["id"], "begin": 0, "end": len(row["text"]) // 2} for row in of_shard]
        trial.copied(shard, runs)
    report = trial.validate(max_copied=limit)
    assert report["copied_share"] == pytest.approx(0.5, abs=0.01)
    about_copies = [warning for warning in report["warnings_of"] if "copied from training documents" in warning]
    assert bool(about_copies) == warned
    for warning in about_copies:
        assert warning.startswith("At most 30% of the held-out text is copied from training documents: 0.49")
        assert "notes 50%" in warning
        assert "`dedup.threshold`" in warning
