"""The <title> of a page, however it is written."""

import time

import pytest

from privllm.core.page_title import MAX_TITLE, title_of


@pytest.mark.parametrize(
    ("markup", "title"),
    [
        ("<head><TITLE lang=en> A &amp; B\n C </title>", "A & B C"),
        ("<title>Long " + "x" * MAX_TITLE, "Long " + "x" * (MAX_TITLE - 5)),
        ("<title></title><title>Second</title>", ""),
        ("<h1>A</h1>", ""),
        ("", ""),
    ],
)
def test_a_title_is_one_line_without_references(markup: str, title: str) -> None:
    assert title_of(markup) == title


def test_a_page_of_broken_titles_costs_time_linear_in_it() -> None:
    start = time.process_time()
    title_of("<title " * 300_000)
    assert time.process_time() - start < 2
