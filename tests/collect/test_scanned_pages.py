"""Rows of scanned pages that nobody asked to read."""

from privllm.collect.scanned_pages import count_in, row_of
from privllm.collect.source_file import SourceFile

IN_ARCHIVE = SourceFile("a.zip#b.pdf", "b.pdf")


def test_a_row_names_the_pages_of_a_file_and_counts_them() -> None:
    row = row_of(IN_ARCHIVE, [2, 4, 5, 6, 9])
    assert (row.source, row.reason) == ("a.zip#b.pdf/scanned pages", "needs_ocr")
    assert row.detail.startswith("5 of its pages have no text layer (2, 4-6, 9): ")


def test_many_pages_are_counted_though_not_all_are_named() -> None:
    rows = [row_of(IN_ARCHIVE, range(1, 2000, 2)), row_of(IN_ARCHIVE, [7])]
    assert rows[0].detail.startswith("1000 of its pages have no text layer (1, 3, 5,")
    assert "39, ...): " in rows[0].detail
    assert rows[1].detail.startswith("1 of its pages has no text layer (7): ")
    assert count_in([*(row.detail for row in rows), "none of its 3 pages has a text layer: read it"]) == 1001
