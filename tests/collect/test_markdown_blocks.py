from privllm.collect.markdown_blocks import Block, heading, item, joined, sparse_table, table


def test_blocks_are_joined_as_markdown() -> None:
    blocks = [
        heading("On\npiers", 2),
        Block("Deep."),
        item("a", 0),
        item("b", 1),
        item("c", 0, 3),
        Block(" "),
        Block("End."),
    ]
    assert joined(blocks) == "## On piers\n\nDeep.\n\n- a\n  - b\n3. c\n\nEnd."
    assert heading("a", 99).text == "###### a"


def test_a_table_leaves_out_what_is_empty() -> None:
    (block,) = table([["a", "", "b|c"], ["", "", ""], ["d\ne"]])
    assert block.text == "| a | b\\|c |\n| --- | --- |\n| d e |  |"
    assert table([["", " "], []]) == []


def test_a_table_that_is_nearly_empty_is_written_without_its_empty_cells() -> None:
    (block,) = table([[""] * number + ["a"] for number in range(1000)])
    assert block.text == "\n".join(["| a |"] * 1000)


def test_cells_may_come_by_their_columns() -> None:
    assert sparse_table([{7: "b", 3: "a"}, {7: "c"}]) == table([["a", "b"], ["", "c"]])
