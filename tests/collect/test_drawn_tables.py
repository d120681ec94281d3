"""Tables drawn in plain text."""

import time

import pytest

from privllm.collect.drawn_tables import with_drawn_tables

W3M = """
    +-------------------+
    |name|  what it is  |
    |----+--------------|
    |    |A file        |
    |mc  |manager       |
    |----+--------------|
    |v \u732b|An editor     |
    +-------------------+
"""
GRID = """
+------+------------+
| name | what it is |
+======+============+
| mc   | A file     |
|      | a|b        |
+------+------------+
| vi   | An editor  |
+------+------------+
"""
BOX = """
\u250c\u2500\u2500\u2500\u2500\u252c\u2500\u2500\u2500\u2500\u2510
\u2502name\u2502what\u2502
\u251c\u2500\u2500\u2500\u2500\u253c\u2500\u2500\u2500\u2500\u2524
\u2502 mc \u2502 A  \u2502
\u2502    \u2502file\u2502
\u251c\u2500\u2500\u2500\u2500\u253c\u2500\u2500\u2500\u2500\u2524
\u2502 vi \u2502 An \u2502
\u2514\u2500\u2500\u2500\u2500\u2534\u2500\u2500\u2500\u2500\u2518
"""


@pytest.mark.parametrize(
    ("drawn", "markdown"),
    [
        (W3M, "| name | what it is |\n| --- | --- |\n| mc | A file manager |\n| v \u732b | An editor |"),
        (GRID, "| name | what it is |\n| --- | --- |\n| mc | A file a\\|b |\n| vi | An editor |"),
        (BOX, "| name | what |\n| --- | --- |\n| mc | A file |\n| vi | An |"),
    ],
)
def test_a_table_with_cells_over_several_lines_becomes_markdown(drawn: str, markdown: str) -> None:
    text = f"Before.\n{drawn}\nAfter.\n"
    assert with_drawn_tables(text) == f"Before.\n\n{markdown}\n\nAfter.\n"
    with_returns = text.replace("\n", "\r\n")
    assert markdown in with_drawn_tables(with_returns)


@pytest.mark.parametrize(
    "drawn",
    [
        GRID.replace("|      | a|b        |\n", ""),  # each row a line
        GRID.replace("| mc   | A file     |", "| mc, which is long |"),  # over two columns
        GRID.replace("| mc   | A file     |", "| mc   | A file     | it is"),
        GRID.replace("+------+------------+\n| vi   | An editor  |\n", ""),  # rows or lines of rows, nobody knows
        "+---------+\n| a box   |\n| of text |\n+---------+\n| more    |\n+---------+\n| again   |\n+---------+",
        " +-+-+-+\n |Version|\n +-+-+-+\n",
        "--+\n",
    ],
)
def test_what_is_read_right_line_by_line_or_is_no_table_stays(drawn: str) -> None:
    assert with_drawn_tables(drawn) == drawn


@pytest.mark.parametrize("lines", ["+--+--+\n", "+--+--+\n|  |  |\n|  |  |\n", "+--+--+\n|  |  |\n|  |  \n"])
def test_many_edges_take_no_longer_than_they_are_long(lines: str) -> None:
    begun = time.process_time()
    with_drawn_tables(lines * 50_000)
    assert time.process_time() - begun < 5
