"""Ids come from places, so an edited document keeps its id and its shard."""

from hypothesis import given
from hypothesis import strategies as st

from privllm.core.records import document_id, shard_name, shard_of


@given(st.text(), st.integers(0, 12))
def test_a_document_has_one_place(source: str, bits: int) -> None:
    identifier = document_id(source)
    assert identifier == document_id(source)
    assert len(identifier) == 32
    assert 0 <= shard_of(identifier, bits) < 2**bits


def test_shard_names_sort_in_order() -> None:
    assert [shard_name(i) for i in (0, 9, 10)] == ["00000.parquet", "00009.parquet", "00010.parquet"]
