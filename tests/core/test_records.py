"""Ids come from places, so an edited document keeps its id and its shard."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from privllm.core.records import LINES, MAX_SHARD_BITS, document_id, shard_name, shard_of
from privllm.core.seed import name_digest


@given(st.text(), st.integers(0, 12))
def test_a_document_has_one_place(source: str, bits: int) -> None:
    identifier = document_id(source)
    assert identifier == document_id(source)
    assert len(identifier) == 32
    assert 0 <= shard_of(identifier, bits) < 2**bits


def test_shard_names_sort_in_order() -> None:
    assert [shard_name(i) for i in (0, 9, 10)] == ["00000.parquet", "00009.parquet", "00010.parquet"]


@given(st.text(min_size=1, max_size=20), st.integers(0, 10**6), st.integers(1, LINES), st.integers(1, LINES))
def test_neighbouring_lines_share_a_shard_and_no_id(path: str, block: int, one: int, other: int) -> None:
    ids = [document_id(f"{path}#{block * LINES + line}") for line in (one, other)]
    assert shard_of(ids[0], MAX_SHARD_BITS) == shard_of(ids[1], MAX_SHARD_BITS)
    assert (ids[0] == ids[1]) == (one == other)


def test_a_long_file_fills_all_shards() -> None:
    counts = Counter(shard_of(document_id(f"mail.jsonl#{line}"), 4) for line in range(1, 100_001))
    assert len(counts) == 16
    assert max(counts.values()) < 1.6 * 100_000 / 16


def test_what_only_looks_like_a_line_is_a_document_of_its_own() -> None:
    names = ["#1", "a.txt#", "a.txt#x", "a.txt#-1", "a.txt#\u0661", "a.txt#" + "1" * 5000]
    assert all(document_id(name) == name_digest("document", name) for name in names)
