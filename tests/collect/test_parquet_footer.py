"""The list at the end of a Parquet file: a damaged one costs its file, not the build."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from privllm.collect.documents import Quarantined
from privllm.collect.parquet_footer import LENGTH, TAIL, parquet_footer
from privllm.collect.parsed import Parsed
from privllm.collect.read_file import read_file


def parquet() -> bytes:
    made = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b", None], "id": [1, 2, 3]}), made)
    return made.getvalue()


def footer_begin(data: bytes) -> int:
    return len(data) - TAIL - int(LENGTH.unpack_from(data, len(data) - TAIL)[0])


def test_a_sound_list_is_no_text() -> None:
    data = parquet()
    assert parquet_footer(data[footer_begin(data) : -TAIL]) == Parsed("")
    with pytest.raises((pa.ArrowException, OSError)):
        parquet_footer(b"no list")


def test_a_damaged_list_ends_no_process(tmp_path: Path) -> None:
    reasons = set()
    for place in range(18, 22):  # of the schema, where Arrow ends the process for some
        data = bytearray(parquet())
        data[footer_begin(data) + place] = 3
        path = tmp_path / "a.parquet"
        path.write_bytes(data)
        reasons |= {row.reason for row in read_file(path, tmp_path, 1000) if isinstance(row, Quarantined)}
    assert reasons <= {"crashed", "damaged", "empty", "no_text"}
    assert "crashed" in reasons
