"""CSV and TSV: rows are documents under names that stay when their neighbours change."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.read_file import read_file
from privllm.collect.readers.csv_table import delimiter_of, raw_rows
from privllm.collect.source_file import ReadOptions
from privllm.core.seed import digest
from tests.collect.readers.test_archive import reasons_of, texts_of

LIMIT = 200


def rows_of(
    tmp_path: Path, data: bytes | str, name: str = "a.csv", text_key: str = "text"
) -> list[CollectedDocument | Quarantined]:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(read_file(path, tmp_path, LIMIT, options=ReadOptions(text_key)))


def test_a_row_is_named_by_its_key(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, 'ID,text\nx1,"one, with\n""two"" lines"\n7,two\n')
    assert texts_of(rows) == {"a.csv#x1": 'one, with\n"two" lines', "a.csv#7": "two"}


def test_a_row_without_a_key_is_named_by_its_text_and_equal_rows_are_numbered(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "n,text\n1,one\n2,two\n3,one\n")
    one, two = digest(b"one"), digest(b"two")
    assert texts_of(rows) == {f"a.csv#{one}": "one", f"a.csv#{two}": "two", f"a.csv#{one}~~2": "one"}


def test_a_key_that_recurs_is_told_apart_by_the_text(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "id,text\nx,one\nx,two\n,three\n")
    names = [row.source for row in rows]
    assert names == ["a.csv#x", f"a.csv#x~{digest(b'two')}", f"a.csv#{digest(b'three')}"]


@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=8, unique=True), st.data())
def test_a_new_neighbour_moves_no_row(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    place = data.draw(st.integers(0, len(texts)))
    longer = [*texts[:place], "a neighbour", *texts[place:]]
    before, after = (texts_of(rows_of(folder, "text\n" + "\n".join(rows))) for rows in (texts, longer))
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_delimiters_and_encodings_are_found_out(tmp_path: Path, delimiter: str, encoding: str) -> None:
    text = f"Ein Hörbuch über Größen, Maße; und „Zölle“{delimiter}"
    made = io.StringIO()
    csv.writer(made, delimiter=delimiter).writerows([["text", "id"], *([text, number] for number in range(3))])
    data = made.getvalue().encode(encoding)
    assert texts_of(rows_of(tmp_path, data)) == {f"a.csv#{number}": text for number in range(3)}


def test_the_column_decides_where_commas_are_in_texts() -> None:
    assert delimiter_of("id;text\n1;a, b, c\n2;d, e, f\n", "text") == ";"
    assert delimiter_of("text\none, two\nthree\n", "text") == ","
    assert delimiter_of('a,b\n"x;y",z\n', "text") == ","


def test_a_column_that_is_missing_is_named_with_those_there_are(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, "title,body\nx,y\n")
    assert isinstance(row, Quarantined)
    assert (row.source, row.reason) == ("a.csv", "no_text")
    assert "no column 'text', but title, body: set collect.text_key" in row.detail
    assert list(texts_of(rows_of(tmp_path, "title,body\nx,y\n", text_key="body")).values()) == ["y"]


@pytest.mark.parametrize("long", ["x" * 5000, '"' + "x\n" * 5000 + '"', '"' + '\n","'.join(["x" * 50] * 300) + '"'])
def test_a_row_that_is_too_long_is_refused_alone(tmp_path: Path, long: str) -> None:
    rows = rows_of(tmp_path, f"text,id\nfine,1\n{long},2\nfine,3\n")
    assert "too_large" in reasons_of(rows).values()
    assert texts_of(rows) == {"a.csv#1": "fine", "a.csv#3": "fine"}


def test_an_open_quote_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w") as file:
        file.write('text\n"')
        file.writelines("a line of an open quotation\n" for _ in range(5000))
    rows = list(read_file(path, tmp_path, LIMIT))
    assert "too_large" in reasons_of(rows).values()
    assert sum(len(row.text) for row in rows if isinstance(row, CollectedDocument)) < path.stat().st_size
    assert csv.field_size_limit() == 131072


def test_rows_without_text_are_refused_by_themselves(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "id,text\n1,\n2\n3,fine\n\n")
    assert reasons_of(rows) == {"a.csv#1": "empty", "a.csv#2": "empty"}
    assert texts_of(rows) == {"a.csv#3": "fine"}


def test_a_row_in_another_encoding_is_decoded_by_itself(tmp_path: Path) -> None:
    data = "id,text\n1,größer als sonst\n".encode() + "2,größer als sonst\n".encode("cp1252")
    assert texts_of(rows_of(tmp_path, data)) == {"a.csv#1": "größer als sonst", "a.csv#2": "größer als sonst"}


@given(st.binary(max_size=300))
def test_no_bytes_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    assert all(row.source.startswith("a.csv") for row in rows_of(folder, b"text,b\n" + data))


def test_a_row_with_more_values_than_columns_is_refused_by_itself(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "id,text\n1,hello, world\n2,fine\n3,fine too,,\n")
    assert texts_of(rows) == {"a.csv#2": "fine", "a.csv#3": "fine too"}
    (refused,) = (row for row in rows if isinstance(row, Quarantined))
    assert (refused.reason, refused.detail) == (
        "damaged",
        "3 values for 2 columns in line 2: quote those that hold ','",
    )


def test_a_table_of_one_column_loses_nothing_behind_a_comma(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, 'text\nhello, world, more\n"quoted, too"\n')
    assert [*texts_of(rows).values()] == ["hello, world, more", "quoted, too"]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_quotation_without_an_end_is_named(tmp_path: Path, end: str) -> None:
    rows = rows_of(tmp_path, f'id,text\n0,5" pipe\n1,"5 inch pipe\n2,second\n3,third{end}')
    assert texts_of(rows) == {"a.csv#0": '5" pipe'}
    (refused,) = (row for row in rows if isinstance(row, Quarantined))
    assert refused.detail == "a quotation that begins in line 3 has no end: it holds 2 lines below"
    (row,) = rows_of(tmp_path, f'id,"text\n0,a{end}')
    assert isinstance(row, Quarantined)
    assert (row.reason, row.detail) == ("damaged", "a quotation in its first row has no end")
    (row,) = rows_of(tmp_path, f'id,"t\xe9xt\n0,a{end}'.encode("cp1252"))
    assert isinstance(row, Quarantined)
    rows = rows_of(tmp_path, f'id,text\n0,last 5"{end}')
    assert texts_of(rows) == {"a.csv#0": 'last 5"'}


@pytest.mark.parametrize("line", ["sep=;\n", "sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_line_by_which_excel_is_told_what_separates_is_understood(tmp_path: Path, line: str, encoding: str) -> None:
    data = f"{line}id;text\n1;one, two\n".encode(encoding)
    assert texts_of(rows_of(tmp_path, data)) == {"a.csv#1": "one, two"}
    pieces = [*raw_rows(io.BytesIO(data), LIMIT, "text")]
    assert b"".join(piece for _, piece in pieces) == data
    assert max(number for number, _ in pieces) == 0
