"""The bar is silent where nobody looks."""

from privllm.core.progress import bar


def test_nothing_is_written_without_a_terminal(capsys) -> None:
    with bar("clean", total=2) as advance:
        advance()
        advance(1)
    shown = capsys.readouterr()
    assert shown.out + shown.err == ""
