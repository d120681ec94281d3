"""Parts of containers: what is taken over from the last run, what is refused, what is passed over."""

from pathlib import Path

import pytest

from privllm.collect import read_file as reading
from privllm.collect.documents import Quarantined
from privllm.collect.read_file import RememberedParts, read_file
from privllm.collect.seen_files import Entry
from privllm.collect.source_file import SourceFile
from privllm.core.seed import digest
from tests.collect.readers.test_archive import zipped


def entry(source: str, data: bytes = b"", reader: str = "") -> Entry:
    return Entry("id", source, "text/plain", "utf-8", digest(data), 1, 0, "", "", reader)


def test_a_part_is_remembered_by_source_and_bytes_with_what_lies_inside() -> None:
    names = ["in.mbox#1", "in.mbox#1/a.txt", "in.mbox#1/b/c.txt", "in.mbox#10", "in.mbox#1.txt", "in.mbox#2"]
    parts = RememberedParts(entry(name, b"mail") for name in reversed(names))
    part = SourceFile("in.mbox#1", "1.eml", data=b"mail")
    found = parts.look_up(part)
    assert found is not None
    assert [row.source for row in found.entries] == names[:3]
    assert parts.look_up(SourceFile("in.mbox#1", "1.eml", data=b"edited")) is None
    assert parts.look_up(SourceFile("in.mbox#3", "3.eml", data=b"mail")) is None


@pytest.mark.parametrize(("limit", "value"), [("MAX_PARTS", 3), ("MAX_UNPACKED", 15)])
def test_parts_beyond_the_limit_are_refused_one_by_one(
    tmp_path: Path, limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, limit, value)
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({f"{number}.txt": b"words" for number in range(5)}))
    rows = list(read_file(path, tmp_path, 1000))
    refused = [row for row in rows if isinstance(row, Quarantined)]
    assert [row.source for row in refused] == ["a.zip#3.txt", "a.zip#4.txt"]
    assert {row.reason for row in refused} == {"too_much"}


def test_an_empty_part_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"a.txt": b""}))
    (row,) = read_file(path, tmp_path, 1000)
    assert isinstance(row, Quarantined)
    assert (row.source, row.reason) == ("a.zip#a.txt", "empty")
