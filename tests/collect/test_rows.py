"""Rows of tables as documents: what names them, and what refuses them."""

import time
from pathlib import Path

import pytest

from privllm.collect.documents import CollectedDocument, Quarantined, Unreadable
from privllm.collect.rows import Rows, key_column, require_column
from privllm.collect.source_file import SourceFile
from privllm.core.seed import digest


def test_the_first_of_the_key_columns_names_rows() -> None:
    assert key_column(["text", "Key", "ID"]) == "ID"
    assert key_column(["text", "key"]) == "key"
    assert key_column(["text", "identity"]) is None


@pytest.mark.parametrize("key", [None, "", " ", 1.5, True, b"x", ["x"]])
def test_what_is_no_name_leaves_the_digest(key: object) -> None:
    row = Rows(SourceFile("a.csv", "a.csv", Path("a.csv")), "text/plain", 100).row("one", key)
    assert row.source == f"a.csv#{digest(b'one')}"


def test_keys_that_lead_upwards_or_are_alike_once_cleaned_are_told_apart() -> None:
    rows = Rows(SourceFile("a.csv", "a.csv", Path("a.csv")), "text/plain", 100)
    sources = [rows.row("one", key).source for key in ("../b", "b", "/b")]
    assert sources == ["a.csv#b", f"a.csv#b~{digest(b'one')}", f"a.csv#b~{digest(b'one')}~~2"]


def test_equal_rows_take_no_more_time_than_others() -> None:
    rows = Rows(SourceFile("a.csv", "a.csv", Path("a.csv")), "text/plain", 100)
    began = time.process_time()
    sources = {rows.row("one", None).source for _ in range(20_000)}
    assert time.process_time() - began < 5  # searching each name from 2 on takes minutes
    assert len(sources) == 20_000
    assert f"a.csv#{digest(b'one')}~~20000" in sources


def test_a_text_that_is_no_unicode_is_refused_or_made_so() -> None:
    row = Rows(SourceFile("a.zip#a.json", "a.json", data=b"x"), "text/plain", 100).row("a \ud800 b", "k")
    assert isinstance(row, CollectedDocument)
    assert (row.source, row.text) == ("a.zip#a.json/k", "a ? b")


def test_a_number_is_no_text() -> None:
    row = Rows(SourceFile("a.csv", "a.csv", Path("a.csv")), "text/plain", 100).row(5, "k")
    assert isinstance(row, Quarantined)
    assert row.reason == "no_text"


def test_columns_are_named() -> None:
    with pytest.raises(Unreadable, match="title, body"):
        require_column("text", ["title", "body"])
