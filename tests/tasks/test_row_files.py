"""The same rows from every kind of file; a broken row costs itself, a broken file is named."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from privllm.core.errors import UserError
from privllm.tasks.line_faults import InvalidLine
from privllm.tasks.row_files import MAX_LINE_BYTES, open_rows

ROWS = [{"text": "a, b", "label": "x"}, {"text": "é\nline", "label": "y"}]
CSV = 'text,label\r\n"a, b",x\r\n\r\n"é\nline",y\r\n'
TSV = 'text\tlabel\na, b\tx\n\n"é\nline"\ty\n'
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def write(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    ("name", "data", "places"),
    [
        ("a.jsonl", LINES, [1, 2]),
        ("a.ndjson", LINES.rstrip(), [1, 2]),
        ("a", LINES.replace("\n", "\r\n"), [1, 2]),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES.encode(), [1, 2]),
        ("a.json", LINES, [1, 2]),
        ("a.json", json.dumps(ROWS), [1, 2]),
        ("a.json", b"\xef\xbb\xbf" + json.dumps(ROWS, indent=1).encode(), [1, 2]),
        ("a.json", json.dumps({"version": 1, "data": ROWS}, indent=1), [1, 2]),
        ("a.csv", CSV, [2, 4]),
        ("a.CSV", b"\xef\xbb\xbf" + CSV.encode(), [2, 4]),
        ("a.tsv", TSV, [2, 4]),
    ],
)
def test_rows_are_the_same_from_every_text(tmp_path: Path, name: str, data: str | bytes, places: list) -> None:
    file = open_rows(write(tmp_path, name, data))
    rows = {number: row for number, row in file if row is not None}
    assert list(rows.values()) == ROWS
    assert list(rows) == places
    assert list(file) == list(file)


def test_rows_of_parquet_have_the_names_of_their_classes(tmp_path: Path) -> None:
    label = {"names": ["neg", "pos"], "_type": "ClassLabel"}
    listed = {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "_type": "Sequence"}
    older = [{"names": ["O", "B-LOC"], "_type": "ClassLabel"}]
    features = {
        "label": label,
        "ner_tags": listed,
        "tags": older,
        "text": {"dtype": "string", "_type": "Value"},
        "none": [],
    }
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"text": ["a", "b"], "label": [1, None], "messages": [[{"role": "user"}], []]})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    file = open_rows(tmp_path / "a.parquet")
    assert file.names == {"label": ("neg", "pos"), "ner_tags": ("O", "B-PER"), "tags": ("O", "B-LOC")}
    assert list(file) == [
        (1, {"text": "a", "label": 1, "messages": [{"role": "user"}]}),
        (2, {"text": "b", "label": None, "messages": []}),
    ]
    pq.write_table(table, tmp_path / "plain.parquet")
    assert open_rows(tmp_path / "plain.parquet").names == {}


def test_articles_of_squad_are_unpacked_and_names_of_numbers_found(tmp_path: Path) -> None:
    nested = {
        "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": [{"id": "1", "question": "q", "answers": []}]}]}]
    }
    (row,) = open_rows(write(tmp_path, "a.json", json.dumps(nested)))
    assert row == (1, {"id": "1", "question": "q", "answers": [], "context": "c"})
    broken = {"data": [{"paragraphs": [5, {"qas": 5}, {"context": "c", "qas": ["x"]}]}]}
    rows = [row for _, row in open_rows(write(tmp_path, "e.json", json.dumps(broken)))]
    assert [row.reason for row in rows if isinstance(row, InvalidLine)] == ["wrong_type"] * 3
    file = open_rows(write(tmp_path, "b.json", json.dumps({"names": ["O", "B-X"], "data": [{"tags": [1]}]})))
    assert file.names == {"": ("O", "B-X")}
    assert list(open_rows(write(tmp_path, "c.json", json.dumps({"text": "a"}, indent=1)))) == [(1, {"text": "a"})]
    assert list(open_rows(write(tmp_path, "d.json", ""))) == []


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jsonl", LINES + "{broken\n", "not_json"),
        ("a.jsonl", LINES + LINES[:12], "not_json"),
        ("a.jsonl", LINES + '{"text": NaN}', "not_json"),
        ("a.jsonl", LINES + '{"text": "\0"}', "not_json"),
        ("a.jsonl", LINES + "[1]\n", "wrong_type"),
        ("a.jsonl", LINES + "\ufeff" + LINES[:31], "not_json"),
        ("a.jsonl", LINES.encode() + b'{"text": "caf\xe9"}', "not_utf8"),
        ("a.jsonl", LINES + '{"text": "' + "x" * 10_000_000 + '"}\n', "too_long"),
        ("a.json", json.dumps([*ROWS, 1]), "wrong_type"),
        ("a.csv", "text,label\na,x\nb,y\nc\n", "wrong_cells"),
        ("a.csv", "text,label\na,x\nb,y\nc,x,more\n", "wrong_cells"),
    ],
)
def test_a_broken_row_costs_itself(tmp_path: Path, name: str, data: str | bytes, reason: str) -> None:
    first, second, (place, broken) = open_rows(write(tmp_path, name, data))
    assert isinstance(first[1], dict)
    assert isinstance(second[1], dict)
    assert isinstance(broken, InvalidLine)
    assert (place, broken.reason) == (4 if name == "a.csv" else 3, reason)


def test_rows_go_on_after_one_that_is_too_long(tmp_path: Path) -> None:
    long = '{"text": "' + "x" * (2 * MAX_LINE_BYTES) + '"}\n'
    assert [number for number, _ in open_rows(write(tmp_path, "a.jsonl", long + LINES))] == [1, 2, 3]


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
def test_a_line_may_have_four_megabytes_and_not_a_byte_more(tmp_path: Path, more: int, fits: bool) -> None:
    line = json.dumps(ROWS[0]).ljust(MAX_LINE_BYTES - 1 + more) + "\n"
    ((_, row),) = open_rows(write(tmp_path, "a.jsonl", line))
    assert isinstance(row, dict) is fits


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", 'text,label\n"a,x\nb,y\n', "line 2: its quotes or cells cannot be told apart"),
        ("a.csv", 'text,label\n"a"b,x\n', "line 2: its quotes or cells"),
        ("a.csv", "text,text\na,x\n", "line 1: two columns have one name"),
        ("a.csv", b"text,label\ncaf\xe9,x\n", "line 2: byte 4 is not UTF-8"),
        ("a.csv", "text,label\n" + "x" * (MAX_LINE_BYTES + 1), "line 2: it is longer than 4,194,304 bytes"),
        ("a.csv", "text,label\n".encode("utf-16"), "is in UTF-16: save it as UTF-8"),
        ("a.jsonl", LINES.encode("utf-16"), "is in UTF-16: save it as UTF-8"),
        ("a.json", "[{", "is neither a JSON array nor JSON Lines"),
        ("a.parquet", "PAR1", "is not Parquet, or it is damaged"),
        ("a.parquet", "", "is not Parquet, or it is damaged"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, data: str | bytes, said: str) -> None:
    with pytest.raises(UserError) as caught:
        list(open_rows(write(tmp_path, name, data)))
    assert str(caught.value).startswith(str(tmp_path / name))
    assert said in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(UserError, match="is missing"):
            open_rows(path)


@pytest.mark.parametrize("more", [0, 1])
def test_a_file_may_have_two_gigabytes_and_not_a_byte_more(tmp_path: Path, more: int) -> None:
    path = tmp_path / "set.jsonl"
    with path.open("wb") as file:
        file.truncate((2 << 30) + more)  # a hole: no disk is filled
    if more:
        with pytest.raises(UserError, match="a dataset may have 2,147,483,648: cut it down"):
            open_rows(path)
    else:
        assert open_rows(path).unit == "line"
