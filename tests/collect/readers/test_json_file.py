"""JSON: arrays are tables, an object with a text is a document."""

import json
from pathlib import Path
from typing import Any

import pytest

from privllm.collect.documents import CollectedDocument, PassedOver, Quarantined
from privllm.collect.read_file import FileReading, read_file
from privllm.collect.source_file import ReadOptions, SourceFile
from privllm.core.seed import digest
from tests.collect.readers.test_archive import reasons_of, texts_of

LIMIT = 500


def rows_of(tmp_path: Path, value: Any, text_key: str = "text") -> list[CollectedDocument | Quarantined]:
    path = tmp_path / "a.json"
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return list(read_file(path, tmp_path, LIMIT, options=ReadOptions(text_key)))


ROWS = [{"id": 3, "text": "three"}, {"text": "other"}]
READ = {"a.json#3": "three", f"a.json#{digest(b'other')}": "other"}


@pytest.mark.parametrize("value", [ROWS, {"version": 1, "data": ROWS}, [ROWS[0], "other"]])
def test_an_array_is_a_table(tmp_path: Path, value: Any) -> None:
    assert texts_of(rows_of(tmp_path, value)) == READ


def test_an_object_with_a_text_is_a_document(tmp_path: Path) -> None:
    assert texts_of(rows_of(tmp_path, {"id": "x", "body": "one", "tags": ["a"]}, "body")) == {"a.json#x": "one"}


def test_objects_line_by_line_are_read_as_json_lines(tmp_path: Path) -> None:
    lines = b"".join(json.dumps({"text": f"{number} " * 20}).encode() + b"\n" for number in range(40))
    assert len(texts_of(rows_of(tmp_path, lines))) == 40


def test_rows_without_a_text_are_refused_by_themselves(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, [{"text": "fine"}, {"text": 4}, 7, {"text": ""}, {"body": "x"}])
    assert sorted(reasons_of(rows).values()) == ["empty", "no_text", "no_text", "no_text"]
    assert list(texts_of(rows).values()) == ["fine"]
    assert any("it has strings under body" in row.detail for row in rows if isinstance(row, Quarantined))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{oops", "bad_json"),
        ([], "empty"),
        (5, "no_text"),
        ({"title": "x"}, "no_text"),
        ({"body": "a long text", "tags": ["a", "b"]}, "no_text"),
        (["x" * LIMIT], "too_large"),
        (b"[" * 400, "bad_json"),
    ],
)
def test_a_file_without_a_table_is_refused(tmp_path: Path, value: Any, reason: str) -> None:
    assert reasons_of(rows_of(tmp_path, value)) == {"a.json": reason}


def test_what_stands_beside_a_dataset_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": null}')
    assert [row for row, _ in FileReading(LIMIT).rows(SourceFile.at(path, tmp_path))] == [PassedOver("state.json")]
